"""A VIF in a VXLAN network of two hosts: the tunnel, its remotes and what carries it, whole and broken."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from guests import Elsewhere, guest, ip
from plumbed import Plumbed, end
from vifplug.host.results import Plugged
from vifplug.plumbing import State
from world import World

pytestmark = pytest.mark.slow

HERE, THERE = "192.0.2.1", "192.0.2.2"


class TwoEnds:
    """A guest 10.0.0.5 here and a guest 10.0.0.1 there, in network 10."""

    def __init__(self, world: World, there: World, other: Elsewhere) -> None:
        self.other = other
        self.here = Plumbed(world, "vxlan-bridge", vni=10, local=HERE, underlay="wire0", remotes=[THERE])
        self.there = Plumbed(there, "vxlan-bridge", vni=10, local=THERE, underlay="wire1", remotes=[HERE])
        self.one = self.here.plug("10.0.0.5")
        self.two: Plugged = other.do(lambda: self.there.plug("10.0.0.1"))
        self.guest = other.do(lambda: guest(self.two))


@pytest.fixture
def ends(world: World) -> Iterator[TwoEnds]:
    other = Elsewhere()
    ip(f"link add wire0 type veth peer name wire1 netns {other.namespace}")
    ip(f"address add {HERE}/24 dev wire0")
    ip("link set wire0 up")
    other.do(lambda: ip(f"address add {THERE}/24 dev wire1"))
    other.do(lambda: ip("link set wire1 up"))
    folder = world.folder / "there"
    folder.mkdir()
    found = TwoEnds(world, World(folder), other)
    yield found
    found.guest.close()
    other.close()


def bridge(arguments: str) -> object:
    return subprocess.run(["bridge", *arguments.split()], check=True)


def test_a_frame_is_followed_through_the_tunnel_to_the_other_host(ends: TwoEnds) -> None:
    found = ends.here.trace(ends.one)
    assert found.ok, found.text
    assert [f"{hop.what} {hop.name}" for hop in found.hops][3:] == [
        f"port {ends.one.vif.devname}", "bridge vxbr10", "tunnel vxlan10", "uplink wire0", f"remote {THERE}",
    ]  # fmt: skip
    assert all(hop.out for hop in found.hops[4:]), (
        "seen bare, in the tunnel, and wrapped up on its way to that host"
    )
    assert all(hop.back for hop in found.hops[4:]), "and its answer, from that host"
    assert end(found) == ("remote", THERE)
    assert ends.here.marks() == {}


Break = Callable[[TwoEnds], object]
BROKEN: dict[str, tuple[Break, str, str]] = {
    "the remote is missing": (
        lambda _: bridge(f"fdb del 00:00:00:00:00:00 dev vxlan10 dst {THERE}"),
        "tunnel vxlan10", "vxlan10 has no remotes",
    ),
    "another remote is there instead": (
        lambda _: (
            bridge("fdb append 00:00:00:00:00:00 dev vxlan10 dst 192.0.2.77"),
            bridge(f"fdb del 00:00:00:00:00:00 dev vxlan10 dst {THERE}"),
        ),
        "tunnel vxlan10", f"flooded to by vxlan10: {THERE} was plugged, nothing is there",
    ),
    "the tunnel is down": (lambda _: ip("link set vxlan10 down"), "tunnel vxlan10", "vxlan10 is down"),
    "the tunnel is out of the bridge": (
        lambda _: ip("link set vxlan10 nomaster"),
        "bridge vxbr10", "bridge of vxlan10: vxbr10 was plugged, nothing is there",
    ),
    "the wire is down": (lambda _: ip("link set wire0 down"), "uplink wire0", "wire0 is down"),
    "the wire's other end is down": (
        lambda ends: ends.other.do(lambda: ip("link set wire1 down")), "uplink wire0", "wire0 has no carrier",
    ),
    "the other host does not flood to us": (
        lambda ends: ends.other.do(lambda: ip("link set vxlan10 down")), f"remote {THERE}",
        f"the frame left this host by wire0 to {THERE}, and 10.0.0.1 did not answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_trace_ends_just_where_the_tunnel_is_broken(ends: TwoEnds, what: str) -> None:
    destroy, where, why = BROKEN[what]
    destroy(ends)
    found = ends.here.trace(ends.one)
    assert not found.ok and " ".join(end(found)) == where, found
    assert why in found.text and found.do


def test_the_graph_marks_a_tunnel_whose_remote_is_missing(ends: TwoEnds) -> None:
    bridge(f"fdb del 00:00:00:00:00:00 dev vxlan10 dst {THERE}")
    node = ends.here.graph().nodes["dev:vxlan10"]
    assert node.state is State.DOWN
    assert [fault.text.partition(":")[0] for fault in node.faults] == [
        "vxlan10 has no remotes",
        "flooded to by vxlan10",
    ]


def test_a_running_guests_frame_is_seen_wrapped_up(ends: TwoEnds) -> None:
    with guest(ends.one):
        found = ends.here.trace(ends.one)
    assert found.ok and found.probe == "by the guest"
    assert end(found) == ("remote", THERE) and found.hops[-1].out


def test_a_tunnel_whose_remote_no_route_leads_to_says_so(ends: TwoEnds) -> None:
    ip("link add vxlan99 type vxlan id 99 dstport 4789")
    bridge("fdb append 00:00:00:00:00:00 dev vxlan99 dst 198.51.100.9")
    ip("link add br99 type bridge")
    ip("link set vxlan99 up master br99")
    assert ends.here.marks() == {
        "vxlan99": ["no route of this host leads to 198.51.100.9, the remote of vxlan99"],
        "br99": ["br99 is down"],
    }
