"""The tap device, made with ioctls on /dev/net/tun (numbers: linux/if_tun.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from ..errors import DeviceFailed, DeviceTaken, KernelUnsupported, NoPermission
from .netlink import Link, Netlink, NetlinkError

_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER, _TUNSETGROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
_IFF_TAP, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x2, 0x100, 0x1000, 0x4000, 0x8000
_IFREQ = struct.Struct("16sH22x")


def make(
    netlink: Netlink,
    name: str,
    *,
    alias: str,
    address: str | None,
    mtu: int | None,
    multi_queue: bool,
    vnet_hdr: bool,
    owner: int | None,
    group: int | None,
) -> None:
    """Make a tap that outlives us, up, with its MAC and MTU, and marked with ``alias``.

    The kernel removes a tap that is not persistent when its maker dies, so it becomes persistent
    last, when it bears its mark: a crash at any point leaves either nothing or a device that says
    whose it is.
    """
    tun = _open()
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL
        flags |= _IFF_MULTI_QUEUE if multi_queue else 0
        flags |= _IFF_VNET_HDR if vnet_hdr else 0
        try:
            fcntl.ioctl(tun, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
        except OSError as error:
            raise _not_made(netlink, name, error) from error
        try:
            if owner is not None:
                fcntl.ioctl(tun, _TUNSETOWNER, owner)
            if group is not None:
                fcntl.ioctl(tun, _TUNSETGROUP, group)
            netlink.configure(name, address=address, mtu=mtu, alias=alias, up=True)
            fcntl.ioctl(tun, _TUNSETPERSIST, 1)
        except OSError as error:
            raise DeviceFailed(
                f"the kernel refused to set up the tap {name} (address {address}, mtu {mtu}): {error.strerror}",
                device=name,
            ) from error
    finally:
        os.close(tun)


def _open() -> int:
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise NoPermission(
                "/dev/net/tun cannot be opened: permission denied; run as root, or let this user open it"
            ) from error
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise KernelUnsupported(
                "this kernel has no tap devices (/dev/net/tun is missing): load the module with 'modprobe tun'"
            ) from error
        raise DeviceFailed(f"/dev/net/tun cannot be opened: {error.strerror}") from error


def _not_made(netlink: Netlink, name: str, error: OSError) -> DeviceFailed | DeviceTaken | NoPermission:
    if error.errno == errno.EPERM:
        return NoPermission(
            f"the tap {name} cannot be made: CAP_NET_ADMIN is missing; run as root", device=name
        )
    try:
        other = netlink.link(name)
    except NetlinkError:
        other = None
    if other is not None:
        return taken(other)
    return DeviceFailed(f"the kernel refused to make the tap {name}: {error.strerror}", device=name)


def taken(other: Link) -> DeviceTaken:
    """The error for a device name that somebody else's device has."""
    facts = [f"address {other.address}", f"alias {other.alias!r}" if other.alias else ""]
    tap = (
        f", or remove it with 'ip link delete {other.name}' if no guest needs it"
        if other.kind == "tun"
        else ""
    )
    return DeviceTaken(
        f"the device name {other.name} is taken: a {other.kind or 'physical'} device with that name is there"
        f" ({', '.join(filter(None, facts))}) and vifplug did not make it for this VIF; bind another devname{tap}",
        device=other.name,
    )
