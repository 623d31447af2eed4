"""A DHCP client's four messages, and the fifth that gives the lease back (RFC 2131)."""

from __future__ import annotations

import ipaddress
import secrets
from typing import NamedTuple

from . import frames
from .frames import Dhcp, Ethernet, IPv4, Udp
from .guest import StandInGuest

_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK, _RELEASE = 1, 2, 3, 5, 6, 7
_MASK, _ROUTER, _WANTED_IP, _LEASE_SECONDS, _TYPE, _SERVER, _WISHES, _MESSAGE = 1, 3, 50, 51, 53, 54, 55, 56
_DNS, _MTU = 6, 26
_CLIENT_PORT, _SERVER_PORT = 68, 67
_TRIES = 3


class Lease(NamedTuple):
    #: "10.0.0.5/24"
    address: str
    server: str
    router: str | None
    #: seconds that the server gives it for
    duration: int | None
    server_mac: str
    #: seconds from the first question to the last answer
    seconds: float


class _Reply(NamedTuple):
    message: Dhcp
    server_mac: str
    checksum_ok: bool


class NoLease(Exception):
    """Why no lease came: a sentence."""


def lease(guest: StandInGuest, timeout: float) -> Lease:
    """Ask for an address as a booting guest does. Raises NoLease with what went wrong."""
    transaction = secrets.randbits(32)
    wishes = bytes([_MASK, _ROUTER, _DNS, _MTU, _LEASE_SECONDS])
    offer, first = _ask(guest, transaction, {_TYPE: bytes([_DISCOVER]), _WISHES: wishes}, timeout)
    _refuse_unless(offer, _OFFER, "offer")
    ip = offer.message.offered
    options = {
        _TYPE: bytes([_REQUEST]),
        _WANTED_IP: ipaddress.IPv4Address(ip).packed,
        _SERVER: offer.message.options.get(_SERVER, bytes(4)),
        _WISHES: wishes,
    }
    ack, second = _ask(guest, transaction, options, timeout)
    _refuse_unless(ack, _ACK, "acknowledgement")
    have = ack.message.options
    prefix = bin(int.from_bytes(have.get(_MASK, b"\xff" * 4))).count("1")
    return Lease(
        address=f"{ack.message.offered}/{prefix}",
        server=_server(ack.message),
        router=_dotted(have.get(_ROUTER)),
        duration=int.from_bytes(have[_LEASE_SECONDS]) if _LEASE_SECONDS in have else None,
        server_mac=ack.server_mac,
        seconds=first + second,
    )


def release(guest: StandInGuest, lease: Lease) -> None:
    """Give the lease back, so that a probe leaves nothing behind on the server."""
    own = lease.address.split("/")[0]
    options = {_TYPE: bytes([_RELEASE]), _SERVER: ipaddress.IPv4Address(lease.server).packed}
    message = Dhcp(False, secrets.randbits(32), guest.address, own, frames.NO_ADDRESS, options)
    guest.send(_frame(guest.address, lease.server_mac, own, lease.server, message))


def _ask(
    guest: StandInGuest, transaction: int, options: dict[int, bytes], timeout: float
) -> tuple[_Reply, float]:
    message = Dhcp(
        False, transaction, guest.address, frames.NO_ADDRESS, frames.NO_ADDRESS, dict(sorted(options.items()))
    )
    frame = _frame(guest.address, frames.BROADCAST, frames.NO_ADDRESS, "255.255.255.255", message)
    wanted = {_DISCOVER: {_OFFER}, _REQUEST: {_ACK, _NAK}}[options[_TYPE][0]]

    def reply(frame: Ethernet) -> _Reply | None:
        packet = frames.read_ipv4(frame.payload) if frame.kind == frames.IPV4 else None
        udp = frames.read_udp(packet) if packet else None
        if udp is None or (udp.source_port, udp.destination_port) != (_SERVER_PORT, _CLIENT_PORT):
            return None
        answer = frames.read_dhcp(udp.payload)
        if answer is None or not answer.is_reply or answer.transaction != transaction:
            return None
        if answer.client_mac != guest.address or answer.options.get(_TYPE, b"\0")[0] not in wanted:
            return None
        return _Reply(answer, frame.source, udp.checksum_ok)

    for _ in range(_TRIES):
        answer = guest.exchange(frame, reply, timeout / _TRIES)
        if answer is not None:
            return answer.value, answer.seconds
    sent = "discover" if _OFFER in wanted else "request"
    raise NoLease(f"DHCP {sent} sent {_TRIES} times; no answer")


def _refuse_unless(reply: _Reply, kind: int, word: str) -> None:
    have = reply.message.options[_TYPE][0]
    if have == _NAK:
        text = reply.message.options.get(_MESSAGE, b"").decode(errors="replace")
        raise NoLease(f"DHCP server {_server(reply.message)} refused the address it had offered: {text!r}")
    if have == kind and not reply.checksum_ok:
        raise NoLease(
            f"the {word} of DHCP server {_server(reply.message)} came with a wrong UDP checksum, and a guest "
            "drops such a packet: have the host fill in checksums"
        )


def _frame(source_mac: str, mac: str, source: str, destination: str, message: Dhcp) -> bytes:
    udp = frames.build_udp(Udp(_CLIENT_PORT, _SERVER_PORT, frames.build_dhcp(message)), source, destination)
    packet = frames.build_ipv4(IPv4(source, destination, frames.UDP, udp))
    return frames.build_ethernet(Ethernet(mac, source_mac, frames.IPV4, packet))


def _server(message: Dhcp) -> str:
    return _dotted(message.options.get(_SERVER)) or "of no name"


def _dotted(data: bytes | None) -> str | None:
    return str(ipaddress.IPv4Address(data[:4])) if data and len(data) >= 4 else None
