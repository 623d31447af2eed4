"""A VIF in a real Open vSwitch: ports, patches between bridges and tunnels, whole and broken."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from guests import Elsewhere, guest, ip
from plumbed import Plumbed, end
from scripts.ovs.switch import Switch
from vifplug.host import Host
from vifplug.host.results import Plugged
from vifplug.plumbing import State
from world import World

pytestmark = pytest.mark.slow


class Switched(Plumbed):
    """VIFs in br-int, which a patch joins to br-ex, which has eth9."""

    def __init__(self, world: World, switch: Switch) -> None:
        super().__init__(world, "openvswitch", bridge="br-int")
        self.config = structs.replace(switch.config)
        self.switch = switch
        vsctl = switch.vsctl
        vsctl("add-br", "br-ex", "--", "set", "bridge", "br-ex", "datapath_type=netdev")
        vsctl(
            "add-port",
            "br-int",
            "int-ex",
            "--",
            "set",
            "interface",
            "int-ex",
            "type=patch",
            "options:peer=ex-int",
        )
        vsctl(
            "add-port",
            "br-ex",
            "ex-int",
            "--",
            "set",
            "interface",
            "ex-int",
            "type=patch",
            "options:peer=int-ex",
        )
        vsctl("add-port", "br-ex", "eth9")

    def host(self) -> Host:
        return Host(self.config)


@pytest.fixture
def switched(world: World, far: Elsewhere) -> Iterator[Switched]:
    switch = Switch(world)
    try:
        switch.up()
        yield Switched(world, switch)
    finally:
        switch.stop_all()


def test_a_frame_is_followed_through_two_bridges(switched: Switched) -> None:
    one = switched.plug("10.0.0.5")
    tap = one.vif.devname
    found = switched.trace(one)
    assert found.ok, found
    assert [f"{hop.what} {hop.name}" for hop in found.hops][2:] == [
        f"device {tap}", f"port {tap}", "switch br-int", "switch br-ex", "uplink eth9",
    ]  # fmt: skip
    assert found.hops[-1].out and found.hops[-1].back
    assert switched.marks() == {}


def test_a_running_guests_frame_leaves_by_the_uplink(switched: Switched) -> None:
    one = switched.plug("10.0.0.5", tag=5)
    with guest(one):
        found = switched.trace(one)
    assert found.probe == "by the guest" and found.hops[-1].out, found
    port = next(hop for hop in found.hops if hop.what == "port")
    assert port.text == "of br-int, VLAN 5"


Break = Callable[[Switched, Plugged], object]
BROKEN: dict[str, tuple[Break, str, str]] = {
    "the port is gone from the switch": (
        lambda switched, one: switched.switch.vsctl("del-port", one.vif.devname),
        "device TAP", "is in no bridge, and was plugged into br-int",
    ),
    "the port is in another bridge": (
        lambda switched, one: switched.switch.vsctl(
            "del-port", one.vif.devname, "--", "add-br", "br-wrong", "--", "set", "bridge", "br-wrong",
            "datapath_type=netdev", "--", "add-port", "br-wrong", one.vif.devname,
        ),
        "port TAP", "is in br-wrong, and was plugged into br-int",
    ),
    "the tap is gone": (
        lambda _, one: ip(f"link del {one.vif.devname}"), "device TAP", "the device TAP is gone",
    ),
    "the uplink is down": (lambda _, __: ip("link set eth9 down"), "uplink eth9", "eth9 is down"),
    "the uplink is out of the switch": (
        lambda switched, _: switched.switch.vsctl("del-port", "eth9"), "switch br-ex", "leads nowhere else",
    ),
    "the switch has ended": (
        lambda switched, _: switched.switch.stop("vswitchd", signal.SIGKILL),
        "switch br-int", "ovs-vswitchd does not run, so nobody moves the frames of br-int",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_trace_ends_just_where_the_switch_is_broken(switched: Switched, what: str) -> None:
    one = switched.plug("10.0.0.5")
    destroy, where, why = BROKEN[what]
    destroy(switched, one)
    tap = one.vif.devname
    found = switched.trace(one)
    assert not found.ok and " ".join(end(found)) == where.replace("TAP", tap), found
    assert why.replace("TAP", tap) in found.text


def test_a_flow_that_drops_is_found_by_what_is_not_seen(switched: Switched) -> None:
    one = switched.plug("10.0.0.5")
    remote = f"unix:{switched.switch.folder}/br-int.mgmt"
    switched.switch.run("ovs-ofctl", "add-flow", remote, "priority=9,arp,actions=drop")
    found = switched.trace(one)
    assert not found.ok and end(found) == ("uplink", "eth9")
    assert f"the frame came to {one.vif.devname} and not to eth9" in found.text


def test_tunnels_and_ports_without_device_are_drawn_and_marked(switched: Switched) -> None:
    vsctl = switched.switch.vsctl
    ip("address add 192.0.2.1/24 dev eth9")
    vsctl(
        "add-port",
        "br-int",
        "vx1",
        "--",
        "set",
        "interface",
        "vx1",
        "type=vxlan",
        "options:remote_ip=192.0.2.2",
    )
    vsctl(
        "add-port",
        "br-int",
        "vx2",
        "--",
        "set",
        "interface",
        "vx2",
        "type=vxlan",
        "options:remote_ip=198.51.100.7",
    )
    vsctl("--no-wait", "add-port", "br-int", "nobody0")
    switched.switch.until("nobody0", lambda row: row["error"] != [])
    switched.plug("10.0.0.5")
    graph = switched.graph()
    ends = {(edge.source, edge.target) for edge in graph.edges}
    assert {("dev:vx1", "dev:eth9"), ("dev:eth9", "remote:192.0.2.2"), ("dev:br-int", "dev:vx1")} <= ends
    assert graph.nodes["dev:nobody0"].state is State.GONE
    assert switched.marks()["vx2"] == ["no route of this host leads to 198.51.100.7, the remote of vx2"]


def test_a_database_that_does_not_answer_is_told_and_the_rest_is_drawn(switched: Switched) -> None:
    one = switched.plug("10.0.0.5")
    switched.switch.stop("conf")
    graph = switched.graph(ask=False)
    assert f"dev:{one.vif.devname}" in graph.nodes
    assert graph.notes == [f"Open vSwitch's database is not at {switched.switch.remote}: ports are not seen"]


def test_a_database_that_was_killed_is_told(switched: Switched) -> None:
    switched.switch.stop("conf", signal.SIGKILL)
    [note] = switched.graph().notes
    assert note.startswith(f"OVSDB at {switched.switch.remote} does not answer")
