"""A VIF that somebody changed is found by asking the kernel, and brought back to its record."""

from __future__ import annotations

import subprocess

import pytest

from vifplug.errors import DeviceFailed, DeviceTaken, NotPlugged, ScriptFailed, ScriptNotFound
from vifplug.host import State
from vifplug.host.watch import LinkWatch
from world import ID, TAP, World, binding, links

JOINS = "ip link show br0 >/dev/null 2>&1 || ip link add br0 type bridge; ip link set $VIF_DEVNAME master br0"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def joined(world: World) -> World:
    """A world whose script puts the tap into br0, which it makes."""
    world.on("plug", do=JOINS)
    return world


DAMAGES = {
    "gone": ["ip link delete @"],
    "renamed": ["ip link set @ down", "ip link set @ name other0"],
    "renamed, up": ["ip link set @ down", "ip link set @ name other0", "ip link set other0 up"],
    "down": ["ip link set @ down"],
    "another MAC": ["ip link set @ address 02:00:00:00:00:09"],
    "another MTU": ["ip link set @ mtu 1280"],
    "taken out of its bridge": ["ip link set @ nomaster"],
    "in another bridge": ["ip link add br9 type bridge", "ip link set @ master br9"],
    "its bridge is gone": ["ip link delete br0"],
}


def damage(name: str) -> None:
    for command in DAMAGES[name]:
        ip(*command.replace("@", TAP).split()[1:])


@pytest.mark.parametrize("name", DAMAGES)
def test_what_somebody_did_to_a_vif_is_undone(joined: World, name: str) -> None:
    with joined.host() as host:
        plugged = host.plug(binding(mtu=1400))
        before = links()[TAP]
        assert host.drifts.of(ID) == []
        assert list(host.drifts.suspects()) == []
        damage(name)
        assert host.drifts.of(ID) != []
        assert list(host.drifts.suspects()) == [ID]
        repaired = host.repair(ID)
        assert repaired.changed
        assert (repaired.generation, repaired.xml) == (plugged.generation, plugged.xml)
        assert host.check(ID).drift == []
        assert list(host.drifts.suspects()) == []
        after = links()
        assert set(after) - {"br9"} == {TAP, "br0"}
        assert after[TAP].master == after["br0"].index
        assert (after[TAP].mtu, after[TAP].address, after[TAP].up) == (1400, before.address, True)


def test_what_is_as_plugged_is_left_alone(world: World) -> None:
    with world.host() as host:
        host.plug(binding())
        assert not host.repair(ID).changed
    assert world.asked() == ["plug"]


def test_a_vif_that_is_not_plugged_cannot_be_repaired(world: World) -> None:
    with world.host(boot_id="00000000-0000-4000-8000-000000000001") as host:
        with pytest.raises(NotPlugged, match="nothing to bring back"):
            host.repair(ID)
        assert host.drifts.of(ID) == []
        host.plug(binding())
    with world.host() as host, pytest.raises(NotPlugged):  # a reboot took it
        host.repair(ID)
    with world.host() as host:
        ip("link", "delete", TAP)
        assert host.drifts.of(ID) == []
        assert list(host.drifts.suspects()) == []


def test_a_script_that_fails_leaves_the_device_restored_and_the_reason_on_record(world: World) -> None:
    with world.host() as host:
        host.plug(binding(mtu=1400))
        ip("link", "set", TAP, "mtu", "1280")
        world.on("plug", status=1)
        with pytest.raises(ScriptFailed):
            host.repair(ID)
        assert links()[TAP].mtu == 1400
        assert host.show(ID).state is State.PLUGGED
        assert [(drift.what, drift.expected) for drift in host.drifts.of(ID) or []] == [
            ("last change", "done")
        ]
        world.on("plug")
        assert host.repair(ID).changed
        assert host.drifts.of(ID) == []


def test_a_script_that_does_not_join_again_has_not_repaired_anything(joined: World) -> None:
    with joined.host() as host:
        host.plug(binding())
        joined.on("plug")
        ip("link", "delete", "br0")
        with pytest.raises(DeviceFailed, match=f"br0, on which {TAP} was plugged, is gone"):
            host.repair(ID)
        assert "device master" in [drift.what for drift in host.drifts.of(ID) or []]
        with pytest.raises(DeviceFailed):
            host.plug(binding())
        joined.on("plug", do=JOINS)
        host.repair(ID)
        assert host.drifts.of(ID) == []


