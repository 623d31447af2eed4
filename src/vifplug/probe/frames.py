"""Ethernet frames, built and read: what a guest needs to ask its network a few questions.

ARP (RFC 826), IPv4 (RFC 791), ICMP echo (RFC 792), UDP (RFC 768) and DHCP (RFC 2131, 2132). Readers
take any bytes and never raise: what is too short or of another kind is None.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

BROADCAST = "ff:ff:ff:ff:ff:ff"
NO_MAC = "00:00:00:00:00:00"
NO_ADDRESS = "0.0.0.0"  # noqa: S104  # an address field left open, nothing is bound to it

IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
ARP_REQUEST, ARP_REPLY = 1, 2
ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, ECHO_REQUEST = 0, 8

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_OVER_ETHERNET = (1, IPV4, 6, 4)
_IP = struct.Struct("!BBHHHBBH4s4s")
_ECHO = struct.Struct("!BBHHH")
_UDP = struct.Struct("!HHHH")
_DHCP = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_DHCP_COOKIE = b"\x63\x82\x53\x63"
_SMALLEST_FRAME = 60


@dataclass(frozen=True, slots=True)
class Ethernet:
    destination: str
    source: str
    #: the EtherType, or the length of an old 802.3 frame
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Arp:
    operation: int
    sender_mac: str
    sender: str
    target_mac: str
    target: str


@dataclass(frozen=True, slots=True)
class IPv4:
    source: str
    destination: str
    protocol: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Echo:
    """An ICMP echo request or reply."""

    kind: int
    ident: int
    sequence: int
    data: bytes
    #: False where the network spoilt it: a guest's kernel drops such a packet
    checksum_ok: bool = True


@dataclass(frozen=True, slots=True)
class Udp:
    source_port: int
    destination_port: int
    payload: bytes
    checksum_ok: bool = True


@dataclass(frozen=True, slots=True)
class Dhcp:
    """One DHCP message; ``options`` maps an option's number to its bytes."""

    is_reply: bool
    transaction: int
    client_mac: str
    #: what the client has (ciaddr) and what the server gives (yiaddr)
    client: str
    offered: str
    options: dict[int, bytes]


def build_ethernet(frame: Ethernet) -> bytes:
    """The frame as a tap carries it: without checksum, padded to the shortest that Ethernet has."""
    head = _ETHERNET.pack(_mac(frame.destination), _mac(frame.source), frame.kind)
    return (head + frame.payload).ljust(_SMALLEST_FRAME, b"\0")


def read_ethernet(data: bytes) -> Ethernet | None:
    if len(data) < _ETHERNET.size:
        return None
    destination, source, kind = _ETHERNET.unpack_from(data)
    return Ethernet(destination.hex(":"), source.hex(":"), kind, data[_ETHERNET.size :])


def build_arp(arp: Arp) -> bytes:
    return _ARP.pack(
        *_ARP_OVER_ETHERNET,
        arp.operation,
        _mac(arp.sender_mac),
        socket.inet_aton(arp.sender),
        _mac(arp.target_mac),
        socket.inet_aton(arp.target),
    )


def read_arp(data: bytes) -> Arp | None:
    if len(data) < _ARP.size:
        return None
    *header, operation, sender_mac, sender, target_mac, target = _ARP.unpack_from(data)
    if tuple(header) != _ARP_OVER_ETHERNET:
        return None
    return Arp(operation, sender_mac.hex(":"), _ip(sender), target_mac.hex(":"), _ip(target))


def build_ipv4(packet: IPv4) -> bytes:
    fields = (0x45, 0, _IP.size + len(packet.payload), 0, 0x4000, 64, packet.protocol)
    addresses = socket.inet_aton(packet.source), socket.inet_aton(packet.destination)
    total = checksum(_IP.pack(*fields, 0, *addresses))
    return _IP.pack(*fields, total, *addresses) + packet.payload


def read_ipv4(data: bytes) -> IPv4 | None:
    """The packet; None also for a fragment other than the first, and for a header gone wrong."""
    if len(data) < _IP.size:
        return None
    version, _, length, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(data)
    header = (version & 0xF) * 4
    if version >> 4 != 4 or header < _IP.size or not header <= length <= len(data) or fragment & 0x1FFF:
        return None
    if checksum(data[:header]) != 0:
        return None
    return IPv4(_ip(source), _ip(destination), protocol, data[header:length])


def build_echo(echo: Echo) -> bytes:
    total = checksum(_ECHO.pack(echo.kind, 0, 0, echo.ident, echo.sequence) + echo.data)
    return _ECHO.pack(echo.kind, 0, total, echo.ident, echo.sequence) + echo.data


def read_echo(data: bytes) -> Echo | None:
    if len(data) < _ECHO.size:
        return None
    kind, code, _, ident, sequence = _ECHO.unpack_from(data)
    if kind not in (ECHO_REPLY, ECHO_REQUEST) or code != 0:
        return None
    return Echo(kind, ident, sequence, data[_ECHO.size :], checksum(data) == 0)


