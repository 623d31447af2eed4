"""Plumbing of other shapes: hybrid ports, macvtaps, devices that libvirt will make, and very much of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from msgspec import structs

from guests import Elsewhere, ip
from plumbed import Plumbed, end
from scripts.ovs.switch import Switch
from vifplug.config import Config
from vifplug.host import Host
from vifplug.plumbing import Kind, State, look, survey, svg, trace
from world import World, binding

pytestmark = pytest.mark.slow


@pytest.fixture
def switch(world: World) -> Iterator[Switch]:
    made = Switch(world)
    try:
        made.up()
        yield made
    finally:
        made.stop_all()


def test_a_hybrid_ports_bridge_and_veths_are_hops(world: World, switch: Switch, far: Elsewhere) -> None:
    switch.vsctl("add-port", "br-int", "eth9")
    host = Plumbed(world, "openvswitch", bridge="br-int")
    host.config = structs.replace(switch.config)
    asked = host.binding("10.0.0.5", hybrid=True)
    with host.host() as one:
        plugged = one.plug(asked)
    name = plugged.id[:11]
    found = host.trace(plugged)
    assert [f"{hop.what} {hop.name}" for hop in found.hops][2:] == [
        f"device {plugged.vif.devname}", f"port {plugged.vif.devname}", f"bridge qbr{name}", f"veth qvb{name}",
        f"veth qvo{name}", f"port qvo{name}", "switch br-int", "uplink eth9",
    ]  # fmt: skip
    assert found.ok and all(hop.out for hop in found.hops if hop.out is not None), found
    ip(f"link set qvo{name} down")
    cut = host.trace(plugged)
    assert not cut.ok and end(cut) == ("veth", f"qvb{name}") and cut.do == f"ip link set dev qvo{name} up"


def test_a_macvtap_leads_to_what_it_is_made_on(world: World, far: Elsewhere) -> None:
    host = Plumbed(world, "macvtap")
    one = host.plug("10.0.0.5", made_by="script", source_dev="eth9")
    graph = host.graph()
    assert [(edge.source, edge.target) for edge in graph.after(f"dev:{one.vif.devname}")] == [
        (f"dev:{one.vif.devname}", "dev:eth9")
    ]
    found = host.trace(one)
    assert found.ok and end(found) == ("uplink", "eth9") and found.probe is None
    far.do(lambda: ip("link set far0 down"))
    assert not host.trace(one).ok


def test_a_device_that_libvirt_will_make_is_expected_at_its_bridge(world: World) -> None:
    ip("link add br-data type bridge")
    with world.host() as host:
        host.plug(binding(vif_type="bridge", script=None, vif_details={"bridge": "br-data"}))
        host.plug(binding(2, vif_type="user", script=None))
        graph = survey(look(world.config, host))
        assert [edge.target for edge in graph.after(f"vif:{binding()['id']}")] == ["dev:br-data"]
        assert graph.nodes[f"vif:{binding(2)['id']}"].state is State.OK
        found = trace(world.config, host, binding(2)["id"])
        assert found.ok and "pass no device of this host" in found.text
        ip("link del br-data")
        gone = survey(look(world.config, host))
    assert gone.nodes["dev:br-data"].state is State.GONE


def test_debts_and_what_a_reboot_took_are_marked(world: World) -> None:
    world.on("unplug", status=1)
    with world.host() as host:
        host.plug(binding())
        with pytest.raises(Exception, match="the backend said no"):
            host.unplug(binding()["id"])
        world.on("unplug")
        host.plug(binding(2))
    with Host(world.config, boot_id="a-later-boot") as later:
        graph = survey(look(world.config, later))
    marks = {node.name: node.faults[0].text for node in graph.nodes.values() if node.kind is Kind.VIF}
    assert marks["4c1b1b0a"].startswith("its unplug is owed: ")
    assert marks["00000002"] == "a reboot took its device"


def test_hundreds_of_taps_stand_in_one_column(netns: None) -> None:
    commands = "link add br0 type bridge\nlink set br0 up\n" + "".join(
        f"tuntap add dev tap{number} mode tap\nlink set tap{number} up master br0\n" for number in range(300)
    )
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    graph = survey(look(Config(), None))
    drawn = svg(graph, "many")
    assert len(graph.nodes) == 301 and drawn.count('class="box"') == 301
