"""A changed binding brought to a guest that has the VIF: its network's side first, then what the guest sees of it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from msgspec import Struct, field

from ..errors import LibvirtUnreachable, NotPlugged, VifplugError
from ..guest.live import refuse_fixed
from ..host.host import Binding, Host
from ..model import Vif, read_binding
from .attach import scope_of
from .connection import Domain, translated
from .definition import Definition, Interface, Scope, keep, ours
from .domain import define_one
from .stored import Fate, binds, check_place, interface_of, put


class Updated(Struct, frozen=True, kw_only=True):
    """The answer of update."""

    id: str
    #: the domain's name
    domain: str
    #: what was brought to it: the running guest, the domain's definition
    live: bool
    config: bool
    #: False when all was so already
    changed: bool
    #: libvirt's <interface>, as the definition has it
    xml: str
    #: what of it the guest sees later
    notes: list[str] = field(default_factory=list)


def update(
    host: Host,
    domain: Domain,
    vif: Binding,
    *,
    live: bool = False,
    config: bool = False,
    seconds: float | None = None,
) -> Updated:
    """Bring a VIF that a domain has to a changed binding: its guest keeps it, and is all the time connected.

    ``live`` and ``config`` as for attach; the definition gets it only if it has the VIF, unless ``config`` says so.
    The network's side (MTU, VLAN, security, whatever the plug script offers) is Host.update's; link state and
    bandwidth are libvirt's. When libvirt refuses, the network's side is put back. ``seconds``: the plug script's
    deadline.

    Raises NotPlugged when the domain does not have the VIF; UpdateRefused, naming the fields, for what cannot be
    changed on a guest that runs; what Host.update raises; LibvirtRefused when all is as before; and
    LibvirtUnreachable when nobody knows what the guest has: update it again.
    """
    wanted = ours(vif if isinstance(vif, Vif) else read_binding(vif), domain)
    scope = scope_of(domain, live=live, config=config)
    notes: list[str] = []
    if Scope.LIVE not in scope:
        _found(domain, wanted, Scope.CONFIG)
        fate, xml = define_one(host, domain, wanted)
        changed = fate is not Fate.SAME
    else:
        if Scope.CONFIG in scope and not config and not _has(domain, wanted, Scope.CONFIG):
            scope = Scope.LIVE
        changed, xml, notes = _update_live(host, domain, wanted, scope, seconds)
    return Updated(
        id=wanted.id,
        domain=domain.name(),
        live=Scope.LIVE in scope,
        config=Scope.CONFIG in scope,
        changed=changed,
        xml=xml,
        notes=notes,
    )


def _update_live(
    host: Host, domain: Domain, vif: Vif, scope: Scope, seconds: float | None
) -> tuple[bool, str, list[str]]:
    definition = Definition.of(domain, Scope.LIVE)
    found = _found(domain, vif, Scope.LIVE)
    check_place(definition, vif, found)
    before = host.show(vif.id)
    refuse_fixed(before.request, vif)
    kept = definition.kept.get(vif.id)
    plugged = host.update(vif, seconds=seconds)
    wanted = _as_guest_sees(found.element, plugged.xml)
    sees = _seen(wanted) != _seen(found.element)
    try:
        if sees:
            _show(domain, vif, definition.name, wanted)
        stored = put(domain, vif, plugged.xml) if Scope.CONFIG in scope else Fate.SAME
        if kept is None or not binds(kept, vif):
            keep(domain, vif, Scope.LIVE)
    except LibvirtUnreachable as error:
        _say(
            error,
            "the VIF's network has changed already, and whether its guest has is not known: update it again",
        )
        raise
    except VifplugError as error:
        _put_back(host, domain, before.request if plugged.changed else None, found if sees else None, error)
        raise
    changed = plugged.changed or sees or stored is not Fate.SAME
    return changed, plugged.xml, _later(found, plugged.xml)


def _has(domain: Domain, vif: Vif, scope: Scope) -> bool:
    definition = Definition.of(domain, scope)
    return vif.id in definition.kept or interface_of(definition, vif.id) is not None


def _found(domain: Domain, vif: Vif, scope: Scope) -> Interface:
    """The VIF's interface. Raises NotPlugged."""
    definition = Definition.of(domain, scope)
    if (found := definition.like(vif)) is None:
        where = "the guest" if scope is Scope.LIVE else "the definition"
        raise NotPlugged(
            f"{where} of domain {definition.name} has no interface of VIF {vif.id}: attach it",
            vif_id=vif.id,
            domain=definition.name,
        )
    return found


