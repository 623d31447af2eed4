"""What a script is told: the request and the environment, exactly as docs/contract.md has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from callers import HOST, VIF, a_request
from vifplug.errors import InvalidInput
from vifplug.model.vif import Bridge, Instance, NetworkInfo, Route, Subnet
from vifplug.script.contract import Request, RequestHost, Verb, request_for
from vifplug.script.environment import LONGEST, environment_for

FULL = structs.replace(
    VIF,
    details={"physical_network": "physnet1", "tag": 5, "trusted": True, "rates": [1, 2], "none": None},
    network=NetworkInfo(
        id="4e8e5957-649f-477b-9e5b-f1f75b21c03c",
        label="blue",
        mtu=1500,
        subnets=[
            Subnet(
                cidr="10.0.0.0/24",
                gateway="10.0.0.1",
                addresses=["10.0.0.5"],
                dns=["10.0.0.2"],
                routes=[Route(destination="10.1.0.0/16", nexthop="10.0.0.9")],
            )
        ],
    ),
    instance=Instance(id="i-1", name="web", project_id="p-1"),
)


def environment(**details: Any) -> dict[str, str]:
    return environment_for(a_request(vif=structs.replace(VIF, details=details)))


# --- the request ------------------------------------------------------------------------------


def test_the_request_is_the_contracts_json() -> None:
    request = request_for(
        "update", FULL, generation=7, host=HOST, attempt=2, deadline=12.5, previous={"vif": {"mtu": 1400}},
        changes={"mtu", "details.tag"},
    )  # fmt: skip
    assert json.loads(request.to_json()) == {
        "protocol": 1,
        "verb": "update",
        "vif": {
            "id": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
            "type": "ethernet",
            "address": "fa:16:3e:00:00:01",
            "devname": "tap4c1b1b0a-7d",
            "mtu": 1450,
            "queues": 1,
            "bandwidth": None,
            "vnic_type": None,
            "profile": {},
            "details": {
                "physical_network": "physnet1", "tag": 5, "trusted": True, "rates": [1, 2], "none": None,
            },
        },
        "network": {
            "id": "4e8e5957-649f-477b-9e5b-f1f75b21c03c",
            "label": "blue",
            "bridge": None,
            "mtu": 1500,
            "project_id": None,
            "subnets": [
                {
                    "id": None,
                    "cidr": "10.0.0.0/24",
                    "gateway": "10.0.0.1",
                    "addresses": ["10.0.0.5"],
                    "routes": [{"destination": "10.1.0.0/16", "nexthop": "10.0.0.9"}],
                    "dns": ["10.0.0.2"],
                }
            ],
        },
        "instance": {"id": "i-1", "name": "web", "project_id": "p-1"},
        "host": {"name": "host1", "boot_id": "3c2f9a1e-0000-4000-8000-000000000001"},
        "generation": 7,
        "attempt": 2,
        "deadline": 12.5,
        "migration": None,
        "previous": {"vif": {"mtu": 1400}},
        "changes": ["details.tag", "mtu"],
        "dry_run": False,
        "traceparent": None,
    }  # fmt: skip


def test_the_request_is_one_line() -> None:
    assert a_request().to_json().count(b"\n") == 1
    assert a_request().to_json().endswith(b"}\n")


def test_every_key_is_there_even_when_nothing_is_known() -> None:
    empty = json.loads(Request(verb=Verb.INFO, host=HOST, deadline=1).to_json())
    assert set(empty) == set(json.loads(a_request(vif=FULL).to_json()))


def test_an_unknown_verb_is_named() -> None:
    with pytest.raises(InvalidInput, match="'plugg' is not a verb; verbs are plug, unplug"):
        a_request("plugg")


def test_this_host_knows_its_name_and_boot_id() -> None:
    here = RequestHost.here()
    assert here.name
    assert len(here.boot_id) == 36


def test_a_detail_that_json_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidInput, match="vif_details cannot be written as JSON"):
        a_request(vif=structs.replace(VIF, details={"a": object()})).to_json()


# --- the environment --------------------------------------------------------------------------


def test_the_environment_is_the_contracts() -> None:
    vif = structs.replace(FULL, shape=Bridge(bridge="br-int"))
    assert environment_for(
        structs.replace(a_request(vif=vif, deadline=29.9), traceparent="00-aa-bb-01"),
        operator={"OVS_DB": "unix:/x"},
        call="c0ffee",
    ) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "OVS_DB": "unix:/x",
        "VIFPLUG_PROTOCOL": "1",
        "VIFPLUG_DEADLINE": "29",
        "VIFPLUG_CALL": "c0ffee",
        "TRACEPARENT": "00-aa-bb-01",
        "VIF_ID": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
        "VIF_TYPE": "bridge",
        "VIF_DEVNAME": "tap4c1b1b0a-7d",
        "VIF_ADDRESS": "fa:16:3e:00:00:01",
        "VIF_MTU": "1450",
        "VIF_INSTANCE_ID": "i-1",
        "VIF_INSTANCE_NAME": "web",
        "VIF_PROJECT_ID": "p-1",
        "VIF_NETWORK_ID": "4e8e5957-649f-477b-9e5b-f1f75b21c03c",
        "VIF_NETWORK_LABEL": "blue",
        "VIF_NETWORK_BRIDGE": "br-int",
        "VIF_FIXED_IPS": "10.0.0.5",
        "VIF_OVS_INTERFACEID": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
        "VIF_DETAILS_PHYSICAL_NETWORK": "physnet1",
        "VIF_DETAILS_TAG": "5",
        "VIF_DETAILS_TRUSTED": "true",
        "VIF_DETAILS_RATES": "[1,2]",
        "VIF_DETAILS_NONE": "",
    }


def test_what_is_not_known_is_set_and_empty() -> None:
    bare = environment_for(a_request(vif=structs.replace(VIF, address=None, mtu=None)))
    for name in ("VIF_ADDRESS", "VIF_MTU", "VIF_INSTANCE_ID", "VIF_NETWORK_ID", "VIF_NETWORK_BRIDGE"):
        assert bare[name] == ""
    for name in ("VIF_INSTANCE_NAME", "VIF_PROJECT_ID", "VIF_NETWORK_LABEL", "VIF_FIXED_IPS"):
        assert bare[name] == ""


def test_the_addresses_of_all_subnets_stand_in_their_order() -> None:
    subnets = [Subnet(addresses=["10.0.0.5", "10.0.0.6"]), Subnet(), Subnet(addresses=["2001:db8::5"])]
    vif = structs.replace(VIF, network=NetworkInfo(subnets=subnets))

    assert environment_for(a_request(vif=vif))["VIF_FIXED_IPS"] == "10.0.0.5 10.0.0.6 2001:db8::5"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"bridge_name": "br0"}, "br0"),
        ({"bridge": "br1"}, "br1"),
        ({"bridge": 5}, ""),
    ],
)
def test_the_bridge_comes_from_the_details_when_the_network_names_none(
    details: dict[str, Any], expected: str
) -> None:
    assert environment(**details)["VIF_NETWORK_BRIDGE"] == expected


def test_the_networks_own_bridge_comes_first() -> None:
    vif = structs.replace(VIF, details={"bridge": "br1"}, network=NetworkInfo(bridge="br9"))
    assert environment_for(a_request(vif=vif))["VIF_NETWORK_BRIDGE"] == "br9"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"ovs_interfaceid": "x-1"}, "x-1"),
        ({"virtualport": {"type": "openvswitch", "interface_id": "y-1"}}, "y-1"),
        ({"virtualport": "nonsense"}, VIF.id),
    ],
)
def test_the_ovs_interface_is_the_port_unless_the_details_say_otherwise(
    details: dict[str, Any], expected: str
) -> None:
    assert environment(**details)["VIF_OVS_INTERFACEID"] == expected


def test_keys_become_names_that_a_shell_can_use() -> None:
    assert environment(**{"vnic-type.x y": "a"})["VIF_DETAILS_VNIC_TYPE_X_Y"] == "a"


def test_two_keys_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="both 'a-b' and 'a_b'"):
        environment(**{"a-b": 1, "a_b": 2})


@pytest.mark.parametrize("value", ["a\nb", "\x00", "x\x1b[2J", "\x7f"])
def test_control_characters_are_refused_where_they_are(value: str) -> None:
    with pytest.raises(InvalidInput, match=r"vif_details\.key has the control character") as caught:
        environment(key=value)
    assert caught.value.context["field"] == "vif_details.key"


def test_control_characters_inside_json_are_escaped() -> None:
    assert environment(key=["a\nb"])["VIF_DETAILS_KEY"] == '["a\\nb"]'


def test_a_detail_too_long_for_the_environment_is_left_out() -> None:
    room = LONGEST - len("VIF_DETAILS_KEY=")
    assert len(environment(key="x" * room)["VIF_DETAILS_KEY"]) == room
    assert "VIF_DETAILS_KEY" not in environment(key="x" * (room + 1))


def test_the_contract_wins_over_the_operators_names() -> None:
    assert environment_for(a_request(), operator={"VIF_ID": "other"})["VIF_ID"] == VIF.id


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(details=st.dictionaries(st.text(), json_values, max_size=6))
def test_any_details_give_an_environment_or_an_error_in_words(details: dict[str, Any]) -> None:
    request = a_request(vif=structs.replace(VIF, details=details))
    try:
        found = environment_for(request)
    except InvalidInput as error:
        assert error.context["field"].startswith("vif_details")
        return
    for name, value in found.items():
        assert name
        assert "=" not in name
        assert "\0" not in name + value
        name.encode("ascii")
        value.encode()
