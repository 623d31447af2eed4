"""A stand-in for a guest: it opens a tap and behaves as a guest's network stack would."""

from __future__ import annotations

import ipaddress
import os
import secrets
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from ..errors import VifplugError
from . import frames
from .frames import Arp, Echo, Ethernet, IPv4
from .tap import Tap

T = TypeVar("T")

_TRIES = 3
_MOST_KINDS = 64


class Answer(NamedTuple, Generic[T]):
    value: T
    #: from the question's write to the answer's read
    seconds: float


class _Question(Generic[T]):
    """What a caller waits for; the reader thread fills it in."""

    def __init__(self, recognise: Callable[[Ethernet], T | None]) -> None:
        self.recognise = recognise
        self.done = threading.Event()
        self.value: T | None = None
        self.at = 0.0


class StandInGuest:
    """Opens ``devname`` as a guest would and answers ARP and ping for its addresses, in a thread.

    ``address`` is the guest's MAC; ``addresses`` are its IPv4 addresses with prefix ("10.0.0.5/24").
    Use it within a ``with``. Raises what Tap raises, and ValueError for what is no IPv4 address.
    """

    def __init__(
        self,
        devname: str,
        address: str,
        addresses: Iterable[str] = (),
        *,
        gateway: str | None = None,
        vnet_hdr: bool = True,
    ) -> None:
        self.address = address
        self.addresses = [ipaddress.IPv4Interface(text) for text in addresses]
        self.gateway = gateway
        #: what was seen on the tap that answered no question of ours, by kind
        self.seen: Counter[str] = Counter()
        #: why the reader stopped, if it did
        self.failure: VifplugError | None = None
        self._ident = secrets.randbelow(0x10000)
        self._sequence = 0
        self._questions: list[_Question[object]] = []
        self._lock = threading.Lock()
        self._tap = Tap(devname, vnet_hdr=vnet_hdr)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._reader = threading.Thread(target=self._read, name=f"guest on {devname}", daemon=True)
        self._reader.start()

    def __enter__(self) -> StandInGuest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering and give the tap back."""
        os.eventfd_write(self._stop, 1)
        self._reader.join()
        self._tap.close()
        os.close(self._stop)

    # --- questions ---------------------------------------------------------------------------

    def arp(self, target: str, timeout: float = 1.0) -> Answer[str] | None:
        """The MAC address of ``target``, or None after three requests within ``timeout`` seconds."""
        request = Arp(frames.ARP_REQUEST, self.address, self._own_for(target), frames.NO_MAC, target)
        frame = self._frame(frames.BROADCAST, frames.ARP, frames.build_arp(request))

        def reply(frame: Ethernet) -> str | None:
            arp = frames.read_arp(frame.payload) if frame.kind == frames.ARP else None
            if arp and arp.operation == frames.ARP_REPLY and arp.sender == target:
                return arp.sender_mac
            return None

        for _ in range(_TRIES):
            answer = self.exchange(frame, reply, timeout / _TRIES)
            if answer is not None:
                return answer
        return None

    def ping(self, target: str, mac: str, timeout: float = 1.0) -> Answer[Echo] | None:
        """The echo reply of ``target`` by way of ``mac`` (its own, or a gateway's), or None."""
        for _ in range(_TRIES):
            self._sequence += 1
            request = Echo(frames.ECHO_REQUEST, self._ident, self._sequence, bytes(range(56)))
            packet = IPv4(self._own_for(target), target, frames.ICMP, frames.build_echo(request))

            def reply(frame: Ethernet, want: Echo = request) -> Echo | None:
                packet = frames.read_ipv4(frame.payload) if frame.kind == frames.IPV4 else None
                if packet is None or packet.source != target or packet.protocol != frames.ICMP:
                    return None
                echo = frames.read_echo(packet.payload)
                if echo is None or (echo.kind, echo.ident) != (frames.ECHO_REPLY, want.ident):
                    return None
                return echo if (echo.sequence, echo.data) == (want.sequence, want.data) else None

            frame = self._frame(mac, frames.IPV4, frames.build_ipv4(packet))
            answer = self.exchange(frame, reply, timeout / _TRIES)
            if answer is not None:
                return answer
        return None

    def exchange(
        self, frame: bytes, recognise: Callable[[Ethernet], T | None], timeout: float
    ) -> Answer[T] | None:
        """Send a frame and wait for the one in which ``recognise`` sees the answer, or None."""
        question: _Question[T] = _Question(recognise)
        with self._lock:
            self._questions.append(question)  # type: ignore[arg-type]  # a list of many kinds
        try:
            sent = time.perf_counter()
            self._tap.write(frame)
            question.done.wait(timeout)
        finally:
            with self._lock:
                self._questions.remove(question)  # type: ignore[arg-type]
        if question.value is not None:
            return Answer(question.value, question.at - sent)
        if self.failure is not None:
            raise self.failure
        return None

    def send(self, frame: bytes) -> None:
        """Send a frame that expects no answer."""
        self._tap.write(frame)

    def take(self, address: str, gateway: str | None = None) -> None:
        """From now on have this address too ("10.0.0.5/24"), as after DHCP."""
        self.addresses = [*self.addresses, ipaddress.IPv4Interface(address)]
        self.gateway = self.gateway or gateway

    def next_hop(self, target: str) -> str | None:
        """Whom to ask by ARP for ``target``: itself on the same subnet, else the gateway, else None.

        Where no subnet is known (a port lists its addresses without prefix), every target is asked.
        """
        if any(ipaddress.IPv4Address(target) in own.network for own in self.addresses):
            return target
        subnet_known = any(own.network.prefixlen < 32 for own in self.addresses)
        return self.gateway if subnet_known or self.gateway else target

    # --- the reader --------------------------------------------------------------------------

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._tap, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        try:
            while all(fd != self._stop for fd, _ in poll.poll()):
                data = self._tap.read()
                if data is not None:
                    self._handle(data)
        except VifplugError as error:
            self.failure = error
            with self._lock:
                for question in self._questions:
                    question.done.set()

    def _handle(self, data: bytes) -> None:
        at = time.perf_counter()
        frame = frames.read_ethernet(data)
        if frame is not None and (self._settle(frame, at) or self._answer(frame)):
            return
        kind = frames.describe(data)
        if len(self.seen) >= _MOST_KINDS and kind not in self.seen:
            kind = "other frame"
        self.seen[kind] += 1

    def _settle(self, frame: Ethernet, at: float) -> bool:
        with self._lock:
            for question in self._questions:
                if not question.done.is_set() and (value := question.recognise(frame)) is not None:
                    question.value, question.at = value, at
                    question.done.set()
                    return True
        return False

    def _answer(self, frame: Ethernet) -> bool:
        if frame.destination not in (self.address, frames.BROADCAST):
            return False
        if frame.kind == frames.ARP:
            arp = frames.read_arp(frame.payload)
            if arp is None or arp.operation != frames.ARP_REQUEST or not self._is_own(arp.target):
                return False
            reply = Arp(frames.ARP_REPLY, self.address, arp.target, arp.sender_mac, arp.sender)
            self._tap.write(self._frame(arp.sender_mac, frames.ARP, frames.build_arp(reply)))
            return True
        packet = frames.read_ipv4(frame.payload) if frame.kind == frames.IPV4 else None
        if packet is None or packet.protocol != frames.ICMP or not self._is_own(packet.destination):
            return False
        echo = frames.read_echo(packet.payload)
        if echo is None or echo.kind != frames.ECHO_REQUEST or not echo.checksum_ok:
            return False
        pong = frames.build_echo(Echo(frames.ECHO_REPLY, echo.ident, echo.sequence, echo.data))
        back = IPv4(packet.destination, packet.source, frames.ICMP, pong)
        self._tap.write(self._frame(frame.source, frames.IPV4, frames.build_ipv4(back)))
        return True

    # --- small things ------------------------------------------------------------------------

    def _frame(self, destination: str, kind: int, payload: bytes) -> bytes:
        return frames.build_ethernet(Ethernet(destination, self.address, kind, payload))

    def _is_own(self, ip: str) -> bool:
        return any(str(own.ip) == ip for own in self.addresses)

    def _own_for(self, target: str) -> str:
        """The address to ask from: the one on the target's subnet, else the first, else none."""
        wanted = ipaddress.IPv4Address(target)
        for own in self.addresses:
            if wanted in own.network:
                return str(own.ip)
        return str(self.addresses[0].ip) if self.addresses else frames.NO_ADDRESS
