"""A tap that somebody else makes (``made_by: caller``), as Nova does: taken, kept while plugged, let go of."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from vifplug.errors import DeviceFailed, DeviceTaken, ScriptFailed
from vifplug.host import Host
from world import ID, TAP, World, binding, links

CALLERS = binding(vif_details={"made_by": "caller"}, mtu=1400)


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    with world.host() as host:
        yield host


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def make_tap() -> None:
    ip("tuntap", "add", TAP, "mode", "tap")


def test_the_tap_that_is_there_is_set_up_and_marked_before_the_script_runs(world: World, host: Host) -> None:
    make_tap()
    made = links()[TAP].index
    world.on("plug", do='ip -o link show "$VIF_DEVNAME" > $backend/seen')
    plugged = host.plug(CALLERS)
    assert f'<target dev="{TAP}" managed="no" />' in plugged.xml
    seen = (world.backend / "seen").read_text()
    assert "mtu 1400" in seen
    assert "fe:16:3e:00:00:00" in seen
    tap = links()[TAP]
    assert (tap.index, tap.up) == (made, True)
    assert tap.alias is not None
    assert tap.alias.endswith(ID)
    assert not host.plug(CALLERS).changed
    assert host.check(ID).ok


def test_unplug_lets_go_of_the_tap_and_leaves_it(world: World, host: Host) -> None:
    make_tap()
    host.plug(CALLERS)
    host.unplug(ID)
    assert links()[TAP].alias is None
    assert world.asked() == ["plug", "unplug"]
    host.gc()
    assert TAP in links()


def test_many_are_let_go_of_together(host: Host) -> None:
    plain = [binding(number, None, vif_details={"made_by": "caller"}) for number in (1, 2)]
    for each in plain:
        ip("tuntap", "add", f"tap{each['id'][:11]}", "mode", "tap")
        host.plug(each)
    host.unplug_all([each["id"] for each in plain])
    assert [link.alias for link in links().values()] == [None, None]


def test_what_its_maker_forgot_goes_if_asked_for_and_nobody_holds_it(host: Host) -> None:
    make_tap()
    host.plug(CALLERS)
    tun = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", TAP.encode(), 0x2 | 0x1000))
        assert links()[TAP].carrier
        host.unplug(ID, remove_device=True)
        assert TAP in links(), "a guest had it open"
    finally:
        os.close(tun)
    assert not links()[TAP].carrier
    host.unplug(ID, remove_device=True)
    assert TAP not in links()


def test_no_tap_is_removed_that_was_not_made_for_the_vif(host: Host) -> None:
    ip("link", "add", "br0", "type", "bridge")
    for name in (TAP, "tap0"):
        ip("tuntap", "add", name, "mode", "tap")
    ip("link", "set", TAP, "master", "br0")
    host.unplug(ID, remove_device=True)
    assert TAP in links(), "another mechanism's: it is in a bridge"
    ip("link", "set", TAP, "nomaster", "alias", "somebody's")
    host.unplug(ID, remove_device=True)
    assert TAP in links()
    host.unplug("0", remove_device=True)
    assert "tap0" in links(), "no port has such an id"


def test_a_tap_that_another_mechanism_made_in_the_place_of_the_vif_s_stays(host: Host) -> None:
    make_tap()
    host.plug(CALLERS)
    ip("link", "del", TAP)
    ip("link", "add", "br0", "type", "bridge")
    make_tap()
    ip("link", "set", TAP, "master", "br0")
    host.unplug(ID, remove_device=True)
    assert TAP in links()


def test_a_vif_whose_device_its_caller_did_not_make_takes_none_along(host: Host) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("tuntap", "add", "others0", "mode", "tap")
    host.plug(binding(script=None, vif_type="bridge", devname="others0", vif_details={"bridge": "br0"}))
    host.unplug(ID, remove_device=True)
    assert "others0" in links()


def test_a_macvtap_stays_for_nobody_sees_who_holds_it(host: Host) -> None:
    ip("link", "add", "nic0", "type", "veth", "peer", "name", "nic1")
    ip("link", "set", "nic0", "up")
    ip("link", "add", "link", "nic0", "name", TAP, "type", "macvtap")
    host.plug(CALLERS)
    ip("link", "set", "nic1", "up")
    ip("link", "set", "nic1", "down")  # the device below loses its carrier
    deadline = time.monotonic() + 10.0
    while links()[TAP].carrier:  # the kernel tells devices that are stacked a little later
        assert time.monotonic() < deadline
    host.unplug(ID, remove_device=True)
    assert TAP in links()


def test_without_the_tap_nothing_is_plugged(world: World, host: Host) -> None:
    with pytest.raises(DeviceFailed, match="who asks for the plug makes it before"):
        host.plug(CALLERS)
    assert "plug" not in world.asked()
    assert host.list() == []


def test_no_other_kind_of_device_is_taken(host: Host) -> None:
    ip("link", "add", TAP, "type", "bridge")
    with pytest.raises(DeviceTaken, match="a bridge device with that name is there"):
        host.plug(CALLERS)
    assert links()[TAP].alias is None


def test_a_script_that_fails_leaves_the_tap_as_the_callers(world: World, host: Host) -> None:
    make_tap()
    world.on("plug", status=1)
    with pytest.raises(ScriptFailed):
        host.plug(CALLERS)
    assert links()[TAP].alias is None
    world.on("plug")
    host.plug(CALLERS)


def test_a_tap_that_was_made_anew_is_another_and_is_plugged_again(world: World, host: Host) -> None:
    make_tap()
    host.plug(CALLERS)
    ip("link", "del", TAP)
    assert [drift.what for drift in host.check(ID).drift] == ["caller's device"]
    make_tap()
    assert [drift.what for drift in host.check(ID).drift] == ["device alias"]
    assert host.plug(CALLERS).changed
    assert world.asked().count("plug") == 2
    assert host.check(ID).ok


def test_the_tap_gets_a_new_mtu_while_its_guest_runs(world: World, host: Host) -> None:
    make_tap()
    host.plug(CALLERS)
    made = links()[TAP].index
    host.plug({**CALLERS, "mtu": 1300})
    assert (links()[TAP].mtu, links()[TAP].index) == (1300, made)


def test_changed_details_never_take_the_tap_away(world: World, host: Host) -> None:
    make_tap()
    host.plug(CALLERS)
    made = links()[TAP].index
    changed = {**CALLERS, "vif_details": {**CALLERS["vif_details"], "tag": 7}}
    host.plug(changed)
    assert (links()[TAP].index, host.check(ID).ok) == (made, True)
