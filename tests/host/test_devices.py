"""Taps on the real kernel, in a network namespace of each test's own."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vifplug.config import Device
from vifplug.errors import ConfigError, DeviceFailed, DeviceTaken, KernelUnsupported, NoPermission
from vifplug.host import tap
from vifplug.host.devices import Devices
from vifplug.host.netlink import Netlink
from vifplug.model.vif import Bridge, Direct, Ethernet, Vif

pytestmark = pytest.mark.usefixtures("netns")

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"


def vif(number: int = 1, **fields: object) -> Vif:
    values: dict[str, object] = {
        "id": f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01",
        "shape": Ethernet(),
        "devname": f"tap{number}",
        "address": f"fa:16:3e:00:00:{number % 256:02x}",
        **fields,
    }
    return Vif(**values)  # type: ignore[arg-type]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def names() -> set[str]:
    with Netlink() as netlink:
        return {link.name for link in netlink.links()} - {"lo"}


def test_a_tap_is_made_up_marked_and_with_its_mac_and_mtu() -> None:
    devices = Devices(Device(), "0badcafe")
    assert devices.ensure(vif(mtu=1400))
    with Netlink() as netlink:
        link = netlink.link("tap1")
    assert link is not None
    assert (link.kind, link.address, link.mtu, link.up) == ("tun", "fe:16:3e:00:00:01", 1400, True)
    assert link.alias == f"vifplug:0badcafe:{vif().id}"
    assert "inet6" not in ip("address", "show", "dev", "tap1")
    details = ip("-d", "link", "show", "tap1")
    assert "tun type tap" in details
    assert "vnet_hdr on" in details
    assert "persist on" in details
    assert devices.drift(vif(mtu=1400), None) == []


def test_making_it_again_keeps_it_and_mends_it() -> None:
    devices = Devices(Device(), "ledger")
    devices.ensure(vif(mtu=1400))
    with Netlink() as netlink:
        before = netlink.link("tap1")
        netlink.set("tap1", mtu=1300, up=False, address="02:00:00:00:00:09")
        assert {drift.what for drift in devices.drift(vif(mtu=1400), None)} == {
            "device up", "device address", "device mtu",
        }  # fmt: skip
        assert not devices.ensure(vif(mtu=1400))
        assert netlink.link("tap1") == before


def test_a_name_that_somebody_else_has_is_an_error_and_untouched() -> None:
    ip("link", "add", "tap1", "address", "02:00:00:00:00:07", "type", "bridge")
    before = ip("-d", "link", "show", "tap1")
    with pytest.raises(DeviceTaken, match="tap1 is taken: a bridge device .*02:00:00:00:00:07"):
        Devices(Device(), "ledger").ensure(vif())
    assert ip("-d", "link", "show", "tap1") == before


def test_somebody_elses_tap_is_not_shared_either() -> None:
    ip("tuntap", "add", "tap1", "mode", "tap")
    with pytest.raises(DeviceTaken, match="tap1 is taken: a tun device"):
        Devices(Device(), "ledger").ensure(vif())
    assert names() == {"tap1"}
    assert not Devices(Device(), "ledger").remove(vif())
    assert names() == {"tap1"}


def test_another_ledgers_tap_is_somebody_elses() -> None:
    Devices(Device(), "one").ensure(vif())
    with pytest.raises(DeviceTaken):
        Devices(Device(), "two").ensure(vif())
    assert not Devices(Device(), "two").remove(vif())
    assert Devices(Device(), "two").orphans(set()) == []
    assert [link.name for link in Devices(Device(), "one").orphans(set())] == ["tap1"]
    assert Devices(Device(), "one").orphans({vif().id}) == []


@pytest.mark.parametrize("queues", [1, 4])
def test_a_guest_can_open_it_with_the_queues_that_were_asked_for(queues: int) -> None:
    devices = Devices(Device(), "ledger")
    devices.ensure(vif(queues=queues))
    assert not devices.held_by_guest(vif())
    flags = 0x2 | 0x1000 | 0x4000 | (0x100 if queues > 1 else 0)
    guests = []
    for _ in range(queues):
        guest = os.open("/dev/net/tun", os.O_RDWR)
        import fcntl

        fcntl.ioctl(guest, 0x400454CA, struct.pack("16sH22x", b"tap1", flags))
        guests.append(guest)
    assert devices.held_by_guest(vif())
    for guest in guests:
        os.close(guest)


@pytest.mark.real_root
def test_owner_and_group_are_set_by_name_or_number() -> None:
    Devices(Device(owner="nobody", group="12345"), "ledger").ensure(vif())
    details = ip("-d", "link", "show", "tap1")
    assert "user nobody" in details
    assert "group 12345" in details


def test_an_unknown_owner_is_said() -> None:
    with pytest.raises(ConfigError, match="no such user: 'nosuchuser'"):
        Devices(Device(owner="nosuchuser"), "ledger")


def test_many_are_removed_side_by_side_in_few_rounds() -> None:
    devices = Devices(Device(), "ledger")
    vifs = [vif(number) for number in range(1, 65)]
    for one in vifs:
        devices.ensure(one)
    ip("link", "add", "other", "type", "bridge")
    rounds: list[int] = []
    remove_all = devices._removals._work

    def counted(items: list[str]) -> list[bool | BaseException]:
        rounds.append(len(items))
        return remove_all(items)

    devices._removals._work = counted
    threads = [threading.Thread(target=devices.remove, args=(one,)) for one in vifs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names() == {"other"}
    assert sum(rounds) == 64
    assert len(rounds) < 32


def test_removing_what_is_gone_says_so() -> None:
    assert not Devices(Device(), "ledger").remove(vif())


def test_a_maker_killed_before_the_end_leaves_nothing(tmp_path: Path) -> None:
    """Until the tap bears its mark, it goes with its maker."""
    code = f"""
