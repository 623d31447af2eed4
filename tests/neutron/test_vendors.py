"""The mail's two mechanisms in one cloud, a vendor's driver of ten lines, and the guest XML that comes of each port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from neutron_server import NeutronServer
from vifplug.guest import interface_xml
from vifplug.model import read_binding

RULES = """
[ml2_vifplug]
rules = vhost, bridge
reconcile_interval = 0
[vifplug_rule:bridge]
network_types = flat
vif_type = bridge
detail = bridge: br-int
detail = virtualport: {"type": "openvswitch", "interface_id": "{port.id}"}
[vifplug_rule:vhost]
network_types = flat
vnic_types = virtio-forwarder
vif_type = vhostuser
plug_script = openvswitch
detail = path: /run/vhost/{port.id}
"""
MAC = "fa:16:3e:4c:1b:1b"


def mails_binding(name: str) -> dict[str, Any]:
    return {
        "vif_plug_script": f"/usr/bin/neutron-{name}-vif-plug",
        "port_filter": True,
        "connectivity": "l2",
        "mtu": 1450,
        "bound_drivers": {"0": name},
    }


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, NeutronServer]]:
    """A Neutron for each mechanism: both are there for every kind of network, so the first named has it."""
    servers = {}
    for name in ("iovisor", "midonet"):
        folder = tmp_path_factory.mktemp(name)
        other = {"iovisor": "midonet", "midonet": "iovisor"}[name]
        servers[name] = NeutronServer(folder, RULES, f"vifplug,{name},{other}").start()
    yield servers
    for server in servers.values():
        server.stop()


@pytest.mark.parametrize("name", ["iovisor", "midonet"])
def test_a_mechanism_gives_exactly_the_mails_binding(cloud: dict[str, NeutronServer], name: str) -> None:
    neutron = cloud[name]
    network = neutron.network(mtu=1450)
    port = neutron.port(network, "cmp1", mac_address=MAC)
    assert port["binding:vif_type"] == "ethernet"
    assert neutron.read(port)["binding:vif_details"] == mails_binding(name)
    assert port["status"] == "ACTIVE"


@pytest.mark.parametrize("name", ["iovisor", "midonet"])
def test_its_guest_has_a_tap_that_vifplug_makes(cloud: dict[str, NeutronServer], name: str) -> None:
    neutron = cloud[name]
    port = neutron.read(neutron.port(neutron.network(mtu=1450), "cmp1"))
    vif = read_binding(port)
    assert vif.plug_script == f"/usr/bin/neutron-{name}-vif-plug"
    assert interface_xml(vif) == (
        '<interface type="ethernet">\n'
        f'  <mac address="{port["mac_address"]}" />\n'
        f'  <target dev="tap{port["id"][:11]}" managed="no" />\n'
        '  <model type="virtio" />\n'
        '  <mtu size="1450" />\n'
        "</interface>\n"
    )


def test_a_bridge_of_open_vswitch(cloud: dict[str, NeutronServer]) -> None:
    neutron = cloud["iovisor"]
    network = neutron.network(
        mtu=1450, **{"provider:network_type": "flat", "provider:physical_network": "physnet1"}
    )
    port = neutron.read(neutron.port(network, "cmp1"))
    assert interface_xml(read_binding(port)) == (
        '<interface type="bridge">\n'
        f'  <mac address="{port["mac_address"]}" />\n'
        '  <source bridge="br-int" />\n'
        '  <virtualport type="openvswitch">\n'
        f'    <parameters interfaceid="{port["id"]}" />\n'
        "  </virtualport>\n"
        f'  <target dev="tap{port["id"][:11]}" />\n'
        '  <model type="virtio" />\n'
        '  <mtu size="1450" />\n'
        "</interface>\n"
    )


def test_a_socket_of_a_switch(cloud: dict[str, NeutronServer]) -> None:
    neutron = cloud["iovisor"]
    network = neutron.network(
        mtu=1450, **{"provider:network_type": "flat", "provider:physical_network": "physnet2"}
    )
    port = neutron.read(neutron.port(network, "cmp1", **{"binding:vnic_type": "virtio-forwarder"}))
    assert interface_xml(read_binding(port)) == (
        '<interface type="vhostuser">\n'
        f'  <mac address="{port["mac_address"]}" />\n'
        f'  <source type="unix" path="/run/vhost/{port["id"]}" mode="server" />\n'
        f'  <target dev="tap{port["id"][:11]}" />\n'
        '  <model type="virtio" />\n'
        '  <mtu size="1450" />\n'
        "</interface>\n"
    )


def test_limits_of_a_policy_are_the_guests_bandwidth(cloud: dict[str, NeutronServer]) -> None:
    neutron = cloud["midonet"]
    policy = neutron.call("POST", "/v2.0/qos/policies", {"policy": {"name": "slow"}})["policy"]
    rule = {"max_kbps": 8192, "max_burst_kbps": 819, "direction": "egress"}
    rules = f"/v2.0/qos/policies/{policy['id']}/bandwidth_limit_rules"
    neutron.call("POST", rules, {"bandwidth_limit_rule": rule})
    port = neutron.read(neutron.port(neutron.network(), "cmp1", qos_policy_id=policy["id"]))
    vif = read_binding(port)
    assert '<outbound average="1000" burst="100" />' in interface_xml(vif)
    assert "bandwidth" not in vif.details
