"""A frame of the guest's, sent and watched.

Where no guest has the tap open, vifplug opens it as one would and asks by ARP (vifplug.probe). Where a guest has, its
host cannot speak for it; so the guest is made to speak: it gets a ping that seems to come from the target, and its
answer goes the way that all its frames to the target go. The target gets a ping reply that it did not ask for, and
leaves it at that, or an ARP request, which it answers.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface

from msgspec import Struct

from ..errors import InvalidInput, NoPermission, VifplugError
from ..model.vif import Vif
from ..probe import StandInGuest, frames
from ..probe.frames import Echo, Ethernet, IPv4
from .watch import Watch

#: asked for where nobody is to answer: the IPv4 dummy address (RFC 7600)
_NOBODY = "192.0.0.8"
#: seconds that a bridge may take to see that its port has a carrier
_CARRIER = 1.5


class Question(Struct, frozen=True, kw_only=True):
    """What is asked, and as whom."""

    device: str
    #: the guest's MAC address
    mac: str
    #: the guest's addresses, with prefix where it is known
    addresses: list[str]
    #: None: nobody is to answer, and the frame's way out is all that is watched
    target: str | None
    gateway: str | None
    #: seconds
    timeout: float


class Answer(Struct, frozen=True, kw_only=True):
    #: "as the guest" (nobody had its tap open), "by the guest", or None where nothing was sent
    how: str | None
    #: a sentence
    text: str
    answered: bool = False
    #: whether a host on another subnet answered, so that what lies behind the gateway is known to work too
    beyond: bool = False
    seconds: float | None = None


def question(
    vif: Vif, device: str, target: str | None, addresses: Iterable[str], timeout: float
) -> Question | None:
    """What to ask for a VIF; None where its MAC address is not known. Raises InvalidInput for a wrong address."""
    own = [_interface("address", text) for text in addresses] or [
        f"{ip}/{subnet.cidr.partition('/')[2]}" if subnet.cidr else ip
        for subnet in vif.network.subnets
        for ip in subnet.addresses
        if ":" not in ip
    ]
    given = vif.details.get("gateways")
    gateways = [
        *(subnet.gateway for subnet in vif.network.subnets if subnet.gateway),
        *(given if isinstance(given, list) else []),
    ]
    gateway = next((one for one in gateways if isinstance(one, str) and ":" not in one), None)
    if target is not None:
        _check_address(target)
    if vif.address is None:
        return None
    return Question(
        device=device,
        mac=vif.address,
        addresses=own,
        target=target or gateway,
        gateway=gateway,
        timeout=timeout,
    )


def _interface(field: str, text: str) -> str:
    try:
        return str(IPv4Interface(text))
    except ValueError:
        raise InvalidInput(
            f"{field} {text!r} must be an IPv4 address with its prefix such as 10.0.0.5/24 (a probe speaks IPv4)",
            field=field,
            value=text,
        ) from None


def _check_address(text: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        raise InvalidInput(
            f"the target {text!r} must be an IPv4 address such as 10.0.0.1 (a probe speaks IPv4)",
            field="target",
            value=text,
        ) from None


def ask(
    asked: Question, watch: Watch, held: bool, ready: Callable[[], bool], meanwhile: Callable[[], None]
) -> Answer:
    """Send, and let ``watch`` listen. ``held``: whether a guest has the tap open. ``ready``: whether the way may be
    used yet; ``meanwhile``: called while the tap is still open."""
    try:
        return _by_guest(asked, watch, meanwhile) if held else _as_guest(asked, watch, ready, meanwhile)
    except NoPermission as error:
        return Answer(how=None, text=f"no frame was sent: {error.message}")


# --- nobody has the tap open -----------------------------------------------------------------------


def _as_guest(
    asked: Question, watch: Watch, ready: Callable[[], bool], meanwhile: Callable[[], None]
) -> Answer:
    own = str(IPv4Interface(asked.addresses[0]).ip) if asked.addresses else None
    try:
        with StandInGuest(asked.device, asked.mac, asked.addresses, gateway=asked.gateway) as guest:
            hop = guest.next_hop(asked.target) if asked.target else None
            target = hop or own or _NOBODY
            _mark_arp(watch, asked, target)
            until = time.monotonic() + _CARRIER
            while not ready() and time.monotonic() < until:
                time.sleep(0.02)
            found = guest.arp(target, asked.timeout)
            beyond, seconds = False, found.seconds if found else None
            text = f"{target} is at {found.value}" if found else f"ARP request for {target}"
            if found is not None and hop is not None and hop != asked.target and asked.target and own:
                _mark_ping(watch, asked, asked.target)
                echo = guest.ping(asked.target, found.value, asked.timeout)
                beyond, seconds = echo is not None, echo.seconds if echo else None
                text = f"{text}; {asked.target} {'answered a ping' if echo else 'did not answer a ping'} by way of it"
            meanwhile()
            watch.hear()
    except VifplugError as error:
        return Answer(how=None, text=f"no frame was sent: {error.message}")
    asked_beyond = hop is not None and hop != asked.target
    return Answer(
        how="as the guest",
        text=text,
        answered=beyond if asked_beyond else found is not None,
        beyond=beyond,
        seconds=seconds,
    )


def _mark_arp(watch: Watch, asked: Question, target: str) -> None:
    """How the request and its reply are known, wrapped up or not: by the addresses that follow each other in them."""
    mac = bytes.fromhex(asked.mac.replace(":", ""))
    sought = socket.inet_aton(target)
    sources = [socket.inet_aton(str(IPv4Interface(text).ip)) for text in asked.addresses] or [bytes(4)]
    watch.out_marks += [mac + source + bytes(6) + sought for source in sources]
    watch.back_marks += [sought + mac + source for source in sources]


def _mark_ping(watch: Watch, asked: Question, target: str) -> None:
    own = socket.inet_aton(str(IPv4Interface(asked.addresses[0]).ip))
    other = socket.inet_aton(target)
    watch.out_marks.append(own + other + b"\x08\x00")
    watch.back_marks.append(other + own + b"\x00\x00")


# --- a guest has it --------------------------------------------------------------------------------


def _by_guest(asked: Question, watch: Watch, meanwhile: Callable[[], None]) -> Answer:
    if not asked.addresses:
        meanwhile()
        return Answer(
            how=None,
            text="no frame was sent: a guest has the tap open, and its address is not known: give --address IP/PREFIX",
        )
    if asked.target is None:
        meanwhile()
        return Answer(
            how=None,
            text="no frame was sent: a guest has the tap open, and is to be told whom to answer: give a TARGET",
        )
    own = str(IPv4Interface(asked.addresses[0]).ip)
    mark = secrets.token_bytes(24)
    watch.out_marks.append(mark)
    _mark_arp(watch, asked, asked.target)
    echo = frames.build_echo(Echo(frames.ECHO_REQUEST, secrets.randbelow(0x10000), 1, mark))
    packet = frames.build_ipv4(IPv4(asked.target, own, frames.ICMP, echo))
    # whose address that is, is nobody's: a guest answers to where its routes and neighbours say
    sender = "02:" + secrets.token_bytes(5).hex(":")
    frame = frames.build_ethernet(Ethernet(asked.mac, sender, frames.IPV4, packet))
    tries = 3
    with contextlib.suppress(
        OSError
    ):  # the tap was taken down or away: so nothing is heard, and the next look tells
        for _ in range(tries):
            watch.send(frame)
            watch.hear(asked.timeout / tries)
            if watch.out[asked.device] and all(watch.out[name] for name in watch.listened):
                break
    meanwhile()
    watch.hear()
    answered = watch.back[asked.device] > 0
    heard = watch.out[asked.device]
    text = f"the guest was pinged as if by {asked.target}, and {'answered' if heard else 'said nothing'}"
    return Answer(how="by the guest", text=text, answered=answered)
