"""A VIF in a domain's definition: put there, changed, taken out; and nobody else's interface touched."""

from __future__ import annotations

from enum import StrEnum
from xml.etree import ElementTree as ET

from ..errors import InvalidInput, LibvirtRefused
from ..model import Vif, as_binding, read_binding
from .connection import Domain, translated
from .definition import Definition, Interface, Kept, Scope, drop, keep


class Fate(StrEnum):
    """What became of a VIF in a definition."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"


def put(domain: Domain, vif: Vif, xml: str, *, ready: bool | None = None, working: bool = False) -> Fate:
    """Let the definition have the VIF with this ``<interface>``, at the place on the guest's bus that it had.

    ``ready`` and ``working``: see Kept; what ``ready`` was stays, when it is not given. Raises InvalidInput when
    the domain has the MAC otherwise, and LibvirtRefused, when nothing has changed.
    """
    definition = Definition.of(domain, Scope.CONFIG)
    kept, found = definition.kept.get(vif.id), definition.like(vif)
    check_place(definition, vif, found)
    ready = (kept is not None and kept.ready) if ready is None else ready
    fate = _fate(vif, xml, ready, kept, found)
    if fate is Fate.SAME and not working and kept is not None and not kept.at_work:
        return fate
    keep(domain, vif, Scope.CONFIG, ready=ready, working=working)
    try:
        if found is None:
            with translated(f"attach VIF {vif.id} to the definition of domain {definition.name}"):
                domain.attachDeviceFlags(xml, int(Scope.CONFIG))
        elif fate is Fate.CHANGED and found.vif_id is not None:
            with translated(f"change VIF {vif.id} in the definition of domain {definition.name}"):
                domain.updateDeviceFlags(_at_place_of(found, xml), int(Scope.CONFIG))
    except LibvirtRefused:
        keep_as_it_was(domain, vif.id, kept)
        raise
    return fate


def take_out(domain: Domain, vif_id: str) -> bool:
    """Take the VIF and its interface out of the definition; whether there was any of it."""
    definition = Definition.of(domain, Scope.CONFIG)
    found = interface_of(definition, vif_id)
    if found is not None:
        with translated(f"take VIF {vif_id} out of the definition of domain {definition.name}"):
            domain.detachDeviceFlags(ET.tostring(found.element, encoding="unicode"), int(Scope.CONFIG))
    if vif_id in definition.kept:
        drop(domain, vif_id, Scope.CONFIG)
    return found is not None or vif_id in definition.kept


def interface_of(definition: Definition, vif_id: str) -> Interface | None:
    """The interface of a VIF of which the id is known, and what the metadata say."""
    kept = definition.kept.get(vif_id)
    if (found := definition.of_vif(vif_id)) is not None or kept is None:
        return found
    try:
        return definition.like(kept.vif())
    except InvalidInput:  # spoilt by hand: it says no address to look for
        return None


def check_place(definition: Definition, vif: Vif, found: Interface | None) -> None:
    """Raise InvalidInput when the interface with the VIF's MAC is another than the VIF's."""
    if found is None or found.vif_id == vif.id:
        return
    if found.vif_id is None and found.type == vif.type and found.device in (None, vif.devname):
        return  # somebody attached what plug had answered
    raise InvalidInput(
        f"address: {vif.address} is that of another interface of domain {definition.name} already"
        f" (type {found.type}, device {found.device or 'none'}): detach that one, or bind another address",
        field="address",
        value=vif.address,
        vif_id=vif.id,
        domain=definition.name,
    )


def _fate(vif: Vif, xml: str, ready: bool, kept: Kept | None, found: Interface | None) -> Fate:
    if found is None:
        return Fate.ADDED
    if kept is None:
        return Fate.SAME if found.vif_id is None else Fate.CHANGED
    same = kept.ready == ready and binds(kept, vif) and _has(found.element, ET.fromstring(xml))  # noqa: S314
    return Fate.SAME if same or found.vif_id is None else Fate.CHANGED


def binds(kept: Kept, vif: Vif) -> bool:
    """Whether it is this very VIF that the domain keeps."""
    try:
        return as_binding(kept.vif()) == as_binding(vif)
    except InvalidInput:
        return False


def _has(shown: ET.Element, wanted: ET.Element) -> bool:
    """Whether libvirt's element says all that ours does; it says more, such as a PCI address."""
    if any(shown.get(name) != value for name, value in wanted.items()):
        return False
    return all(any(_has(child, each) for child in shown.findall(each.tag)) for each in wanted)


def _at_place_of(found: Interface, xml: str) -> str:
    """The interface at the address on the guest's bus that the present one has: its guest knows it by that."""
    wanted = ET.fromstring(xml)  # noqa: S314  # our own
    if (place := found.element.find("address")) is not None and wanted.find("address") is None:
        wanted.append(place)
    return ET.tostring(wanted, encoding="unicode")


def keep_as_it_was(domain: Domain, vif_id: str, kept: Kept | None) -> None:
    """Write back into the definition's metadata what was there before, or take out what was not."""
    if kept is None:
        drop(domain, vif_id, Scope.CONFIG)
    else:
        keep(domain, read_binding(kept.binding), Scope.CONFIG, ready=kept.ready)
