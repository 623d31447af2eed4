"""Guests on a Linux bridge that the packaged script connects: who hears whom."""

from __future__ import annotations

import pytest

from guests import Catalogue, guest, ip, reaches
from vifplug.errors import BackendUnavailable, BadDetails
from world import World, links

UPLINK = "10.0.0.1"


@pytest.fixture
def uplink(world: World) -> str:
    """A device of the host with a router at its other end."""
    ip("link add up0 type veth peer name router0")
    ip("link set up0 up")
    ip("link set router0 up")
    ip(f"address add {UPLINK}/24 dev router0")
    return "up0"


@pytest.fixture
def bridge(world: World, uplink: str) -> Catalogue:
    return Catalogue(world, "linux-bridge", bridge="br0", create_bridge=True, uplink=uplink)


def test_two_guests_and_the_uplink_reach_each_other(bridge: Catalogue) -> None:
    with guest(bridge.plug("10.0.0.5")) as one, guest(bridge.plug("10.0.0.6")):
        assert reaches(one, "10.0.0.6")
        assert reaches(one, UPLINK)


def test_isolated_guests_reach_the_uplink_and_not_each_other(bridge: Catalogue) -> None:
    plugged = bridge.plug("10.0.0.5", isolated=True), bridge.plug("10.0.0.6", isolated=True)
    with guest(plugged[0]) as one, guest(plugged[1]) as other:
        assert reaches(one, UPLINK)
        assert reaches(other, UPLINK)
        # the bridge's own port is up: what does not come now does not come
        assert one.arp("10.0.0.6", 0.3) is None

    assert bridge.drift(plugged[0]) == []
    ip(f"link set {plugged[0].vif.devname} type bridge_slave isolated off")
    assert bridge.drift(plugged[0]) == [f"isolation of {plugged[0].vif.devname}: on is off"]


def test_isolation_is_lifted_from_a_live_guest(bridge: Catalogue) -> None:
    binding = bridge.binding("10.0.0.5", isolated=True)
    one = bridge.host().plug(binding)
    with guest(one) as first, guest(bridge.plug("10.0.0.6", isolated=True)):
        assert reaches(first, UPLINK)
        binding["vif_details"]["isolated"] = False
        bridge.host().update(binding)
        assert reaches(first, "10.0.0.6")


def test_the_uplink_stays_when_the_bridge_goes_with_its_last_guest(bridge: Catalogue) -> None:
    one, other = bridge.plug("10.0.0.5"), bridge.plug("10.0.0.6")
    assert links()["up0"].master == links()["br0"].index

    bridge.host().unplug(one.id)
    assert "br0" in links()
    bridge.host().unplug(other.id)
    assert links().keys() == {"up0", "router0"}
    assert links()["up0"].master is None


def test_a_bridge_that_is_half_made_gets_its_uplink(bridge: Catalogue) -> None:
    ip(
        "link add br0 group 1986814578 type bridge"
    )  # as a plug leaves it that is killed after its first command

    with guest(bridge.plug("10.0.0.5")) as one:
        assert reaches(one, UPLINK)


def test_an_uplink_with_the_hosts_addresses_is_not_taken(bridge: Catalogue, uplink: str) -> None:
    ip(f"address add 192.0.2.1/24 dev {uplink}")

    with pytest.raises(BadDetails, match="up0 has addresses of the host, which it would lose"):
        bridge.plug("10.0.0.5")

    assert links().keys() == {"up0", "router0"}


def test_an_uplink_in_another_bridge_is_not_taken(bridge: Catalogue, uplink: str) -> None:
    ip("link add br1 type bridge")
    ip(f"link set {uplink} master br1")

    with pytest.raises(BadDetails, match="up0 belongs to another bridge already"):
        bridge.plug("10.0.0.5")

    assert links()["up0"].master == links()["br1"].index


def test_an_uplink_that_is_not_there_is_said_by_name(bridge: Catalogue) -> None:
    with pytest.raises(BackendUnavailable, match="there is no device up7 on this host"):
        bridge.plug("10.0.0.5", uplink="up7")


def test_a_bridge_goes_though_its_last_guest_was_moved_elsewhere(bridge: Catalogue) -> None:
    plugged = bridge.plug("10.0.0.5")
    ip("link add theirs type bridge")
    ip(f"link set {plugged.vif.devname} master theirs")

    assert f"bridge of {plugged.vif.devname}: br0 is theirs" in bridge.drift(plugged)
    bridge.host().unplug(plugged.id)
    assert links().keys() == {"up0", "router0", "theirs"}


# --- vif_type bridge: libvirt makes the port ------------------------------------------------------


def test_for_type_bridge_the_bridge_is_made_and_stays_as_nova_left_it(bridge: Catalogue) -> None:
    binding = bridge.binding("10.0.0.5") | {"vif_type": "bridge"}
    plugged = bridge.host().plug(binding)

    assert "<source bridge='br0'" in plugged.xml or '<source bridge="br0"' in plugged.xml
    assert links()["up0"].master == links()["br0"].index
    assert bridge.drift(plugged) == []
    bridge.host().unplug(plugged.id)
    assert "br0" in links()


def test_a_bridge_that_libvirt_uses_does_not_go_with_the_last_tap(bridge: Catalogue) -> None:
    tap = bridge.plug("10.0.0.5")
    bridge.host().plug(bridge.binding("10.0.0.6") | {"vif_type": "bridge"})

    bridge.host().unplug(tap.id)

    assert "br0" in links()
