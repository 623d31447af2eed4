"""The few rtnetlink messages that a plug needs: one socket, plain structs, nothing cached.

A socket costs 20 µs, so each use opens its own: it lives in the network namespace of the calling
thread and needs no lock. Numbers are those of linux/rtnetlink.h, linux/if_link.h and
linux/netlink.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Container, Iterator

from msgspec import Struct

_NLM_F_REQUEST, _NLM_F_MULTI, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x2, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

RTM_NEWLINK, RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_GETNEIGH, _NDA_LLADDR, _NUD_PERMANENT = 30, 2, 0x80  # linux/neighbour.h
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_CARRIER = 20, 26, 27, 33
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_TUN_MULTI_QUEUE, _IFLA_TUN_NUM_QUEUES, _IFLA_TUN_NUM_DISABLED_QUEUES = 7, 8, 9
_LINK = frozenset(
    {_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_CARRIER}
)
_TUN = frozenset({_IFLA_TUN_MULTI_QUEUE, _IFLA_TUN_NUM_QUEUES, _IFLA_TUN_NUM_DISABLED_QUEUES})
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_NDMSG = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
#: bytes that one read may bring: more than the kernel puts into one answer of a dump
RECEIVE = 1 << 18


class Link(Struct, frozen=True):
    """What the kernel says of one network device."""

    index: int
    name: str
    kind: str | None
    address: str | None
    mtu: int
    up: bool
    #: for a tap: whether a guest has it open
    carrier: bool
    #: index of the bridge (or other master) it is in
    master: int | None
    alias: str | None
    #: for a tap: 1, or what a guest has opened of one that was made for several, which is 2 at least
    queues: int = 1


class NetlinkError(OSError):
    """The kernel's refusal: ``errno`` and, where the kernel gave one, its own sentence."""


def _attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _attributes(data: bytes, at: int, wanted: Container[int]) -> dict[int, bytes]:
    """Those of the ``wanted`` kinds, from ``at`` on: a link has fifty, and ten thousand links are read at once."""
    found: dict[int, bytes] = {}
    end = len(data) - _ATTRIBUTE.size
    while at <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        kind &= 0x3FFF
        if kind in wanted:
            found[kind] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode() + b"\0")


class _Change(Struct, frozen=True):
    """One request that the kernel answers with an acknowledgement."""

    kind: int
    index: int
    flags: int
    mask: int
    attributes: bytes


