"""A plugged VIF's tap, opened for a QEMU that may not open it: its descriptors are handed over.

Who opens a tap needs CAP_NET_ADMIN, or is its owner, or of its group (``device.owner``, ``device.group`` in the
configuration); who was given the descriptor needs nothing (Documentation/networking/tuntap.rst).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DeviceFailed, NoPermission, VifInUse, VifplugError
from ..host.netlink import Link, Netlink
from ..model import Vif

# linux/if_tun.h
_TUNSETIFF, _TUNGETIFF = 0x400454CA, 0x800454D2
_IFF_TAP, _IFF_MULTI_QUEUE, _IFF_PERSIST, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x100, 0x800, 0x1000, 0x4000
_IFREQ = struct.Struct("16sH22x")


@contextmanager
def opened_tap(vif: Vif) -> Iterator[list[int]]:
    """The descriptors of `open_tap`, closed at the end: QEMU has its own by then."""
    fds = open_tap(vif)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def open_tap(vif: Vif) -> list[int]:
    """Open each queue of an ethernet VIF's tap or macvtap; the descriptors, which the caller closes.

    A child does not inherit them unless it is told to (``subprocess.Popen(pass_fds=…)``). Raises DeviceFailed,
    NoPermission, and VifInUse when somebody has it open already.
    """
    with Netlink() as netlink:
        link = netlink.link(vif.devname)
    if link is None:
        raise DeviceFailed(
            f"there is no device {vif.devname} in this network namespace: plug VIF {vif.id} first",
            device=vif.devname,
        )
    if link.kind not in ("tun", "macvtap"):
        raise DeviceFailed(
            f"{vif.devname} is a {link.kind or 'physical'} device, not a tap, so there is nothing to open",
            device=vif.devname,
        )
    fds: list[int] = []
    try:
        for _ in range(vif.queues):
            fds.append(_open(link))
            _attach(fds[-1], link, vif)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def _open(link: Link) -> int:
    node = "/dev/net/tun" if link.kind == "tun" else f"/dev/tap{link.index}"
    try:
        return os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        mend = "give it mode 0666, as udev does" if link.kind == "tun" else "give it to this user"
        raise NoPermission(
            f"the tap {link.name}: {node} cannot be opened by this user: {mend}, or run as root",
            device=link.name,
        ) from error
    except OSError as error:
        raise DeviceFailed(
            f"the tap {link.name}: {node} cannot be opened: {error.strerror}", device=link.name
        ) from error


def _attach(fd: int, link: Link, vif: Vif) -> None:
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    if vif.queues > 1:
        flags |= _IFF_MULTI_QUEUE
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(link.name.encode(), flags))
        _, have = _IFREQ.unpack(fcntl.ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size)))
    except OSError as error:
        raise _refused(link.name, error) from error
    if link.kind == "tun" and not have & _IFF_PERSIST:  # TUNSETIFF makes what it does not find
        raise DeviceFailed(f"{link.name} was taken away just now", device=link.name)


def _refused(name: str, error: OSError) -> VifplugError:
    if error.errno == errno.EPERM:
        return NoPermission(
            f"the tap {name} is not this user's: run as root, or let device.owner or device.group in the configuration"
            " name the user or group that opens taps",
            device=name,
        )
    if error.errno == errno.EBUSY:
        return VifInUse(f"the tap {name} is open already: a guest has it", device=name)
    if error.errno == errno.EINVAL:
        return DeviceFailed(f"the tap {name} was not made for as many queues as its VIF has", device=name)
    return DeviceFailed(f"the kernel refused to open the tap {name}: {error.strerror}", device=name)
