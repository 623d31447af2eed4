"""A port as Neutron's REST API writes it becomes a Vif."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.binding_samples import DETAILS, MAC, PORT, port
from vifplug.errors import InvalidInput, UnsupportedVifType
from vifplug.model import read_binding
from vifplug.model.vif import Bridge, Direct, Hostdev, Instance, Subnet, Vhostuser, Vlan


@pytest.mark.parametrize("form", [lambda p: p, lambda p: {"port": p}, lambda p: json.dumps({"port": p})])
def test_a_port_is_read_bare_or_as_the_api_wraps_it(form: Any) -> None:
    vif = read_binding(form(port()))
    assert (vif.id, vif.address, vif.devname) == (PORT, MAC, "tap4c1b1b0a-7d")
    assert vif.shape == Bridge(bridge="br-int")
    assert vif.network.id == "a87cc70a-3e15-4acf-8205-9b711a3531b7"
    assert vif.network.subnets == [
        Subnet(id="a0304c3a-4f08-4c43-88af-d796509c97d2", addresses=["10.0.0.7"]),
        Subnet(id="008ba151-0b8c-4a67-98b5-0d2b87666062", addresses=["2001:db8::7"]),
    ]
    assert vif.instance == Instance(
        id="5e3898d7-11be-483e-9732-b2f5eccd2b2e", project_id="7e02058126cc4950b75f9970368ba177"
    )
    assert vif.vnic_type == "normal"
    assert vif.details == port()["binding:vif_details"]


@pytest.mark.parametrize("vif_type", DETAILS)
def test_each_type_can_be_bound_by_neutron(vif_type: str) -> None:
    assert read_binding(port(vif_type)).type == vif_type


def test_the_mails_binding_of_iovisor_is_read() -> None:
    details = {"port_filter": True, "vif_plug_script": "/usr/bin/neutron-iovisor-vif-plug"}
    vif = read_binding(port("ethernet", **{"binding:vif_details": details}))
    assert vif.type == "ethernet"
    assert vif.plug_script == "/usr/bin/neutron-iovisor-vif-plug"
    assert vif.details == {"port_filter": True}


def test_addresses_of_one_subnet_are_kept_together() -> None:
    fixed_ips = [
        {"subnet_id": "s1", "ip_address": "10.0.0.7"},
        {"subnet_id": "s2", "ip_address": "10.1.0.7"},
        {"subnet_id": "s1", "ip_address": "10.0.0.8"},
    ]
    assert read_binding(port(fixed_ips=fixed_ips)).network.subnets == [
        Subnet(id="s1", addresses=["10.0.0.7", "10.0.0.8"]),
        Subnet(id="s2", addresses=["10.1.0.7"]),
    ]


def test_a_virtual_function_is_found_in_the_profile() -> None:
    # binding:profile as Nova writes it, binding:vif_details as the sriovnicswitch driver does
    vif = read_binding(
        port(
            "hostdev",
            **{
                "binding:vnic_type": "direct",
                "binding:vif_details": {"port_filter": False, "connectivity": "l2", "vlan": "100"},
                "binding:profile": {
                    "pci_vendor_info": "8086:10ed",
                    "pci_slot": "0000:3b:10.1",
                    "physical_network": "physnet1",
                },
            },
        )
    )
    assert vif.shape == Hostdev(pci_slot="0000:3b:10.1", vlan=Vlan(tags=[100]))
    assert vif.profile["physical_network"] == "physnet1"
    assert vif.vnic_type == "direct"


def test_a_socket_of_the_openvswitch_driver_is_found_in_its_details() -> None:
    details = {
        "vhostuser_socket": "/var/run/openvswitch/vhu4c1b1b0a-7d",
        "vhostuser_mode": "server",
        "vhostuser_ovs_plug": True,
    }
    vif = read_binding(port("vhostuser", **{"binding:vif_details": details}))
    assert vif.shape == Vhostuser(path="/var/run/openvswitch/vhu4c1b1b0a-7d", mode="server")
    assert vif.details == details


def test_the_macvtap_drivers_vlan_is_that_of_its_source_device_already() -> None:
    details = {
        "macvtap_source": "eth1.100",
        "macvtap_mode": "bridge",
        "physical_interface": "eth1",
        "vlan": 100,
    }
    vif = read_binding(port("direct", **{"binding:vif_details": details}))
    assert vif.shape == Direct(source_dev="eth1.100", mode="bridge")


def test_upper_case_is_written_in_lower_case() -> None:
    assert read_binding(port(id=PORT.upper(), mac_address=MAC.upper())) == read_binding(port())


def test_what_neutron_leaves_empty_is_unknown() -> None:
    empty: dict[str, Any] = {
        "device_id": "",
        "tenant_id": "",
        "project_id": "",
        "fixed_ips": [],
        "binding:profile": None,
    }
    vif = read_binding(port(**empty))
    assert vif.instance == Instance()
    assert vif.network.subnets == []
    assert vif.profile == {}


def test_a_port_of_an_old_neutron_says_tenant_id() -> None:
    old = port()
    del old["project_id"]
    assert read_binding(old).instance.project_id == "7e02058126cc4950b75f9970368ba177"


def test_every_other_attribute_is_ignored_whatever_it_holds() -> None:
    odd = {"description": "\0\x1b\ud800", "pvlan_type": "community", "vif": {"a": object()}, "name": 7}
    assert read_binding(port(**odd)) == read_binding(port())


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"id": "x"}, "id", "a UUID"),
        ({"mac_address": "01:00:00:00:00:01"}, "mac_address", "unicast"),
        ({"mac_address": "fe:00:00:00:00:01"}, "mac_address", "does not begin with fe"),
        ({"network_id": 7}, "network_id", "text"),
        ({"device_id": "a\nb"}, "device_id", "without control characters"),
        ({"fixed_ips": {}}, "fixed_ips", "a list"),
        ({"fixed_ips": [{}]}, "fixed_ips[0].ip_address", "missing"),
        (
            {"fixed_ips": [{"subnet_id": "a", "ip_address": "10.0.0.7/24"}]},
            "fixed_ips[0].ip_address",
            "an IPv4 or IPv6 address",
        ),
        ({"binding:vif_details": []}, "binding:vif_details", "an object"),
        ({"binding:vif_details": {}}, "binding:vif_details.bridge", "a network device name"),
        ({"binding:vif_details": {"bridge_name": "a b"}}, "binding:vif_details.bridge_name", "device name"),
        ({"binding:vif_details": {"bridge": "a", "x": "\0"}}, "binding:vif_details.x", "without NUL"),
        (
            {"binding:vif_details": {"bridge": "a", "vif_plug_script": "a b"}},
            "binding:vif_details.vif_plug_script",
            "bare name",
        ),
        ({"binding:profile": "x"}, "binding:profile", "an object"),
        ({"binding:vif_type": "brdige"}, "binding:vif_type", 'did you mean "bridge"'),
        ({"binding:vif_type": ""}, "binding:vif_type", "missing"),
    ],
)
def test_a_wrong_value_is_named_as_neutron_names_it(
    changes: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_binding(port(**changes))
    assert caught.value.context["field"] == field
    assert caught.value.message.startswith(field)
    assert allowed in caught.value.message
    with pytest.raises(InvalidInput) as caught:
        read_binding({"port": port(**changes)})
    assert caught.value.context["field"] == f"port.{field}"


def test_a_wrong_profile_of_a_virtual_function_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_binding(port("hostdev", **{"binding:vif_details": {}, "binding:profile": {"pci_slot": "3b:00"}}))
    assert caught.value.context["field"] == "binding:profile.pci_slot"


def test_details_and_profile_that_name_two_functions_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^binding:profile.pci_slot: .* the same as binding:vif_details"):
        read_binding(port("hostdev", **{"binding:profile": {"pci_slot": "0000:00:00.0"}}))


def test_a_port_read_without_the_rights_to_see_its_binding_says_so() -> None:
    mine = {key: value for key, value in port().items() if not key.startswith("binding:")}
    with pytest.raises(InvalidInput, match="administrators"):
        read_binding(mine)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("unbound", "not bound to a host yet"),
        ("binding_failed", "the Neutron server's log"),
        ("ovs", '"bridge"'),
        ("hw_veb", '"hostdev"'),
    ],
)
def test_a_port_bound_to_none_of_the_eight_says_what_to_do(name: str, advice: str) -> None:
    with pytest.raises(
        UnsupportedVifType, match=f'^binding:vif_type: "{name}" cannot be plugged: '
    ) as caught:
        read_binding(port(name))
    assert advice in caught.value.message
