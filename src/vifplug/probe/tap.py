"""A tap that exists already, opened as a guest would open it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from ..errors import DeviceFailed, KernelUnsupported, NoPermission, VifInUse, VifplugError
from ..host.netlink import Netlink

# linux/if_tun.h
_TUNSETIFF, _TUNGETIFF = 0x400454CA, 0x800454D2
_TUNSETOFFLOAD, _TUNGETVNETHDRSZ = 0x400454D0, 0x800454D7
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_IFF_MULTI_QUEUE, _IFF_PERSIST = 0x0100, 0x0800
_REQUEST = struct.Struct("16sH22x")

_LONGEST_FRAME = 65536 + 64


class Tap:
    """One queue of a persistent tap, non-blocking; closing it gives the tap back to the guest.

    Raises DeviceFailed (no such device, not a tap, down), VifInUse (a guest holds it), NoPermission
    and KernelUnsupported.
    """

    def __init__(self, devname: str, *, vnet_hdr: bool = True) -> None:
        self.name = devname
        _check_ready(devname)
        self._fd = _open_device_node()
        try:
            _attach(self._fd, devname, _IFF_VNET_HDR if vnet_hdr else 0)
            # Have the kernel finish checksums and segments, which a guest's driver may have waived.
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, 0)
            self._header = bytes(_header_size(self._fd)) if vnet_hdr else b""
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def read(self) -> bytes | None:
        """The next frame, or None when there is none now. Raises DeviceFailed when the tap is gone."""
        try:
            return os.read(self._fd, _LONGEST_FRAME)[len(self._header) :]
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._lost(error) from error

    def write(self, frame: bytes) -> None:
        """Send a frame. Raises DeviceFailed when the tap is down or gone."""
        try:
            os.write(self._fd, self._header + frame)
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> VifplugError:
        if error.errno == errno.EIO:
            return _down(self.name)
        return DeviceFailed(
            f"{self.name} went away while it was open ({error.strerror})", device=self.name, errno=error.errno
        )


def _check_ready(devname: str) -> None:
    with Netlink() as netlink:
        link = netlink.link(devname)
    if link is None:
        raise _missing(devname)
    if link.kind != "tun":
        raise DeviceFailed(f"{devname} is a {link.kind or 'physical'} device, not a tap", device=devname)
    if not link.up:
        raise _down(devname)
    if link.carrier:  # a tap has carrier exactly while somebody has it open
        raise _held(devname)


def _open_device_node() -> int:
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError as error:
        raise NoPermission(
            "/dev/net/tun cannot be opened by this user: run as root, or give it mode 0666 as udev does"
        ) from error
    except OSError as error:
        raise KernelUnsupported(
            f"/dev/net/tun cannot be opened ({error.strerror}): no tap driver, or the node is missing"
        ) from error


def _attach(fd: int, devname: str, vnet_hdr: int) -> None:
    flags = _IFF_TAP | _IFF_NO_PI | vnet_hdr
    try:
        _set_interface(fd, devname, flags)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise _refused(devname, error) from error
        try:  # a tap made with several queues is opened with that flag only
            _set_interface(fd, devname, flags | _IFF_MULTI_QUEUE)
        except OSError as again:
            raise _refused(devname, again) from again
    _, have = _REQUEST.unpack(fcntl.ioctl(fd, _TUNGETIFF, bytes(_REQUEST.size)))
    if not have & _IFF_PERSIST:
        # TUNSETIFF makes what it does not find: the tap went between the look and the call, and
        # this one goes again when the descriptor is closed.
        raise _missing(devname)


def _set_interface(fd: int, devname: str, flags: int) -> None:
    fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(devname.encode(), flags))


def _header_size(fd: int) -> int:
    size: int = struct.unpack("i", fcntl.ioctl(fd, _TUNGETVNETHDRSZ, bytes(4)))[0]
    return size


def _refused(devname: str, error: OSError) -> VifplugError:
    if error.errno == errno.EBUSY:
        return _held(devname)
    if error.errno == errno.EPERM:
        return NoPermission(f"{devname} belongs to another user: run as root or as its owner", device=devname)
    return DeviceFailed(
        f"the kernel refused to open {devname}: {error.strerror}", device=devname, errno=error.errno
    )


def _missing(devname: str) -> DeviceFailed:
    return DeviceFailed(f"no such device: {devname} is not in this network namespace", device=devname)


def _down(devname: str) -> DeviceFailed:
    return DeviceFailed(f"{devname} is down: bring it up with 'ip link set {devname} up'", device=devname)


def _held(devname: str) -> VifInUse:
    return VifInUse(
        f"{devname} is held by a guest (EBUSY): ask from inside that guest, or stop it first", device=devname
    )
