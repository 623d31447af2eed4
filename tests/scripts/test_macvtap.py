"""The plug script macvtap: guests that open /dev/tapN as libvirt does, on one device of the host."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from guests import Catalogue, Elsewhere, guest, ip, reaches
from vifplug.errors import BackendUnavailable, BadDetails, ScriptFailed
from vifplug.host.results import Plugged
from vifplug.probe import guest as probe_guest
from world import World, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

ROUTER = "10.0.0.1"
# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD, TUNGETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x800454D7
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


class Macvtap:
    """/dev/tapN opened as libvirt opens it, where a stand-in guest would open a tap."""

    def __init__(self, devname: str, *, vnet_hdr: bool = True) -> None:
        self._fd = os.open(
            f"/dev/tap{socket.if_nametoindex(devname)}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        )
        flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet_hdr else 0)
        fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH22x", devname.encode(), flags))
        fcntl.ioctl(self._fd, TUNSETOFFLOAD, 0)
        self._header = bytes(struct.unpack("i", fcntl.ioctl(self._fd, TUNGETVNETHDRSZ, bytes(4)))[0])

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def read(self) -> bytes | None:
        try:
            return os.read(self._fd, 65600)[len(self._header) :]
        except BlockingIOError:
            return None

    def write(self, frame: bytes) -> None:
        os.write(self._fd, self._header + frame)


@pytest.fixture
def macvtap(world: World, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A device of the host with a router at its other end, for guests that open macvtaps."""
    monkeypatch.setattr(probe_guest, "Tap", Macvtap)
    ip("link add up0 mtu 1400 type veth peer name router0 mtu 1400")
    ip("link set up0 up")
    ip("link set router0 up")
    ip(f"address add {ROUTER}/24 dev router0")
    return Catalogue(world, "macvtap", source_dev="up0", made_by="script")


def node(plugged: Plugged) -> Path:
    return Path(f"/dev/tap{links()[plugged.vif.devname].index}")


@pytest.mark.real_root  # to whom /dev/tapN belongs
def test_guests_in_bridge_mode_reach_each_other_and_the_network(macvtap: Catalogue) -> None:
    one, other = macvtap.plug("10.0.0.5"), macvtap.plug("10.0.0.6")
    with guest(one) as asking, guest(other):
        assert reaches(asking, "10.0.0.6")
        assert reaches(asking, ROUTER)
    assert macvtap.drift(one) == []


@pytest.mark.real_root  # to whom /dev/tapN belongs
def test_guests_in_private_mode_reach_the_network_alone(macvtap: Catalogue) -> None:
    one, other = macvtap.plug("10.0.0.5", mode="private"), macvtap.plug("10.0.0.6", mode="private")
    with guest(one) as asking, guest(other) as asked:
        assert reaches(asking, ROUTER)
        assert reaches(asked, ROUTER)
        assert asking.arp("10.0.0.6", 0.3) is None


def test_libvirt_is_told_to_open_the_device_and_leave_it_alone(macvtap: Catalogue) -> None:
    one = macvtap.plug("10.0.0.5")

    assert 'type="ethernet"' in one.xml
    assert f'<target dev="{one.vif.devname}" managed="no"' in one.xml
    assert one.vif.mtu == 1400  # that of the device beneath


def test_the_device_has_the_guests_own_address_from_the_first(macvtap: Catalogue) -> None:
    one = macvtap.plug("10.0.0.5")

    made = links()[one.vif.devname]
    assert (made.address, made.kind, made.up) == (one.vif.address, "macvtap", True)


def test_two_namespaces_that_share_dev_never_share_a_device_node(macvtap: Catalogue, world: World) -> None:
    """The kernel counts indexes for each namespace, and would name both devices /dev/tapN alike without a word."""
    elsewhere = Elsewhere()
    folder = world.folder / "elsewhere"
    folder.mkdir()
    other = Catalogue(World(folder), "macvtap", source_dev="up0", made_by="script")
    elsewhere.do(lambda: ip("link add up0 type veth peer name router0"))
    try:
        here, there = macvtap.plug("10.0.0.5"), elsewhere.do(lambda: other.plug("10.0.0.5"))
        assert node(here) != elsewhere.do(lambda: node(there))
    finally:
        elsewhere.close()