# --- what the guest sees ----------------------------------------------------------------------------


def _seen(element: ET.Element) -> tuple[str, dict[str, dict[str, str]]]:
    """Of an interface, what libvirt can change while its guest runs: the link, and the limits by direction."""
    link, bandwidth = element.find("link"), element.find("bandwidth")
    limits = {} if bandwidth is None else {one.tag: dict(one.attrib) for one in bandwidth}
    return ("up" if link is None else link.get("state", "up")), limits


def _as_guest_sees(shown: ET.Element, xml: str) -> ET.Element:
    """The interface as libvirt tells it, with the link and the limits of the VIF's XML: libvirt compares all else,
    and refuses what differs."""
    wanted = ET.fromstring(ET.tostring(shown))  # noqa: S314  # a copy
    state, _ = _seen(own := ET.fromstring(xml))  # noqa: S314  # our own
    for name in ("link", "bandwidth"):
        if (old := wanted.find(name)) is not None:
            wanted.remove(old)
    ET.SubElement(wanted, "link", {"state": state})
    if (bandwidth := own.find("bandwidth")) is not None:
        wanted.append(bandwidth)
    return wanted


def _show(domain: Domain, vif: Vif, name: str, element: ET.Element) -> None:
    with translated(f"change VIF {vif.id} in the guest of domain {name}"):
        domain.updateDeviceFlags(ET.tostring(element, encoding="unicode"), int(Scope.LIVE))


def _later(found: Interface, xml: str) -> list[str]:
    """What the guest is told when its device is made, and not before."""
    now, then = (
        None if element is None else element.get("size")
        for element in (found.element.find("mtu"), ET.fromstring(xml).find("mtu"))  # noqa: S314  # our own
    )
    if now == then:
        return []
    return [
        f"the network's side has MTU {then or 'as it comes'}; the guest was told {now or 'none'}, and is told anew at"
        " its next start, or when it is detached and attached again"
    ]


# --- back -------------------------------------------------------------------------------------------


def _put_back(
    host: Host, domain: Domain, request: Vif | None, shown: Interface | None, error: VifplugError
) -> None:
    """What was changed before the error, as it was before."""
    failures = []
    try:
        if shown is not None:
            with translated("change the guest's interface back"):
                _show_again(domain, shown)
    except VifplugError as more:
        failures.append(more.message)
    try:
        if request is not None:
            host.update(request)
    except VifplugError as more:
        failures.append(more.message)
    _say(
        error, f"and going back failed too ({'; '.join(failures)})" if failures else "all is as it was before"
    )


def _show_again(domain: Domain, shown: Interface) -> None:
    """The guest's interface as it was. libvirt, when it fails half-way, leaves a device limited and forgets that it
    is: so the limits are set again, or taken off, by the call that does so whatever it remembers."""
    domain.updateDeviceFlags(ET.tostring(shown.element, encoding="unicode"), int(Scope.LIVE))
    if shown.device is not None:
        _, limits = _seen(shown.element)
        domain.setInterfaceParameters(
            shown.device,
            {
                f"{direction}.{what}": int(limits.get(direction, {}).get(what, 0))
                for direction in ("inbound", "outbound")
                for what in ("average", "peak", "burst")
            },
            int(Scope.LIVE),
        )


def _say(error: VifplugError, more: str) -> None:
    error.message = f"{error.message}; {more}"
    error.args = (error.message,)
