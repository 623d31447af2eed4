"""VIFs in a real QEMU: given over its monitor, by descriptor and by name, and taken from it."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from callers import in_child
from cli_shell import Shell
from daemons import until
from machines import Machine
from vifplug.errors import (
    DeviceFailed,
    GuestHolds,
    NoPermission,
    NotPlugged,
    QemuRefused,
    QemuUnreachable,
    VifInUse,
)
from vifplug.guest import qemu_arguments
from vifplug.host import Host
from vifplug.qemu import Qmp, attach, detach, hotplug, open_tap, opened_tap
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow

NOBODY = 65534
_CLONE_NEWNS = 0x20000


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    with world.host() as host:
        yield host


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Machine]:
    """A QEMU whose guest never gets beyond its firmware, and lets go of nothing."""
    with Machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def qmp(still: Machine) -> Iterator[Qmp]:
    with Qmp(still.socket) as qmp:
        yield qmp


def network(qmp: Qmp) -> str:
    """What QEMU says of its cards and back ends."""
    found: str = qmp.execute("human-monitor-command", {"command-line": "info network"})
    return found


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


@pytest.fixture
def folder(world: World) -> Path:
    """One that any user may enter, which pytest's are not; with the guests' network around it."""
    world.folder.chmod(0o755)
    ip("link add br-guests type bridge")
    ip("address add 10.9.0.100/24 dev br-guests")
    ip("link set br-guests up")
    world.on("plug", do="ip link set $VIF_DEVNAME master br-guests")
    made = world.folder / "machine"
    made.mkdir()
    return made


def pings(address: str) -> bool:
    return subprocess.run(["ping", "-c1", "-W1", address], capture_output=True, check=False).returncode == 0


# --- attach --------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [1, 3])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_vif_is_plugged_and_qemu_has_it(
    world: World, host: Host, qmp: Qmp, queues: int, by_name: bool
) -> None:
    attached = attach(host, qmp, binding(queues=queues), by_name=by_name)
    assert attached.changed and (attached.device, attached.netdev) == (f"vif-{ID}", f"host-{ID}")
    assert links()[TAP].carrier
    assert world.ports() == {ID}
    shown = network(qmp)
    assert shown.count(f"ifname={TAP},script=no" if by_name else "fd=") == queues
    assert f"macaddr={binding()['address']}" in shown


def test_attached_again_nothing_is_done(world: World, host: Host, qmp: Qmp) -> None:
    attach(host, qmp, binding())
    before = network(qmp)
    assert not attach(host, qmp, binding()).changed
    assert network(qmp) == before and world.asked() == ["plug"]


def test_options_reach_the_device_as_what_they_are(host: Host, qmp: Qmp) -> None:
    attach(host, qmp, binding(mtu=1450, alias="ua-uplink", driver={"packed": True, "rx_queue_size": 512}))
    for name, value in (("host_mtu", 1450), ("rx_queue_size", 512), ("packed", True)):
        path = "/machine/peripheral/ua-uplink"
        assert qmp.execute("qom-get", {"path": path, "property": name}) == value


def test_a_user_network_needs_no_tap(world: World, host: Host, qmp: Qmp) -> None:
    attach(host, qmp, binding(vif_type="user"))
    assert f"host-{ID}: index=0,type=user" in network(qmp)
    assert world.ports() == {ID} and links() == {}


def test_where_no_switch_comes_qemu_is_not_made_to_wait_for_it(
    world: World, host: Host, qmp: Qmp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU, guest and all, would stand still until it did."""
    monkeypatch.setattr(hotplug, "SWITCH", 0.2)
    path = tmp_path / "vhu"
    with pytest.raises(QemuRefused, match=f"no switch has come to {path} within 0.2 s"):
        attach(host, qmp, binding(vif_type="vhostuser", vif_details={"path": str(path), "mode": "server"}))
    assert f"chr-{ID}" not in str(qmp.execute("query-chardev"))
    assert host.list() == [] and world.ports() == set()


def test_when_qemu_refuses_everything_is_taken_back(world: World, host: Host, qmp: Qmp) -> None:
    before = network(qmp)
    with pytest.raises(QemuRefused, match="QEMU would not do device_add: Bus 'nowhere' not found"):
        attach(host, qmp, binding(queues=2), bus="nowhere")
    assert network(qmp) == before
    assert world.asked() == ["plug", "unplug"] and host.list() == [] and links() == {}
    attach(host, qmp, binding(queues=2))  # no name of a descriptor is in the way


def test_what_was_plugged_before_qemu_refused_stays_so(world: World, host: Host, qmp: Qmp) -> None:
    host.plug(binding())
    with pytest.raises(QemuRefused):
        attach(host, qmp, binding(), bus="nowhere")
    assert world.ports() == {ID}


def test_a_qemu_that_ends_in_the_middle_leaves_the_vif_plugged_and_says_so(
    world: World, host: Host, still: Machine, qmp: Qmp
) -> None:
    world.on("plug", do=f"kill -9 {still.pid}; sleep 0.1")
    with pytest.raises(QemuUnreachable, match=f"VIF {ID} stays plugged, since the guest may have it"):
        attach(host, qmp, binding())
    assert world.ports() == {ID}


# --- detach --------------------------------------------------------------------------------------