import os, signal
from vifplug.host import tap
from vifplug.host.netlink import Netlink
class Killed(Netlink):
    def configure(self, *args, **kwargs):
        super().configure(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
tap.make(Killed(), "tap1", alias="{tmp_path}", address=None, mtu=None, multi_queue=False, vnet_hdr=True, owner=None,
         group=None)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names() == set()


def test_what_the_kernel_refuses_is_said_and_leaves_nothing() -> None:
    with pytest.raises(DeviceFailed, match="address 01:16:3e:00:00:01|mtu"), Netlink() as netlink:
        tap.make(
            netlink, "tap1", alias="x", address="01:16:3e:00:00:01", mtu=1500, multi_queue=False,
            vnet_hdr=True, owner=None, group=None,
        )  # fmt: skip
    assert names() == set()


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.EACCES, NoPermission, "permission denied"),
        (errno.ENOENT, KernelUnsupported, "modprobe tun"),
        (errno.ENODEV, KernelUnsupported, "modprobe tun"),
    ],
)
def test_a_host_without_taps_is_said_simulated_by_the_open_call(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], words: str
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tap.os, "open", refuse)  # type: ignore[attr-defined]
    with pytest.raises(error, match=words):
        Devices(Device(), "ledger").ensure(vif())


def test_without_the_capability_it_says_which() -> None:
    code = """
import ctypes, sys
libc = ctypes.CDLL(None)
class Header(ctypes.Structure): _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
assert libc.capset(ctypes.byref(Header(0x20080522, 0)), (ctypes.c_uint32 * 6)()) == 0
from vifplug.host.devices import Devices
from vifplug.config import Device
from vifplug.errors import NoPermission
from vifplug.model.vif import Bridge, Direct, Ethernet, Vif
try:
    Devices(Device(), "x").ensure(Vif(id="4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01", shape=Ethernet(), devname="tap1"))
except NoPermission as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "CAP_NET_ADMIN is missing" in done.stdout


class Meddler(threading.Thread):
    """Does what udev or a network manager does: hears of a new device and gives it another MAC."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.socket.bind((0, 1))  # RTMGRP_LINK
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            if select.select([self.socket], [], [], 5)[0] and b"vifplug:" in self.socket.recv(1 << 16):
                with Netlink() as netlink:
                    netlink.set("tap1", address="02:bb:bb:bb:bb:bb", mtu=1280)
                self.done.set()


def test_what_somebody_changed_on_the_new_device_is_set_back_before_the_plug_is_done() -> None:
    devices, meddler = Devices(Device(), "ledger"), Meddler()
    meddler.start()
    devices.ensure(vif(mtu=1400))
    meddler.join(10)
    meddler.socket.close()
    assert devices.settle(vif(mtu=1400)) is None
    assert devices.drift(vif(mtu=1400), None) == []


def test_a_bridge_that_is_gone_is_drift() -> None:
    devices, joined = Devices(Device(), "ledger"), vif(plug_script="s")
    ip("link", "add", "br0", "type", "bridge")
    devices.ensure(joined)
    ip("link", "set", "tap1", "master", "br0")
    assert devices.settle(joined) == "br0"
    ip("link", "delete", "br0")
    assert [(d.what, d.expected, d.found) for d in devices.drift(joined, "br0")] == [
        ("device master", "br0", None)
    ]


def test_who_joined_a_tap_without_a_script_may_move_it() -> None:
    devices = Devices(Device(), "ledger")
    devices.ensure(vif())
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "tap1", "master", "br0")
    assert devices.settle(vif()) is None
    assert devices.drift(vif(), None) == []
    assert devices.drift(vif(), "what an older vifplug recorded") == []


@pytest.mark.parametrize("shape", [Bridge(bridge="br0"), Direct(source_dev="br0")])
def test_what_libvirt_makes_a_device_on_is_drift_once_it_is_gone(shape: Bridge | Direct) -> None:
    devices, later = Devices(Device(), "ledger"), vif(shape=shape)
    assert devices.settle(later) is None
    assert devices.drift(later, None) == []
    ip("link", "add", "br0", "type", "bridge")
    assert devices.settle(later) == "br0"
    assert devices.drift(later, "br0") == []
    ip("link", "delete", "br0")
    assert [(d.what, d.expected, d.found) for d in devices.drift(later, "br0")] == [
        (f"{later.type.value} device", "br0", None)
    ]


@pytest.mark.parametrize("up", ["up", "down"])
def test_a_tap_that_somebody_renamed_gets_its_name_back_and_no_second_one_is_made(up: str) -> None:
    devices = Devices(Device(), "ledger")
    devices.ensure(vif())
    ip("link", "set", "tap1", "down")
    ip("link", "set", "tap1", "name", "renamed0")
    ip("link", "set", "renamed0", up)
    devices.take_back(vif())
    assert names() == {"tap1"}
    assert not devices.ensure(vif())
    assert devices.drift(vif(), None) == []
    devices.take_back(vif(2))  # what was never there is no error
    assert names() == {"tap1"}


def test_a_script_that_promised_a_device_and_made_none_is_found_out() -> None:
    script_made = vif(shape=Ethernet(made_by="script"), plug_script="s")
    with pytest.raises(DeviceFailed, match="no device tap1 .made_by is 'script'"):
        Devices(Device(), "ledger").settle(script_made)
    ip("tuntap", "add", "tap1", "mode", "tap")
    Devices(Device(), "ledger").settle(script_made)
    assert Devices(Device(), "ledger").drift(script_made, None) == []
