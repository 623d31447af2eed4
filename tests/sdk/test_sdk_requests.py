"""Typed requests: from the host's JSON, from the environment alone, and from anything at all."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plugscript
from callers import VIF, a_request
from sdk_author import Author
from vifplug.model.vif import Bandwidth, Instance, Migration, NetworkInfo, Rate, Route, Subnet

SHOW = "@script.verb\ndef plug(request): raise Failed(repr([{}]))"


def from_host(**more: Any) -> plugscript.Request:
    vif = msgspec.structs.replace(VIF, **more.pop("vif", {}))
    return plugscript.Request(json.loads(a_request("update", vif, **more).to_json()))


def test_a_request_has_all_that_the_host_says() -> None:
    subnet = Subnet(
        id="s",
        cidr="10.0.0.0/24",
        gateway="10.0.0.1",
        addresses=["10.0.0.5"],
        routes=[Route(destination="10.1.0.0/16", nexthop="10.0.0.9")],
        dns=["10.0.0.2"],
    )
    request = from_host(
        vif={
            "queues": 4,
            "vnic_type": "direct",
            "profile": {"pci_slot": "0000:03:00.1"},
            "details": {"tag": 5},
            "bandwidth": Bandwidth(inbound=Rate(average=1000)),
            "network": NetworkInfo(
                id="n", label="blau é", bridge="br0", mtu=1500, project_id="p", subnets=[subnet]
            ),
            "instance": Instance(id="i", name="web-1", project_id="q"),
            "migration": Migration(role="destination", phase="prepare"),
        },
        generation=3,
        attempt=2,
        deadline=7.5,
        previous={"vif": {"mtu": 1400}},
        changes=["mtu", "details.tag"],
    )
    vif, network, instance = request.vif, request.network, request.instance
    [found] = network.subnets

    assert (vif.id, vif.type, vif.address) == (VIF.id, "ethernet", VIF.address)
    assert (vif.devname, vif.mtu, vif.queues) == (VIF.devname, 1450, 4)
    assert (vif.vnic_type, vif.profile, vif.details) == ("direct", {"pci_slot": "0000:03:00.1"}, {"tag": 5})
    assert vif.bandwidth is not None
    assert vif.bandwidth["inbound"]["average"] == 1000
    assert (network.id, network.label, network.bridge) == ("n", "blau é", "br0")
    assert (network.mtu, network.project_id) == (1500, "p")
    assert (found.id, found.cidr, found.gateway) == ("s", "10.0.0.0/24", "10.0.0.1")
    assert (found.addresses, found.dns) == (["10.0.0.5"], ["10.0.0.2"])
    assert [(r.destination, r.nexthop) for r in found.routes] == [("10.1.0.0/16", "10.0.0.9")]
    assert (instance.id, instance.name, instance.project_id) == ("i", "web-1", "q")
    assert (request.host.name, request.host.boot_id[:8]) == ("host1", "3c2f9a1e")
    assert (request.verb, request.generation, request.attempt) == ("update", 3, 2)
    assert request.deadline == 7.5
    assert 0 < request.remaining() <= 7.5
    assert request.migration is not None
    assert (request.migration.role, request.migration.phase) == ("destination", "prepare")
    assert (request.previous, request.changes) == ({"mtu": 1400}, ["details.tag", "mtu"])
    assert request.dry_run is False


def test_what_nobody_knows_is_none_or_empty() -> None:
    request = from_host(vif={"mtu": None, "address": None})

    assert (request.vif.mtu, request.vif.address, request.vif.bandwidth) == (None, None, None)
    assert (request.network.id, request.network.subnets, request.instance.name) == (None, [], None)
    assert (request.migration, request.previous, request.changes) == (None, {}, [])


def test_keys_of_a_later_host_are_no_error() -> None:
    assert plugscript.Request({"vif": {"id": "x", "colour": 5}, "moon": []}).vif.id == "x"


#: the keys of a request, so that what hypothesis makes of them is often nearly one
_KEYS = st.sampled_from([
    "vif", "network", "instance", "host", "migration", "previous", "deadline", "generation", "attempt", "changes",
    "dry_run", "verb", "id", "type", "mtu", "details", "subnets", "routes", "addresses", "cidr", "devname", "queues",
    "profile", "bandwidth", "role", "phase",
])  # fmt: skip
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=3), inner, max_size=8)
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(st.dictionaries(_KEYS, _ANYTHING, max_size=8))
def test_anything_is_a_request_or_is_refused_by_the_name_of_what_is_wrong(given: dict[str, Any]) -> None:
    try:
        request = plugscript.Request(given)
    except plugscript.Failed as error:
        assert error.message.startswith("the request's ")
        return
    assert isinstance(request.vif.id, str)
    assert isinstance(request.vif.details, dict)
    assert all(isinstance(address, str) for subnet in request.network.subnets for address in subnet.addresses)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(_JSON, st.booleans())
def test_json_is_read_and_written_as_the_json_module_does(value: Any, ascii_only: bool) -> None:
    assert plugscript._from_json(json.dumps(value, ensure_ascii=ascii_only, indent=1) + "\r\n") == value
    assert json.loads(plugscript._to_json(value)) == value
    assert plugscript._to_json(value).isascii()


@settings(deadline=None)
@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \n\\u', max_size=12))
def test_what_is_no_json_for_the_json_module_is_none_here(text: str) -> None:
    try:
        value = json.loads(text, parse_constant=plugscript._no_constant)
    except ValueError:
        with pytest.raises(ValueError):
            plugscript._from_json(text)
    else:
        assert plugscript._from_json(text) == value


# --- the environment alone -----------------------------------------------------------------------


def test_without_a_request_the_environment_is_one(author: Author) -> None:
    script = author.python(
        SHOW.format(
            "request.vif.id, request.vif.type, request.vif.address, request.vif.devname, request.vif.mtu, "
            "request.network.id, request.network.bridge, request.instance.id, request.deadline, request.attempt"
        )
    )
    called = script(
        "plug", None, VIF_ADDRESS="fa:16:3e:00:00:01", VIF_MTU="1450", VIF_NETWORK_ID="n", VIF_NETWORK_BRIDGE="br0",
        VIF_INSTANCE_ID="i", VIF_TYPE="bridge", VIFPLUG_DEADLINE="7",
    )  # fmt: skip

    assert called.error["message"] == repr(
        [VIF.id, "bridge", "fa:16:3e:00:00:01", VIF.devname, 1450, "n", "br0", "i", 7.0, 1]
    )


def test_what_the_environment_does_not_say_has_the_contracts_default(author: Author) -> None:
    script = author.python(
        SHOW.format("request.vif.type, request.vif.devname, request.vif.mtu, request.deadline"),
        'vif_types=["bridge"]',
    )

    assert script("plug", None, VIF_ID="4c1b1b0a-7d5e", VIF_DEVNAME="").error["message"] == repr(
        ["bridge", "tap4c1b1b0a-7d", None, 30.0]
    )


def test_details_in_the_environment_are_what_they_were_declared_as(author: Author) -> None:
    script = author.python(
        SHOW.format("*sorted(request.vif.details.items())"),
        'details={"physical-network": {"type": "string"}, "tag": {"type": "integer"}, "on": {"type": "boolean"},'
        ' "rate": {"type": "number"}, "peers": {"type": "array"}, "port": {"type": "object"},'
        ' "text": {"type": "string"}}',
    )
    called = script(
        "plug", None, VIF_DETAILS_PHYSICAL_NETWORK="physnet1", VIF_DETAILS_TAG="5", VIF_DETAILS_ON="true",
        VIF_DETAILS_RATE="1.5", VIF_DETAILS_PEERS='["a"]', VIF_DETAILS_PORT='{"id": 1}', VIF_DETAILS_TEXT="7",
        VIF_DETAILS_OTHER="8",
    )  # fmt: skip

    expected = [
        ("on", True), ("other", "8"), ("peers", ["a"]), ("physical-network", "physnet1"), ("port", {"id": 1}),
        ("rate", 1.5), ("tag", 5), ("text", "7"),
    ]  # fmt: skip
    assert called.error["message"] == repr(expected)


def test_a_detail_that_the_environment_does_not_have_is_missing_and_an_empty_one_is_empty(
    author: Author,
) -> None:
    script = author.python(
        SHOW.format("request.vif.details['mode'], request.vif.details['tag']"),
        'details={"mode": {"type": "string", "default": "a"}, "tag": {"type": "integer", "default": 1}}',
    )

    assert script("plug").error["message"] == repr(["a", 1])
    assert script("plug", None, VIF_DETAILS_MODE="", VIF_DETAILS_TAG="").error["message"] == repr(["", 1])


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"VIF_ID": ""}, "no request: standard input is empty, and VIF_ID is not set either"),
        ({"VIF_MTU": "big"}, "the request's vif.mtu is 'big', not a whole number"),
        ({"VIFPLUG_DEADLINE": "soon"}, "the request's deadline is 'soon', not a number"),
        ({"VIF_DETAILS_TAG": "five"}, 'vif_details.tag must be an integer, not "five"'),
        ({"VIF_DETAILS_TAG": "[5"}, 'vif_details.tag must be an integer, not "[5"'),
    ],
)
def test_an_environment_that_cannot_be_a_request_is_said(
    author: Author, environment: dict[str, str], words: str
) -> None:
    script = author.python("", 'details={"tag": {"type": "integer"}}')

    assert words in script("plug", None, **environment).error["message"]
