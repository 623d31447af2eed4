"""Listening at devices for the few frames of a probe, with AF_PACKET sockets (packet(7))."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable

from ..errors import HostError, NoPermission

_ETH_P_ALL = 3
_SOL_PACKET, _ADD_MEMBERSHIP, _MR_PROMISC = 263, 1, 1
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_LONGEST = 2048
#: UDP ports of VXLAN (also the kernel's own, old one) and Geneve
_TUNNEL_PORTS = (4789, 8472, 6081)


class Watch:
    """Sockets at these devices of the calling thread's network namespace, from now until the end of the ``with``.

    ``entrance``: the guest's device, where only what comes from the guest counts as on its way out, and what goes
    to it as on its way back. Raises NoPermission for who may not listen.
    """

    def __init__(self, devices: Iterable[str], entrance: str, ports: Iterable[int] = ()) -> None:
        self._entrance = entrance
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        #: bytes that frames on the way out, and answers on the way back, have in them
        self.out_marks: list[bytes] = []
        self.back_marks: list[bytes] = []
        self.out: Counter[str] = Counter()
        self.back: Counter[str] = Counter()
        #: by the outer address, frames on the way out that a tunnel has wrapped up
        self.towards: Counter[str] = Counter()
        #: and answers, by the outer address that they came from
        self.back_from: Counter[str] = Counter()
        #: where somebody listens, or has listened until the end
        self.listened: set[str] = set()
        self._poll = select.poll()
        try:
            for name in dict.fromkeys(devices):
                self._listen(name, tuple({*_TUNNEL_PORTS, *ports}))
        except BaseException:
            self.close()
            raise

    def _listen(self, name: str, ports: tuple[int, ...]) -> None:
        try:
            listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except PermissionError:
            raise NoPermission("frames can be watched by root alone (CAP_NET_RAW)") from None
        self._sockets[listener.fileno()] = (name, listener)
        try:
            _attach(listener, ports)
            listener.bind((name, _ETH_P_ALL))
            index = socket.if_nametoindex(name)
            # a bridge hands up what it only passes on, while it listens to all
            listener.setsockopt(
                _SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("=iHH8s", index, _MR_PROMISC, 0, b"")
            )
            with contextlib.suppress(
                PermissionError
            ):  # a user with CAP_NET_RAW alone keeps the smaller buffer
                listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
        except OSError as error:
            if error.errno in (
                errno.ENODEV,
                errno.ENXIO,
                errno.ENETDOWN,
            ):  # it went away; so nothing is seen there
                del self._sockets[listener.fileno()]
                listener.close()
                return
            raise HostError(f"{name} cannot be listened at: {error.strerror}") from error
        self._poll.register(listener, select.POLLIN)
        self.listened.add(name)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for _, listener in self._sockets.values():
            listener.close()
        self._sockets = {}

    def send(self, frame: bytes) -> None:
        """Put a frame into the guest's device, as if its network had sent it. Raises OSError."""
        for name, listener in self._sockets.values():
            if name == self._entrance:
                listener.send(frame)

    def hear(self, seconds: float = 0.0) -> None:
        """Count what comes within so many seconds, or what has come already."""
        until = time.monotonic() + seconds
        while True:
            ready = self._poll.poll(max(0.0, until - time.monotonic()) * 1000)
            for fd, event in ready:
                if event & (select.POLLERR | select.POLLNVAL | select.POLLHUP) and not event & select.POLLIN:
                    self._poll.unregister(fd)  # its device is gone
                else:
                    self._drain(*self._sockets[fd])
            if time.monotonic() >= until and not ready:
                return

    def _drain(self, name: str, listener: socket.socket) -> None:
        while True:
            try:
                data, (_, _, direction, *_) = listener.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError as error:  # ENETDOWN: it was taken down while we listened
                if error.errno == errno.ENETDOWN:
                    continue
                raise
            to_guest = name == self._entrance and direction == _PACKET_OUTGOING
            from_guest = name == self._entrance and direction != _PACKET_OUTGOING
            if not to_guest and (mark := next((one for one in self.out_marks if one in data), None)):
                self.out[name] += 1
                if (outer := _wrapped(data, data.index(mark))) is not None:
                    self.towards[outer[1]] += 1
            elif not from_guest and (mark := next((one for one in self.back_marks if one in data), None)):
                self.back[name] += 1
                if (outer := _wrapped(data, data.index(mark))) is not None:
                    self.back_from[outer[0]] += 1


def _wrapped(frame: bytes, at: int) -> tuple[str, str] | None:
    """From where to where a tunnel carries a frame whose mark is at this place; None for one that is as it was."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and at >= 14 + 20 + 8 + 14:
        return str(ipaddress.IPv4Address(frame[26:30])), str(ipaddress.IPv4Address(frame[30:34]))
    if kind == b"\x86\xdd" and at >= 14 + 40 + 8 + 14:
        return str(ipaddress.IPv6Address(frame[22:38])), str(ipaddress.IPv6Address(frame[38:54]))
    return None


# --- what the kernel leaves out for us: a busy uplink has more than Python can read ------------------

_LDH, _LDB, _JEQ, _RET, _LDXB, _LDHX = 0x28, 0x30, 0x15, 0x06, 0xB1, 0x48  # linux/bpf_common.h


def program(ports: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """A classic BPF program that lets ARP, ICMP, VLAN-tagged frames and tunnels pass: code, jt, jf, k of each step."""
    lines: list[tuple[int, str, int]] = [
        (_LDH, "", 12),
        *((_JEQ, "accept", kind) for kind in (0x0806, 0x8100, 0x88A8)),
        (_JEQ, "six", 0x86DD),
        (_JEQ, "four", 0x0800),
        (_RET, "", 0),
        (-1, "four", 0),
        (_LDB, "", 23),
        *((_JEQ, "accept", protocol) for protocol in (1, 47)),
        (_JEQ, "udp4", 17),
        (_RET, "", 0),
        (-1, "udp4", 0),
        (_LDXB, "", 14),  # the length of the IP header
        (_LDHX, "", 16),
        *((_JEQ, "accept", port) for port in ports),
        (_RET, "", 0),
        (-1, "six", 0),
        (_LDB, "", 20),
        *((_JEQ, "accept", protocol) for protocol in (58, 47)),
        (_JEQ, "udp6", 17),
        (_RET, "", 0),
        (-1, "udp6", 0),
        (_LDH, "", 56),
        *((_JEQ, "accept", port) for port in ports),
        (_RET, "", 0),
        (-1, "accept", 0),
        (_RET, "", 0xFFFF),
    ]
    labels: dict[str, int] = {}
    steps: list[tuple[int, str, int]] = []
    for code, label, value in lines:
        if code < 0:
            labels[label] = len(steps)
        else:
            steps.append((code, label, value))
    return [
        (code, labels[label] - place - 1 if label else 0, 0, value)
        for place, (code, label, value) in enumerate(steps)
    ]


def _attach(listener: socket.socket, ports: tuple[int, ...]) -> None:
    steps = program(ports)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = struct.pack("@HP", len(steps), ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