class Netlink:
    """One rtnetlink socket, used within a ``with``."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    # --- questions ---------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """The device of this name, or None."""
        try:
            messages = list(self._ask(_RTM_GETLINK, 0, 0, _name(name)))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return parse_link(messages[0])

    def link_at(self, index: int) -> Link | None:
        """The device with this index, or None."""
        try:
            messages = list(self._ask(_RTM_GETLINK, 0, index, b""))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return parse_link(messages[0])

    def links(self) -> list[Link]:
        """Every device of this network namespace."""
        return [parse_link(message) for message in self._ask(_RTM_GETLINK, _NLM_F_DUMP, 0, b"")]

    def learnt(self) -> list[tuple[int, str]]:
        """What bridges have learnt of who is behind their ports: index of the port, MAC address."""
        found = []
        for message in self._ask(_RTM_GETNEIGH, _NLM_F_DUMP, 0, b"", family=socket.AF_BRIDGE):
            _, index, state, _, _ = _NDMSG.unpack_from(message)
            address = _attributes(message, _NDMSG.size, (_NDA_LLADDR,)).get(_NDA_LLADDR)
            if address is not None and not state & _NUD_PERMANENT:
                found.append((index, address.hex(":")))
        return found

    # --- changes -----------------------------------------------------------------------------

    def configure(self, name: str, *, address: str | None, mtu: int | None, alias: str, up: bool) -> None:
        """Set MAC, MTU and alias, keep IPv6 from giving the host an address on it, and bring it up.

        Two messages in one system call: the kernel handles a message's flags before its address
        family part, so "up" has to come second.
        """
        attributes = _name(name) + _attribute(_IFLA_IFALIAS, alias.encode())
        if address is not None:
            attributes += _attribute(_IFLA_ADDRESS, bytes.fromhex(address.replace(":", "")))
        if mtu is not None:
            attributes += _attribute(_IFLA_MTU, _U32.pack(mtu))
        no_ipv6_address = _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))
        family = _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET6, no_ipv6_address))
        flags = _IFF_UP if up else 0
        try:
            self._change(
                [
                    _Change(_RTM_SETLINK, 0, 0, 0, attributes + family),
                    _Change(_RTM_SETLINK, 0, flags, _IFF_UP, _name(name)),
                ]
            )
        except NetlinkError as error:
            if error.errno != errno.EAFNOSUPPORT:  # a kernel without IPv6 has nothing to keep away
                raise
            self._change([_Change(_RTM_SETLINK, 0, flags, _IFF_UP, attributes)])

    def set(
        self,
        name: str,
        *,
        address: str | None = None,
        mtu: int | None = None,
        up: bool | None = None,
        alias: str | None = None,
    ) -> None:
        """Change just what is given; an empty alias is none."""
        attributes = _name(name)
        if alias is not None:
            attributes += _attribute(_IFLA_IFALIAS, alias.encode())
        if address is not None:
            attributes += _attribute(_IFLA_ADDRESS, bytes.fromhex(address.replace(":", "")))
        if mtu is not None:
            attributes += _attribute(_IFLA_MTU, _U32.pack(mtu))
        flags, mask = (_IFF_UP if up else 0, _IFF_UP) if up is not None else (0, 0)
        self._change([_Change(_RTM_SETLINK, 0, flags, mask, attributes)])

    def rename(self, link: Link, name: str) -> None:
        """Give a device another name; one that is up is taken down for it where the kernel asks for that."""
        change = _Change(_RTM_SETLINK, link.index, 0, 0, _name(name))
        try:
            self._change([change])
        except NetlinkError as error:
            if error.errno != errno.EBUSY:  # kernels before 6.2
                raise
            self._change([_Change(_RTM_SETLINK, link.index, 0, _IFF_UP, b""), change])

    def delete(self, indexes: list[int]) -> None:
        """Delete these devices with one RTM_DELLINK.

        Removing a device makes the kernel wait about 20 ms for its readers, however many go in
        the same message; so several are put into a link group of their own, and the group goes.
        A device that is gone already is no error.
        """
        if len(indexes) > 1:
            group = _attribute(_IFLA_GROUP, _U32.pack(0x40000000 | int.from_bytes(os.urandom(4)) >> 2))
            moves = [_Change(_RTM_SETLINK, index, 0, 0, group) for index in indexes]
            for start in range(0, len(moves), 512):  # what a socket's receive buffer surely answers
                self._change(moves[start : start + 512], missing_is_fine=True)
            self._change([_Change(RTM_DELLINK, 0, 0, 0, group)], missing_is_fine=True)
        elif indexes:
            self._change([_Change(RTM_DELLINK, indexes[0], 0, 0, b"")], missing_is_fine=True)

    # --- the wire ----------------------------------------------------------------------------

    def _message(self, kind: int, flags: int, ifinfo: bytes, attributes: bytes) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(ifinfo) + len(attributes)
        return _HEADER.pack(length, kind, flags | _NLM_F_REQUEST, self._sequence, 0) + ifinfo + attributes

    def _ask(
        self, kind: int, flags: int, index: int, attributes: bytes, family: int = socket.AF_UNSPEC
    ) -> Iterator[bytes]:
        ifinfo = _IFINFO.pack(family, 0, index, 0, 0)
        self._socket.send(self._message(kind, flags, ifinfo, attributes))
        while True:
            for message, body, message_flags in self._receive():
                if message == _NLMSG_DONE:
                    return
                if message == _NLMSG_ERROR:
                    _raise(body, message_flags)
                    return
                yield body
                if not message_flags & _NLM_F_MULTI:
                    return

    def _change(self, changes: list[_Change], *, missing_is_fine: bool = False) -> None:
        self._socket.send(
            b"".join(
                self._message(
                    change.kind,
                    _NLM_F_ACK,
                    _IFINFO.pack(socket.AF_UNSPEC, 0, change.index, change.flags, change.mask),
                    change.attributes,
                )
                for change in changes
            )
        )
        answers, first_error = 0, None
        while answers < len(changes):
            for message, body, flags in self._receive():
                if message != _NLMSG_ERROR:
                    continue
                answers += 1
                try:
                    _raise(body, flags)
                except NetlinkError as error:
                    if not (missing_is_fine and error.errno == errno.ENODEV):
                        first_error = first_error or error
        if first_error:
            raise first_error

    def _receive(self) -> Iterator[tuple[int, bytes, int]]:
        return parse_messages(self._socket.recv(RECEIVE))


def parse_messages(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """The messages that came with one read: kind, body, flags."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length], flags
        at += (length + 3) & ~3