def test_a_guest_that_does_not_answer_keeps_its_vif_plugged(world: World, host: Host, qmp: Qmp) -> None:
    attach(host, qmp, binding())
    before = network(qmp)
    for _ in range(2):  # asked again while QEMU still asks the guest
        with pytest.raises(GuestHolds, match=r"has not let go of it within 0.2 s; it may be booting"):
            detach(host, qmp, ID, patience=0.2)
    qmp.execute("stop")
    with pytest.raises(GuestHolds, match="it is paused, and does not answer before it runs"):
        detach(host, qmp, ID, patience=0.1)
    assert network(qmp) == before and links()[TAP].carrier and world.ports() == {ID}
    forced = detach(host, qmp, ID, patience=0.1, force=True)
    assert forced.forced and forced.unplugged
    assert TAP not in network(qmp) and links() == {} and world.ports() == set()


def test_what_is_not_plugged_is_not_detached(host: Host, qmp: Qmp) -> None:
    with pytest.raises(NotPlugged):
        detach(host, qmp, ID)


@pytest.mark.real_root
def test_a_guest_pings_through_what_it_was_given_and_lets_go_of_it(
    world: World, host: Host, folder: Path
) -> None:
    # QEMU has no privilege at all, and never opens a tap
    with Machine(folder, boots=True, uid=NOBODY) as machine, Qmp(machine.socket) as qmp:
        with pytest.raises(QemuRefused, match="Operation not permitted|Permission denied"):
            attach(host, qmp, binding(1), by_name=True)
        machine.wait_said("guest: up")
        attach(host, qmp, binding(1, mtu=1450, queues=2))
        machine.wait_said("10.9.0.1 mtu 1450")
        until(lambda: pings("10.9.0.1"))
        detached = detach(host, qmp, binding(1)["id"])
        assert detached.unplugged and not detached.forced
        machine.wait_said("eth0 is gone")
        assert "tap" not in network(qmp)
    assert list(links()) == ["br-guests"] and host.list() == []


@pytest.mark.real_root
def test_a_new_guest_inherits_its_taps(host: Host, folder: Path) -> None:
    vif = host.plug(binding(1)).vif
    with ExitStack() as stack:
        with opened_tap(vif) as fds:  # for as long as QEMU takes to start
            arguments = qemu_arguments(vif, fds=fds)
            machine = stack.enter_context(Machine(folder, *arguments, boots=True, uid=NOBODY, fds=fds))
        machine.wait_said("10.9.0.1")
        until(lambda: pings("10.9.0.1"))


# --- who opens the tap ---------------------------------------------------------------------------


@pytest.mark.real_root
def test_a_taps_owner_opens_it_and_nobody_else(world: World) -> None:
    own = world.folder / "tun"
    os.mknod(own, stat.S_IFCHR | 0o666, os.makedev(10, 200))
    own.chmod(0o666)  # as udev does it

    def become(uid: int) -> None:
        assert ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", own, "/dev/net/tun"], check=True)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    def open_and_close(vif: Any) -> str:
        try:
            for fd in open_tap(vif):
                os.close(fd)
        except NoPermission as error:
            return error.message
        return "opened"

    device = structs.replace(world.config.device, owner=str(NOBODY))
    with Host(structs.replace(world.config, device=device)) as host:
        vif = host.plug(binding()).vif
    assert in_child(lambda: become(NOBODY), lambda: open_and_close(vif)) == "opened"
    assert "is not this user's" in in_child(lambda: become(1234), lambda: open_and_close(vif))


def test_what_cannot_be_opened_is_told(host: Host) -> None:
    vif = host.plug(binding(queues=2)).vif
    with opened_tap(vif) as fds:
        assert len(fds) == 2
    with pytest.raises(DeviceFailed, match="was not made for as many queues"):
        open_tap(structs.replace(vif, queues=1))
    single = host.plug(binding(1)).vif
    with opened_tap(single), pytest.raises(VifInUse, match="is open already: a guest has it"):
        open_tap(single)
    host.unplug(single.id)
    with pytest.raises(
        DeviceFailed, match=f"there is no device {single.devname} .*: plug VIF {single.id} first"
    ):
        open_tap(single)
    subprocess.run(["ip", "link", "add", single.devname, "type", "veth"], check=True)
    with pytest.raises(DeviceFailed, match="is a veth device, not a tap"):
        open_tap(single)


# --- the commands --------------------------------------------------------------------------------


def test_the_commands_do_so_too(
    world: World, still: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vifplug = Shell(world, capsys, monkeypatch)
    file = vifplug.file(binding())
    assert vifplug("attach", "--qmp", still.socket, file).out == f"{ID} attached to QEMU as vif-{ID}\n"
    assert vifplug("attach", "--qmp", still.socket, file).out.endswith("just so; nothing to do\n")
    ended = vifplug("detach", "--qmp", still.socket, "4c1b1b0a", "--wait", "0.1")
    assert ended.status == 75 and "--force" in ended.err
    ended = vifplug("detach", "--qmp", still.socket, ID, "--wait", "0.1", "--force")
    assert ended.status == 0 and "detached from QEMU" in ended.out
    assert links() == {}
    assert vifplug("attach", "--qmp", still.socket, file, "more").status == 64
    assert vifplug("attach", "--qmp", "/run/nobody", file).status == 69
    assert vifplug("attach", file, "--by-name").status == 64
    assert vifplug("list").err == "no VIF is on record\n"
