"""Two guests on two nodes talk, whatever network is between them; and two vendors' bindings in one cloud."""

from __future__ import annotations

import pytest

from cloud.tests.conftest import World, eventually

pytestmark = pytest.mark.usefixtures("cleared")


def test_two_guests_talk_through_a_vxlan_network(world: World) -> None:
    """It reaches nowhere else: only the guests themselves can tell."""
    one = world.boot("one", "cmp1", world.overlay(), last=10)
    two = world.boot("two", "cmp2", world.overlay(), last=11)
    one.says("guest: neighbour 10.9.2.11 answers")
    two.says("guest: neighbour 10.9.2.10 answers")
    world.agrees()
    for guest in (one, two):
        guest.delete()
    world.agrees()
    for node in world.nodes:  # the tunnel went with its last VIF
        eventually("a tunnel is left", lambda n=node: "vxlan" in n.run("ip", "-br", "link"))  # type: ignore[misc]


def test_two_guests_talk_through_open_vswitch(world: World) -> None:
    network = world.network("switch0")
    one = world.boot("one", "cmp1", network, last=10)
    two = world.boot("two", "cmp2", network, last=11)
    for guest in (one, two):
        guest.answers()
    one.says("guest: neighbour 10.9.4.11 answers")
    two.says("guest: neighbour 10.9.4.10 answers")
    world.agrees()
    for guest in (one, two):
        assert guest.port in guest.node.run("ovs-vsctl", "--columns=external_ids", "list", "interface")
    one.migrate("cmp2")
    one.answers()
    world.agrees()
    for guest in (one, two):
        guest.delete()
    for node in world.nodes:
        assert node.run("ovs-vsctl", "list-ports", "br-switch").split() == ["s0"]
    world.agrees()


def test_two_vendors_bindings_side_by_side(world: World) -> None:
    """iovisor and midonet, as the mail of 2014 binds them: one VIF type, two scripts. Their commands are stand-ins
    that keep what they were told; no frames pass."""
    guests = {
        "plumgrid0": world.boot("plumgrid", "cmp1", world.network("plumgrid0")),
        "midonet0": world.boot("midonet", "cmp1", world.network("midonet0")),
    }
    node = world.node("cmp1")
    world.agrees()
    for physical, name in (("plumgrid0", "iovisor"), ("midonet0", "midonet")):
        port = world.api.port(guests[physical].port)
        assert port["binding:vif_type"] == world.vif_type
        with node.client() as client:
            request = client.show(port["id"]).request
        assert request.plug_script == f"/usr/bin/neutron-{name}-vif-plug"
    told = (node.own("/var/lib/vifplug") / "vendor-commands").read_text()
    taps = {physical: f"tap{guest.port[:11]}" for physical, guest in guests.items()}
    assert f"ifc_ctl gateway add_port {taps['plumgrid0']}" in told
    assert f"ifc_ctl gateway ifup {taps['plumgrid0']} access_vm" in told
    assert f"mm-ctl --bind-port {guests['midonet0'].port} {taps['midonet0']}" in told
    for guest in guests.values():
        guest.delete()
    world.agrees()
    told = (node.own("/var/lib/vifplug") / "vendor-commands").read_text()
    assert f"ifc_ctl gateway del_port {taps['plumgrid0']}" in told
    assert f"mm-ctl --unbind-port {guests['midonet0'].port}" in told