def _raise(body: bytes, flags: int) -> None:
    code = -struct.unpack_from("=i", body)[0]
    if code == 0:
        return
    text = os.strerror(code)
    if flags & _NLM_F_ACK_TLVS:
        with contextlib.suppress(struct.error):
            # with NETLINK_CAP_ACK the request's header alone comes back before the attributes
            start = (
                4 + _HEADER.size if flags & _NLM_F_CAPPED else 4 + ((_U32.unpack_from(body, 4)[0] + 3) & ~3)
            )
            for said in _attributes(body, start, (_NLMSGERR_ATTR_MSG,)).values():
                text = f"{text} ({_text(said)})"
    raise NetlinkError(code, text)


def link_index(body: bytes) -> int | None:
    """The index of that device; None where the message tells of it as a bridge's port alone."""
    family, _, index, _, _ = _IFINFO.unpack_from(body)
    return int(index) if family == socket.AF_UNSPEC else None


def parse_link(body: bytes) -> Link:
    """The device that a message of the kinds RTM_NEWLINK and RTM_DELLINK tells of."""
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = _attributes(body, _IFINFO.size, _LINK)
    info = _attributes(found.get(_IFLA_LINKINFO, b""), 0, (_IFLA_INFO_KIND, _IFLA_INFO_DATA))
    kind = _text(info[_IFLA_INFO_KIND]) if _IFLA_INFO_KIND in info else None
    return Link(
        index=index,
        name=_text(found[_IFLA_IFNAME]),
        kind=kind,
        address=found[_IFLA_ADDRESS].hex(":") if _IFLA_ADDRESS in found else None,
        mtu=_U32.unpack(found[_IFLA_MTU])[0],
        up=bool(flags & _IFF_UP),
        carrier=found.get(_IFLA_CARRIER, b"\0") == b"\1",
        master=_U32.unpack(found[_IFLA_MASTER])[0] if _IFLA_MASTER in found else None,
        alias=_text(found[_IFLA_IFALIAS]) if _IFLA_IFALIAS in found else None,
        queues=_queues(_attributes(info.get(_IFLA_INFO_DATA, b""), 0, _TUN)) if kind == "tun" else 1,
    )


def _queues(tun: dict[int, bytes]) -> int:
    if tun.get(_IFLA_TUN_MULTI_QUEUE, b"\0") == b"\0":
        return 1
    counts = (_IFLA_TUN_NUM_QUEUES, _IFLA_TUN_NUM_DISABLED_QUEUES)
    opened: int = sum(_U32.unpack(tun[kind])[0] for kind in counts if kind in tun)
    return max(2, opened)