def build_udp(udp: Udp, source: str, destination: str) -> bytes:
    """The datagram; its checksum covers the two IPv4 addresses as well."""
    length = _UDP.size + len(udp.payload)
    head = _UDP.pack(udp.source_port, udp.destination_port, length, 0)
    total = checksum(_pseudo_header(source, destination, length) + head + udp.payload) or 0xFFFF
    return _UDP.pack(udp.source_port, udp.destination_port, length, total) + udp.payload


def read_udp(packet: IPv4) -> Udp | None:
    data = packet.payload
    if packet.protocol != UDP or len(data) < _UDP.size:
        return None
    source_port, destination_port, length, total = _UDP.unpack_from(data)
    if not _UDP.size <= length <= len(data):
        return None
    data = data[:length]
    pseudo = _pseudo_header(packet.source, packet.destination, length)
    return Udp(source_port, destination_port, data[_UDP.size :], total == 0 or checksum(pseudo + data) == 0)


def build_dhcp(message: Dhcp) -> bytes:
    options = b"".join(bytes([number, len(value)]) + value for number, value in message.options.items())
    return (
        _DHCP.pack(
            2 if message.is_reply else 1,
            1,  # Ethernet
            6,  # bytes of a MAC address
            0,
            message.transaction,
            0,
            0,  # no broadcast flag: a tap takes frames for its own MAC before it has an address
            socket.inet_aton(message.client),
            socket.inet_aton(message.offered),
            bytes(4),
            bytes(4),
            _mac(message.client_mac),
            b"",
            b"",
            _DHCP_COOKIE,
        )
        + options
        + b"\xff"
    )


def read_dhcp(data: bytes) -> Dhcp | None:
    if len(data) < _DHCP.size:
        return None
    operation, _, _, _, transaction, _, _, client, offered, _, _, mac, _, _, cookie = _DHCP.unpack_from(data)
    if operation not in (1, 2) or cookie != _DHCP_COOKIE:
        return None
    options = _dhcp_options(data[_DHCP.size :])
    return Dhcp(operation == 2, transaction, mac[:6].hex(":"), _ip(client), _ip(offered), options)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that carries its own right checksum."""
    if len(data) % 2:
        data += b"\0"
    # 2^16 = 1 modulo 2^16 - 1: the one's complement sum is the remainder of the whole number
    total = int.from_bytes(data, "big") % 0xFFFF
    if total == 0 and any(data):
        total = 0xFFFF
    return ~total & 0xFFFF


def describe(data: bytes) -> str:
    """What a frame is, in the few words that a count of frames needs."""
    frame = read_ethernet(data)
    if frame is None:
        return "runt"
    if frame.destination == "01:80:c2:00:00:00":
        return "spanning tree frame"
    if frame.kind == VLAN:
        return f"frame with VLAN tag {int.from_bytes(frame.payload[:2]) & 0xFFF}"
    of_kind = {ARP: _describe_arp, IPV4: _describe_ipv4, IPV6: _describe_ipv6}.get(frame.kind)
    return of_kind(frame.payload) if of_kind else f"frame of type 0x{frame.kind:04x}"


def _describe_arp(data: bytes) -> str:
    arp = read_arp(data)
    return {ARP_REQUEST: "ARP request", ARP_REPLY: "ARP reply"}.get(arp.operation if arp else 0, "odd ARP")


def _describe_ipv4(data: bytes) -> str:
    packet = read_ipv4(data)
    if packet is None:
        return "odd IPv4 packet"
    if packet.protocol == ICMP:
        echo = read_echo(packet.payload)
        if echo is None:
            return _UNREACHABLE if packet.payload[:1] == b"\x03" else "other ICMP message"
        return "ping" if echo.kind == ECHO_REQUEST else "ping reply"
    udp = read_udp(packet)
    if udp is not None and {udp.source_port, udp.destination_port} <= {67, 68}:
        return "DHCP message"
    if packet.protocol in (TCP, UDP):
        return "TCP segment" if packet.protocol == TCP else "UDP datagram"
    return f"IPv4 packet of protocol {packet.protocol}"


_UNREACHABLE = "ICMP 'destination unreachable'"
_ICMPV6 = {
    128: "IPv6 ping",
    130: "IPv6 multicast listener query",
    131: "IPv6 multicast listener report",
    133: "IPv6 router solicitation",
    134: "IPv6 router advertisement",
    135: "IPv6 neighbour solicitation",
    136: "IPv6 neighbour advertisement",
    143: "IPv6 multicast listener report",
}


def _describe_ipv6(data: bytes) -> str:
    if len(data) < 41:
        return "IPv6 packet"
    following, at = data[6], 40
    if following == 0 and len(data) > at + 8:  # hop-by-hop options come before a listener report
        following, at = data[at], at + 8 + data[at + 1] * 8
    if following == 58 and len(data) > at:
        return _ICMPV6.get(data[at], "other ICMPv6 message")
    return "IPv6 packet"


def _dhcp_options(data: bytes) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != 0xFF:
        if data[at] == 0:
            at += 1
            continue
        if at + 2 > len(data):
            break
        length = data[at + 1]
        # an option that comes twice is one long one (RFC 3396)
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : at + 2 + length]
        at += 2 + length
    return options


def _pseudo_header(source: str, destination: str, length: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, UDP, length)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ip(data: bytes) -> str:
    return socket.inet_ntoa(data)