def test_a_change_that_needs_no_script_does_not_forget_the_bridge(joined: World) -> None:
    with joined.host() as host:
        host.plug(binding())
        ip("link", "set", TAP, "nomaster")
        host.update(binding(mtu=1400))
        assert [drift.what for drift in host.drifts.of(ID) or []] == ["device master"]


def test_a_name_that_somebody_else_took_is_said(world: World) -> None:
    with world.host() as host:
        host.plug(binding())
        ip("link", "delete", TAP)
        ip("link", "add", TAP, "type", "bridge")
        with pytest.raises(DeviceTaken):
            host.repair(ID)
        assert "device alias" in [drift.what for drift in host.drifts.of(ID) or []]


def test_without_its_script_nothing_is_touched(world: World) -> None:
    with world.host() as host:
        host.plug(binding(mtu=1400))
        ip("link", "set", TAP, "mtu", "1280")
        (world.scripts / "recorder").unlink()
        with pytest.raises(ScriptNotFound):
            host.repair(ID)
        assert host.show(ID).error is None


def test_a_bridge_that_libvirt_will_join_is_made_again(world: World) -> None:
    what = binding(vif_type="bridge", vif_details={"bridge": "br0"})
    world.on("plug", do="ip link show br0 >/dev/null 2>&1 || ip link add br0 type bridge")
    with world.host() as host:
        host.plug(what)
        ip("link", "delete", "br0")
        assert [(drift.what, drift.expected) for drift in host.drifts.of(ID) or []] == [
            ("bridge device", "br0")
        ]
        host.repair(ID)
        assert host.drifts.of(ID) == []
        assert "br0" in links()
        ip("link", "delete", "br0")
        world.on("plug")
        with pytest.raises(DeviceFailed, match="br0"):
            host.repair(ID)


def test_a_device_that_the_script_makes_is_made_again(world: World) -> None:
    world.on("plug", do="ip tuntap add $VIF_DEVNAME mode tap 2>/dev/null; true")
    with world.host() as host:
        host.plug(binding(vif_details={"made_by": "script"}))
        ip("link", "delete", TAP)
        assert [drift.what for drift in host.drifts.of(ID) or []] == ["device"]
        host.repair(ID)
        assert host.drifts.of(ID) == []


def test_a_vif_that_a_call_is_at_work_on_cannot_be_told(world: World) -> None:
    with world.host() as host, world.host() as other:
        host.plug(binding())
        with other._locks.vif(ID, 1):
            assert host.drifts.of(ID) is None
        assert host.drifts.of(ID) == []


def test_the_vifs_that_a_change_of_devices_concerns_are_found(joined: World) -> None:
    one, two, three = (f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01" for number in (1, 2, 3))
    with joined.host() as host, LinkWatch() as watch:
        host.plug(binding(1))
        host.plug(binding(2, script=None))
        joined.on("plug", do="ip tuntap add $VIF_DEVNAME mode tap")
        host.plug(binding(3, vif_details={"made_by": "script"}))

        def concerned() -> set[str]:
            found: set[str] = set()
            while changes := watch.next(0.05):
                found |= host.drifts.concerned(changes)
            return found

        assert concerned() == {one, two, three}
        ip("link", "add", "other0", "type", "bridge")
        assert concerned() == set()
        ip("link", "set", "tap00000002-7d", "mtu", "1300")
        assert concerned() == {two}
        ip("link", "set", "tap00000003-7d", "name", "renamed0")
        assert concerned() == {three}
        ip("link", "set", "br0", "down")
        concerned()
        ip("link", "set", "br0", "name", "br5")
        assert concerned() == {one}


def test_more_vifs_than_are_read_at_once_are_all_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vifplug.host.drifts._PAGE", 3)
    with world.host() as host:
        host.plug_all([binding(number, script=None) for number in range(1, 11)])
        for number in (1, 4, 10):
            ip("link", "delete", f"tap{number:08x}-7d")
        assert {int(vif_id[:8], 16) for vif_id in host.drifts.suspects()} == {1, 4, 10}
