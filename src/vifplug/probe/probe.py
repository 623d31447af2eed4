"""Ask a plugged tap the questions that an operator has: ARP, ping, DHCP, and what is there instead."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert, field

from ..errors import InvalidInput, VifplugError
from ..model.checks import Wrong
from ..model.explain import explain
from ..model.vif import Vif
from ..model.words import DeviceName, Mac
from . import dhcp as dhcp_client
from .guest import StandInGuest


class Finding(Struct, frozen=True, kw_only=True):
    """One question and how it ended."""

    what: Literal["arp", "ping", "dhcp"]
    #: the IPv4 address asked for; None for DHCP
    target: str | None = None
    ok: bool
    #: round trip; None without an answer
    seconds: float | None = None
    #: a sentence: what was answered, or what was seen instead
    text: str


class ProbeReport(Struct, frozen=True, kw_only=True):
    """What a probe found; JSON-able with msgspec."""

    devname: str
    #: True when every question was answered
    ok: bool
    findings: list[Finding] = field(default_factory=list)
    #: frames that answered no question of ours, by kind
    seen: dict[str, int] = field(default_factory=dict)
    #: why the tap could not be used, as ``VifplugError.as_dict`` gives it
    error: dict[str, Any] | None = None


class _Request(Struct, frozen=True, kw_only=True):
    """What is asked of a probe, each value checked."""

    devname: DeviceName
    address: Mac
    addresses: list[str]
    targets: list[str]
    gateway: str | None
    dhcp: bool
    timeout: Annotated[float, Meta(gt=0, le=3600, description="seconds, more than 0 and at most 3600")]

    def __post_init__(self) -> None:
        for index, address in enumerate(self.addresses):
            allowed = "an IPv4 address with its prefix such as 10.0.0.5/24 (a probe speaks IPv4)"
            _check(f"addresses[{index}]", address, ipaddress.IPv4Interface, allowed)
        allowed = "an IPv4 address such as 10.0.0.1 (a probe speaks IPv4)"
        for index, target in enumerate(self.targets):
            _check(f"targets[{index}]", target, ipaddress.IPv4Address, allowed)
        if self.gateway is not None:
            _check("gateway", self.gateway, ipaddress.IPv4Address, allowed)
        if not self.targets and not self.dhcp:
            raise InvalidInput(
                "there is nothing to ask: name an IPv4 address to reach, or ask for DHCP", field="targets"
            )


def _check(name: str, value: str, kind: Callable[[str], object], allowed: str) -> None:
    try:
        kind(value)
    except ValueError:
        raise Wrong(name, value, allowed) from None


def probe_vif(
    vif: Vif,
    targets: Iterable[str] = (),
    *,
    addresses: Iterable[str] = (),
    dhcp: bool = False,
    timeout: float = 5.0,
) -> ProbeReport:
    """Probe a plugged VIF with its own MAC.

    Without ``addresses``, those of its binding; without ``targets``, its IPv4 gateways.
    """
    own = list(addresses) or [
        f"{ip}/{subnet.cidr.partition('/')[2]}" if subnet.cidr else ip
        for subnet in vif.network.subnets
        for ip in subnet.addresses
        if ":" not in ip
    ]
    gateways = [
        subnet.gateway for subnet in vif.network.subnets if subnet.gateway and ":" not in subnet.gateway
    ]
    if vif.address is None:
        raise InvalidInput(
            f"VIF {vif.id} has no MAC address to probe with: give its binding an address", field="address"
        )
    return probe(
        vif.devname,
        vif.address,
        own,
        list(targets) or gateways,
        gateway=gateways[0] if gateways else None,
        dhcp=dhcp,
        timeout=timeout,
    )


def probe(
    devname: str,
    address: str,
    addresses: Iterable[str] = (),
    targets: Iterable[str] = (),
    *,
    gateway: str | None = None,
    dhcp: bool = False,
    timeout: float = 5.0,
) -> ProbeReport:
    """Open ``devname`` as a guest would and say whether ARP, ping and (if asked) DHCP work through it.

    ``address`` is the guest's MAC, ``addresses`` its IPv4 addresses with prefix where it is known,
    ``targets`` the IPv4 addresses to reach (by way of ``gateway`` where they are on another subnet).
    ``timeout`` is in seconds, for each question; a DHCP server that looks first whether its offer
    is free takes 3. With DHCP and without addresses, the lease's own are used and its router is
    asked for; the lease is given back at the end.

    What is wrong with the tap or the network is in the report. Raises InvalidInput for a value that
    cannot be used, and for a probe with nothing to ask.
    """
    given = {
        "devname": devname,
        "address": address,
        "addresses": list(addresses),
        "targets": list(targets),
        "gateway": gateway,
        "dhcp": dhcp,
        "timeout": timeout,
    }
    try:
        request = convert(given, _Request)
    except ValidationError as error:
        raise explain(error, given, _Request) from None
    findings: list[Finding] = []
    seen: Counter[str] = Counter()
    try:
        with StandInGuest(devname, address, request.addresses, gateway=gateway) as guest:
            seen = guest.seen
            _ask_all(guest, request, findings)
    except VifplugError as error:
        return _report(devname, findings, seen, error)
    return _report(devname, findings, seen)


def _ask_all(guest: StandInGuest, request: _Request, findings: list[Finding]) -> None:
    """Findings are added as they come, so that those before a tap goes away are kept."""
    lease, targets, timeout = None, request.targets, request.timeout
    if request.dhcp:
        lease, finding = _dhcp(guest, timeout)
        findings.append(finding)
        if lease is not None and not guest.addresses:
            guest.take(lease.address, lease.router)
            targets = targets or ([lease.router] if lease.router else [])
    for target in targets:
        findings.extend(_reach(guest, target, timeout))
    if lease is not None:
        dhcp_client.release(guest, lease)


def _reach(guest: StandInGuest, target: str, timeout: float) -> list[Finding]:
    """ARP for the target or its gateway, then ping: no ping without a MAC to send it to."""
    hop = guest.next_hop(target)
    if hop is None:
        own = ", ".join(map(str, guest.addresses)) or "no address"
        text = f"{target} is on another subnet (this guest has {own}) and no gateway is known"
        return [Finding(what="arp", target=target, ok=False, text=text)]
    before = guest.seen.copy()
    mac = guest.arp(hop, timeout)
    if mac is None:
        text = f"ARP request for {hop} sent 3 times; no reply; {_others(guest, before)}"
        return [Finding(what="arp", target=hop, ok=False, text=text)]
    arp = Finding(what="arp", target=hop, ok=True, seconds=mac.seconds, text=f"{hop} is at {mac.value}")
    # without an address of its own, a guest can ask by ARP and no more
    return [arp, _ping(guest, target, mac.value, timeout)] if guest.addresses else [arp]


def _ping(guest: StandInGuest, target: str, mac: str, timeout: float) -> Finding:
    before = guest.seen.copy()
    echo = guest.ping(target, mac, timeout)
    if echo is None:
        text = f"ping to {target} by way of {mac} sent 3 times; no reply; {_others(guest, before)}"
        return Finding(what="ping", target=target, ok=False, text=text)
    if not echo.value.checksum_ok:
        text = f"{target} replied with a wrong ICMP checksum, and a guest drops such a packet"
        return Finding(what="ping", target=target, ok=False, seconds=echo.seconds, text=text)
    text = f"{target} replied in {echo.seconds * 1000:.2f} ms"
    return Finding(what="ping", target=target, ok=True, seconds=echo.seconds, text=text)


def _dhcp(guest: StandInGuest, timeout: float) -> tuple[dhcp_client.Lease | None, Finding]:
    before = guest.seen.copy()
    try:
        lease = dhcp_client.lease(guest, timeout)
    except dhcp_client.NoLease as error:
        text = f"{error}; {_others(guest, before)}"
        return None, Finding(what="dhcp", ok=False, text=text)
    text = f"{lease.server} leased {lease.address}"
    if lease.duration is not None:
        text += f" for {lease.duration} s"
    expected = [str(own.ip) for own in guest.addresses]
    if expected and lease.address.split("/")[0] not in expected:
        text = f"{text}, but this VIF's address is {', '.join(expected)}"
        return lease, Finding(what="dhcp", ok=False, seconds=lease.seconds, text=text)
    return lease, Finding(what="dhcp", ok=True, seconds=lease.seconds, text=text)


def _others(guest: StandInGuest, before: Counter[str]) -> str:
    seen = guest.seen.copy() - before
    if not seen:
        return "no other frame seen"
    kinds = ", ".join(f"{count} × {kind}" for kind, count in seen.most_common())  # noqa: RUF001
    return f"{seen.total()} other frame{'s' if seen.total() > 1 else ''} seen: {kinds}"


def _report(
    devname: str, findings: list[Finding], seen: Counter[str], error: VifplugError | None = None
) -> ProbeReport:
    return ProbeReport(
        devname=devname,
        ok=error is None and all(finding.ok for finding in findings),
        findings=findings,
        seen=dict(seen.most_common()),
        error=error.as_dict() if error else None,
    )
