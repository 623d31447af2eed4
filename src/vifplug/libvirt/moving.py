"""What moves with a guest: its VIFs, and its XML as the destination has it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from xml.etree import ElementTree as ET

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DestinationUnable, InvalidInput
from ..host.host import Binding, Host
from ..host.results import Plugged, Record, State
from ..model import Vif, as_binding, read_binding
from .connection import Domain, binding, translated
from .definition import NAMESPACE, Definition, Interface, Scope, ours
from .stored import interface_of

#: what the guest sees of an interface and no network decides: its place, its boot ROM, its turn at booting
_GUEST_S_OWN = ("address", "rom", "boot", "acpi")
#: what a guest that runs cannot be given otherwise, as its device's state moves along: element, attribute, default
_STAYS = (
    ("mac", "address", None),
    ("model", "type", None),
    ("mtu", "size", None),
    ("driver", "queues", "1"),
    ("driver", "rx_queue_size", None),
    ("driver", "tx_queue_size", None),
)


class Moving(Struct, frozen=True, kw_only=True):
    """A VIF of a guest that is to move."""

    id: str
    #: that of its plug at the source; None when it is not plugged there
    generation: int | None
    #: what it is bound with at the destination
    there: Vif
    #: its interface in the guest, as libvirt tells it at the source
    element: ET.Element


def moving(host: Host, domain: Domain, bindings: Iterable[Binding] = ()) -> list[Moving]:
    """The VIFs of a running guest: those that its domain's metadata name, and those that ``host`` plugged and
    somebody else attached, by device and MAC. ``bindings``: of those that are bound otherwise at the destination.

    Raises InvalidInput for a binding of a VIF that the guest does not have.
    """
    given = {vif.id: vif for vif in map(_vif, bindings)}
    live = Definition.of(domain, Scope.LIVE)
    plugged = {record.id: record for record in host.list() if record.state is not State.DEBT}
    by_device = {(record.vif.devname, record.vif.address): record for record in plugged.values()}
    found: dict[str, Moving] = {}
    for interface in live.interfaces:
        record = plugged.get(interface.vif_id or "") or by_device.get(
            (interface.device or "", interface.address)
        )
        vif_id = interface.vif_id or (record.id if record is not None else None)
        if vif_id is not None:
            found[vif_id] = _moving(domain, live, interface, vif_id, record, given.get(vif_id))
    for vif_id in live.kept.keys() - found.keys():
        if (interface_ := interface_of(live, vif_id)) is not None:  # attached by its MAC alone
            found[vif_id] = _moving(domain, live, interface_, vif_id, plugged.get(vif_id), given.get(vif_id))
    for vif_id in given.keys() - found.keys():
        raise InvalidInput(
            f"id: the guest of domain {live.name} has no interface of VIF {vif_id}, so there is none to bind otherwise",
            field="id",
            value=vif_id,
            vif_id=vif_id,
        )
    return list(found.values())


def _moving(  # noqa: PLR0917
    domain: Domain,
    live: Definition,
    interface: Interface,
    vif_id: str,
    record: Record | None,
    given: Vif | None,
) -> Moving:
    kept = live.kept.get(vif_id)
    vif = (
        given
        or (kept.vif() if kept is not None else None)
        or (record.request if record is not None else None)
    )
    if vif is None:
        raise InvalidInput(
            f"VIF {vif_id} of domain {live.name} is neither plugged on this host nor kept in the domain's metadata:"
            " what to plug at the destination is not known; give its binding",
            field="id",
            value=vif_id,
            vif_id=vif_id,
        )
    if interface.vif_id is not None:
        vif = ours(vif, domain)
    return Moving(
        id=vif_id,
        generation=record.generation if record is not None else None,
        there=replace(vif, migration=None),
        element=interface.element,
    )


def _vif(one: Binding) -> Vif:
    return one if isinstance(one, Vif) else read_binding(one)


# --- the domain's XML, as the destination has it ----------------------------------------------------


def xml_there(domain: Domain, vifs: Iterable[tuple[Moving, Plugged]]) -> tuple[str, str | None]:
    """The guest's XML with the destination's interfaces, and its definition so, if it has one.

    Raises DestinationUnable where a guest would find its device changed.
    """
    vifs = list(vifs)
    for one, plugged in vifs:
        _check_same(one, plugged)
    library = binding()
    flags = library.VIR_DOMAIN_XML_MIGRATABLE | library.VIR_DOMAIN_XML_SECURE
    with translated("tell the domain's XML"):
        live = domain.XMLDesc(flags)
        stored = domain.XMLDesc(flags | library.VIR_DOMAIN_XML_INACTIVE) if domain.isPersistent() else None
    return _with(live, vifs), None if stored is None else _with(stored, vifs)


def _with(xml: str, vifs: list[tuple[Moving, Plugged]]) -> str:
    root = ET.fromstring(xml)  # noqa: S314  # libvirt's own
    devices = root.find("devices")
    for one, plugged in vifs:
        metadata = root.find(f"./metadata/{{{NAMESPACE}{one.id}}}vif")
        if metadata is not None:
            metadata.text = json.dumps(as_binding(one.there), ensure_ascii=False)
        address = _value(one.element, "mac", "address")
        for place, element in enumerate(devices if devices is not None else ()):
            same = element.tag == "interface" and _value(element, "mac", "address") == address
            if same and devices is not None:
                devices[place] = _in_place_of(element, plugged.xml)
    return ET.tostring(root, encoding="unicode")


def _in_place_of(element: ET.Element, xml: str) -> ET.Element:
    wanted = ET.fromstring(xml)  # noqa: S314  # our own
    for name in _GUEST_S_OWN:
        mine = element.find(name)
        if mine is not None and wanted.find(name) is None:
            wanted.append(mine)
    return wanted


def _check_same(one: Moving, plugged: Plugged) -> None:
    wanted = ET.fromstring(plugged.xml)  # noqa: S314  # our own
    for name, attribute, default in _STAYS:
        here = _value(one.element, name, attribute) or default
        there = _value(wanted, name, attribute) or default
        if here != there and not (name == "driver" and here is None):
            what = {"mac": "address", "driver": attribute}.get(name, name)
            raise DestinationUnable(
                f"VIF {one.id} would have {what} {there or 'none'} at the destination, and its guest runs with"
                f" {here or 'none'}, which cannot change under it: bind it there so",
                vif_id=one.id,
            )


def _value(element: ET.Element, name: str, attribute: str) -> str | None:
    found = element.find(name)
    value = None if found is None else found.get(attribute)
    return value.lower() if value else None
