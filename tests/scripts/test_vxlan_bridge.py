"""The plug script vxlan-bridge: two hosts, which are two network namespaces with a wire between them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from guests import Catalogue, Elsewhere, guest, ip, reaches
from vifplug.errors import BackendUnavailable, BadDetails, ScriptFailed
from world import World, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

HERE, THERE = "192.0.2.1", "192.0.2.2"
STATIC_HERE = {"local": HERE, "underlay": "wire0", "remotes": [THERE, "192.0.2.77"]}
STATIC_THERE = {"local": THERE, "underlay": "wire1", "remotes": [HERE]}
MULTICAST = {"group": "239.1.1.1"}


def bridge(arguments: str) -> None:
    subprocess.run(["bridge", *arguments.split()], check=True)


@pytest.fixture
def elsewhere(world: World) -> Iterator[Elsewhere]:
    """The other host, with a wire to this one."""
    other = Elsewhere()
    ip(f"link add wire0 type veth peer name wire1 netns {other.namespace}")
    ip(f"address add {HERE}/24 dev wire0")
    ip("link set wire0 up")
    other.do(lambda: ip(f"address add {THERE}/24 dev wire1"))
    other.do(lambda: ip("link set wire1 up"))
    yield other
    other.close()


@pytest.fixture
def here(world: World, elsewhere: Elsewhere) -> Catalogue:
    return Catalogue(world, "vxlan-bridge", vni=10)


@pytest.fixture
def there(world: World, elsewhere: Elsewhere) -> Catalogue:
    folder = world.folder / "there"
    folder.mkdir()
    return Catalogue(World(folder), "vxlan-bridge", vni=10)


@pytest.mark.parametrize(
    ("details_here", "details_there"),
    [
        (STATIC_HERE, STATIC_THERE),
        (MULTICAST | {"underlay": "wire0"}, MULTICAST | {"underlay": "wire1"}),
    ],
    ids=["static flood list", "multicast"],
)
def test_guests_on_two_hosts_reach_each_other(
    here: Catalogue, there: Catalogue, elsewhere: Elsewhere, details_here: Any, details_there: Any
) -> None:
    one = here.plug("10.0.0.5", **details_here)
    two = elsewhere.do(lambda: there.plug("10.0.0.6", **details_there))
    assert one.vif.mtu == 1450  # what the wire leaves, which nobody knew before

    with guest(one) as asking, elsewhere.do(lambda: guest(two)):
        assert reaches(asking, "10.0.0.6")
    assert here.drift(one) == []
    assert elsewhere.do(lambda: there.drift(two)) == []


def test_another_network_hears_nothing(here: Catalogue, there: Catalogue, elsewhere: Elsewhere) -> None:
    one = here.plug("10.0.0.5", **STATIC_HERE)
    two = elsewhere.do(lambda: there.plug("10.0.0.6", **STATIC_THERE))
    foreign = elsewhere.do(lambda: there.plug("10.0.0.7", **STATIC_THERE | {"vni": 11}))

    with (
        guest(one) as asking,
        elsewhere.do(lambda: guest(two)),
        elsewhere.do(lambda: guest(foreign)),
    ):
        assert reaches(asking, "10.0.0.6")
        assert asking.arp("10.0.0.7", 0.3) is None


def test_a_live_network_learns_of_a_new_host(here: Catalogue, there: Catalogue, elsewhere: Elsewhere) -> None:
    binding = here.binding("10.0.0.5", **STATIC_HERE | {"remotes": ["192.0.2.77"]})
    one = here.host().plug(binding)
    two = elsewhere.do(lambda: there.plug("10.0.0.6", **STATIC_THERE | {"remotes": []}))
    with guest(one) as asking, elsewhere.do(lambda: guest(two)):
        assert asking.arp("10.0.0.6", 0.3) is None
        binding["vif_details"]["remotes"] = [THERE]
        here.host().update(binding)
        assert reaches(asking, "10.0.0.6")


def test_tunnel_and_bridge_go_with_the_last_guest(here: Catalogue) -> None:
    before = links().keys()
    one, other = here.plug("10.0.0.5", **STATIC_HERE), here.plug("10.0.0.6", **STATIC_HERE)

    here.host().unplug(one.id)
    assert {"vxlan10", "vxbr10"} < links().keys()
    here.host().unplug(other.id)
    assert links().keys() == before


@pytest.mark.parametrize(
    "half",
    [
        ["link add vxlan10 group 1986814578 type vxlan id 10 dstport 4789 local 192.0.2.1 dev wire0"],
        [
            "link add vxlan10 group 1986814578 type vxlan id 10 dstport 4789 local 192.0.2.1 dev wire0",
            "link add vxbr10 group 1986814578 type bridge",
        ],
    ],
)
def test_what_a_killed_plug_left_is_finished_or_removed(
    here: Catalogue, there: Catalogue, elsewhere: Elsewhere, half: list[str]
) -> None:
    for command in half:
        ip(command)
    one = here.plug("10.0.0.5", **STATIC_HERE)
    two = elsewhere.do(lambda: there.plug("10.0.0.6", **STATIC_THERE))
    with guest(one) as asking, elsewhere.do(lambda: guest(two)):
        assert reaches(asking, "10.0.0.6")

    ip("link delete vxbr10")
    here.host().unplug(one.id)
    assert links().keys() == {"wire0"}


@pytest.mark.parametrize("name", ["vxlan10", "vxbr10"])
def test_devices_of_somebody_elses_are_not_touched(here: Catalogue, name: str) -> None:
    ip(f"link add {name} type bridge")
    before = links()[name]

    with pytest.raises(ScriptFailed, match=f"{name} is there and not made by vifplug"):
        here.plug("10.0.0.5", **STATIC_HERE)

    assert links()[name] == before
    assert links().keys() == {"wire0", name}


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"local": "192.0.2.9"}, f"vxlan10 is in use with {HERE} local, and 192.0.2.9 is asked for"),
        ({"port": 4790}, "vxlan10 is in use with 4789 dstport, and 4790 is asked for"),
        (
            {"group": "239.1.1.1", "remotes": []},
            "vxlan10 is in use with no group, and 239.1.1.1 is asked for",
        ),
        ({"group": "239.1.1.1"}, "give remotes or group, not both"),
        ({"remotes": ["192.0.2.2; id"]}, "';' is no IP address|'192.0.2.2;' is no IP address"),
        ({"remotes": ["somewhere"]}, "'somewhere' is no IP address"),
        ({"group": "239.1.1.1", "remotes": [], "underlay": None}, "group needs vif_details.underlay"),
        ({"vni": 0}, "vif_details.vni must be at least 1"),
        ({"vni": None}, "vif_details.vni is missing"),
        ({"underlay": "a b"}, "'a b' is no device name"),
    ],
)
def test_what_cannot_be_is_refused_and_nobody_is_disturbed(
    here: Catalogue, there: Catalogue, elsewhere: Elsewhere, details: dict[str, Any], words: str
) -> None:
    one = here.plug("10.0.0.5", **STATIC_HERE)

    with pytest.raises(BadDetails, match=words):
        here.plug("10.0.0.7", **STATIC_HERE | details)

    assert here.drift(one) == []
    assert len(links()) == 4


def test_an_mtu_that_the_tunnel_cannot_carry_is_refused(here: Catalogue) -> None:
    with pytest.raises(BadDetails, match="the MTU 1500 does not fit into vxlan10, which carries 1450"):
        here.host().plug(here.binding("10.0.0.5", **STATIC_HERE) | {"mtu": 1500})

    assert links().keys() == {"wire0"}


def test_a_missing_underlay_is_said_by_name(here: Catalogue) -> None:
    with pytest.raises(BackendUnavailable, match="there is no device wire7 on this host"):
        here.plug("10.0.0.5", **STATIC_HERE | {"underlay": "wire7"})


def test_ipv6_addresses_are_the_same_however_they_are_written(here: Catalogue) -> None:
    ip("address add fd00::1/64 dev wire0 nodad")
    details = {"local": "FD00:0::1", "underlay": "wire0", "remotes": ["fd00:0:0::2"]}
    one = here.plug("10.0.0.5", **details)

    assert here.drift(one) == []
    assert one.vif.mtu == 1430
    here.refresh(one)
    assert here.drift(one) == []


def test_check_notices_what_drifted(here: Catalogue) -> None:
    one = here.plug("10.0.0.5", **STATIC_HERE)
    bridge("fdb del 00:00:00:00:00:00 dev vxlan10 dst 192.0.2.2")
    assert here.drift(one) == ["flooded to by vxlan10: 192.0.2.2 is None"]
    bridge("fdb append 00:00:00:00:00:00 dev vxlan10 dst 192.0.2.3")
    ip("link set vxlan10 nomaster")
    ip("link set vxbr10 down")
    assert here.drift(one) == [
        "bridge vxbr10: up is down",
        "bridge of vxlan10: vxbr10 is None",
        "flooded to by vxlan10: 192.0.2.2 is None",
        "flooded to by vxlan10: None is 192.0.2.3",
    ]

    here.refresh(one)
    assert here.drift(one) == []
    ip("link delete vxlan10")
    assert here.drift(one) == ["tunnel vxlan10: up is missing"]


def test_unplug_of_the_unknown_succeeds(here: Catalogue) -> None:
    one = here.plug("10.0.0.5", **STATIC_HERE)
    for name in (one.vif.devname, "vxbr10", "vxlan10"):
        ip(f"link delete {name}")

    here.host().unplug(one.id)
    assert here.host().list() == []