def test_unplug_removes_it_and_its_node(macvtap: Catalogue) -> None:
    one = macvtap.plug("10.0.0.5")
    opened_as = node(one)
    assert opened_as.is_char_device()

    macvtap.host().unplug(one.id)
    assert links().keys() == {"up0", "router0"}
    assert not opened_as.exists()


def test_another_plug_and_another_unplug_are_as_good_as_one(macvtap: Catalogue) -> None:
    one = macvtap.plug("10.0.0.5")
    index = links()[one.vif.devname].index
    macvtap.refresh(one)
    assert links()[one.vif.devname].index == index

    ip(f"link delete {one.vif.devname}")
    assert macvtap.drift(one) == [f"device: {one.vif.devname} is None", f"{one.vif.devname}: up is missing"]
    macvtap.host().unplug(one.id)
    assert macvtap.host().list() == []


@pytest.mark.real_root  # to whom /dev/tapN belongs
def test_what_a_killed_plug_left_without_a_name_is_finished(macvtap: Catalogue) -> None:
    binding = macvtap.binding("10.0.0.5")
    name = f"tap{binding['id'][:11]}"
    ip(
        f"link add link up0 name {name} address {binding['address']} group 1986814578 index 77123456 "
        "type macvtap mode bridge"
    )
    one = macvtap.host().plug(binding)

    assert links()[name].index == 77123456
    with guest(one) as asking:
        assert reaches(asking, ROUTER)


@pytest.mark.parametrize(
    "made", ["link add {name} type veth peer name theirs", "link add {name} group 1986814578 type bridge"]
)
def test_a_device_of_somebody_elses_is_not_touched(macvtap: Catalogue, made: str) -> None:
    binding = macvtap.binding("10.0.0.5")
    name = f"tap{binding['id'][:11]}"
    ip(made.format(name=name))
    before = links()

    with pytest.raises(ScriptFailed, match=f"{name} is there and not this VIF's"):
        macvtap.host().plug(binding)

    assert links() == before


@pytest.mark.parametrize(
    ("details", "error", "words"),
    [
        ({"source_dev": "up7"}, BackendUnavailable, "there is no device up7 on this host"),
        ({"source_dev": None}, BadDetails, "source_dev is missing"),
        ({"mode": "hub"}, BadDetails, "mode must be one of: bridge private vepa passthrough"),
        ({"made_by": None}, BadDetails, "made_by is missing"),
    ],
)
def test_what_cannot_be_is_refused(
    macvtap: Catalogue, details: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        macvtap.plug("10.0.0.5", **details)

    assert links().keys() == {"up0", "router0"}


def test_check_notices_what_drifted(macvtap: Catalogue) -> None:
    one = macvtap.plug("10.0.0.5")
    name = one.vif.devname
    ip(f"link set {name} down")
    ip(f"link set {name} address fa:16:3e:00:00:99")
    ip(f"link set {name} type macvtap mode vepa")

    assert macvtap.drift(one) == [
        f"{name}: up is down",
        f"address of {name}: {one.vif.address} is fa:16:3e:00:00:99",
        f"mode of {name}: bridge is vepa",
    ]


def test_the_mtu_of_a_live_guest_is_changed(macvtap: Catalogue) -> None:
    binding = macvtap.binding("10.0.0.5") | {"mtu": 1400}
    one = macvtap.host().plug(binding)
    index = links()[one.vif.devname].index
    macvtap.host().update(binding | {"mtu": 1300})

    assert (links()[one.vif.devname].index, links()[one.vif.devname].mtu) == (index, 1300)
