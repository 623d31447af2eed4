"""A VIF that the host routes to: routes take the bridge's place."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from guests import Elsewhere, ip
from plumbed import Plumbed, end
from world import World

pytestmark = pytest.mark.slow

GATEWAY, OUTSIDE = "169.254.1.1", "203.0.113.9"


class Routed(Plumbed):
    other: Elsewhere

    def binding(self, *addresses: str, **details: object) -> dict[str, object]:
        """The guest's gateway is the script's."""
        made = super().binding(*addresses, **details)
        subnet = made["network"]["subnets"][0]
        del subnet["gateway"], subnet["cidr"]
        return made


@pytest.fixture
def routed(world: World) -> Iterator[Routed]:
    """The host's default route leads to another one, which has OUTSIDE."""
    if not Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists():  # before Linux 6.17
        subprocess.run(["sysctl", "-q", "net.ipv6.conf.all.forwarding=1"], check=True)
    other = Elsewhere()
    ip(f"link add eth9 type veth peer name far0 netns {other.namespace}")
    ip("address add 192.0.2.1/24 dev eth9")
    ip("link set eth9 up")
    for command in (
        "address add 192.0.2.2/24 dev far0",
        f"address add {OUTSIDE}/32 dev lo",
        "link set far0 up",
        "route add 10.0.0.0/24 via 192.0.2.1",
    ):
        other.do(lambda command=command: ip(command))  # type: ignore[misc]
    ip("route add default via 192.0.2.2")
    subprocess.run(["sysctl", "-q", "net.ipv4.conf.eth9.forwarding=1"], check=True)
    made = Routed(world, "routed", gateways=[GATEWAY])
    made.other = other
    yield made
    other.close()


def test_a_frame_is_followed_to_the_hosts_routes_and_on_to_a_target_beyond(routed: Routed) -> None:
    one = routed.plug("10.0.0.5")
    tap = one.vif.devname
    with routed.host() as host:
        assert host.check(one.id).ok

    near = routed.trace(one)
    assert near.ok and end(near) == ("routes", "this host")
    assert near.text.startswith(f"{GATEWAY} answered")

    beyond = routed.trace(one, OUTSIDE, addresses=["10.0.0.5/24"])
    assert beyond.ok and end(beyond) == ("uplink", "eth9"), beyond
    assert [f"{hop.what} {hop.name}" for hop in beyond.hops][2:] == [
        f"device {tap}", "routes this host", "uplink eth9",
    ]  # fmt: skip
    assert beyond.hops[-1].out and beyond.hops[-1].back


def test_an_uplink_that_is_down_ends_a_routed_vifs_way(routed: Routed) -> None:
    one = routed.plug("10.0.0.5")
    routed.other.do(lambda: ip("link set far0 down"))
    found = routed.trace(one, OUTSIDE, addresses=["10.0.0.5/24"])
    assert not found.ok and end(found) == ("uplink", "eth9")
    assert "eth9 has no carrier" in found.text


def test_without_a_default_route_nothing_leads_out(routed: Routed) -> None:
    one = routed.plug("10.0.0.5")
    ip("link set eth9 down")  # its routes go with it
    found = routed.trace(one, OUTSIDE, addresses=["10.0.0.5/24"])
    assert not found.ok and end(found) == ("routes", "this host")
    assert (
        found.text == f"the frame came to this host, which leads nowhere else, and {OUTSIDE} did not answer"
    )


def test_a_route_that_is_gone_is_where_it_ends(routed: Routed) -> None:
    one = routed.plug("10.0.0.5")
    ip(f"route del 10.0.0.5 dev {one.vif.devname}")
    found = routed.trace(one)
    assert not found.ok
    assert f"routes at {one.vif.devname}, IPv4: 10.0.0.5 was plugged, nothing is there" in found.text
