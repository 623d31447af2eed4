"""vif_details: which of its keys shape the VIF, under which names they may come."""

from __future__ import annotations

import re
from typing import Any

from msgspec import ValidationError, convert

from vifplug.model.checks import Wrong
from vifplug.model.explain import explain
from vifplug.model.vif import (
    Bridge,
    Direct,
    Ethernet,
    Hostdev,
    Network,
    PortBinding,
    Shape,
    User,
    Vdpa,
    Vhostuser,
    VifType,
)

SHAPES: dict[VifType, type[Shape]] = {
    VifType.ETHERNET: Ethernet,
    VifType.BRIDGE: Bridge,
    VifType.NETWORK: Network,
    VifType.DIRECT: Direct,
    VifType.HOSTDEV: Hostdev,
    VifType.VHOSTUSER: Vhostuser,
    VifType.VDPA: Vdpa,
    VifType.USER: User,
}
#: Neutron's and Nova's own spellings: neutron_lib.api.definitions.portbindings
ALIASES: dict[VifType, dict[str, str]] = {
    VifType.BRIDGE: {"bridge_name": "bridge"},
    VifType.DIRECT: {"macvtap_source": "source_dev", "macvtap_mode": "mode"},
    VifType.VHOSTUSER: {"vhostuser_socket": "path", "vhostuser_mode": "mode"},
}


def shape_fields(type_: VifType) -> tuple[str, ...]:
    """The keys of vif_details that shape a VIF of this type."""
    return SHAPES[type_].__struct_fields__


def read_shape(binding: PortBinding, prefix: str) -> Shape:
    """The shape that a binding gives. ``prefix`` is "binding:" where Neutron wrote it, for errors."""
    type_, details = binding.vif_type, binding.vif_details
    keys = {name: name for name in shape_fields(type_)} | ALIASES.get(type_, {})
    given = [(name, f"{prefix}vif_details.{key}", details.get(key)) for key, name in keys.items()]
    if type_ is VifType.HOSTDEV:
        given.append(("pci_slot", f"{prefix}profile.pci_slot", binding.profile.get("pci_slot")))
    elif type_ is not VifType.ETHERNET and "made_by" in details:
        raise Wrong(
            f"{prefix}vif_details.made_by", details["made_by"], "left out unless vif_type is ethernet"
        )

    found: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name, place, value in given:
        if value is None:
            continue
        if name in found and found[name] != value:
            raise Wrong(place, value, f"left out, or the same as {places[name]}")
        found[name], places[name] = value, place
    if "vlan" in found:
        found["vlan"] = _vlan(found["vlan"])
        if type_ is VifType.DIRECT and found.get("mode") != "passthrough" and "macvtap_source" in details:
            # Neutron's macvtap driver tells the VLAN whose device macvtap_source is already
            del found["vlan"]
    if isinstance(found.get("virtualport"), dict):
        found["virtualport"] = _virtualport(found["virtualport"], binding.id)
    if isinstance(found.get("pci_slot"), str):
        found["pci_slot"] = found["pci_slot"].lower()

    def written(field: str) -> str:
        name = re.split(r"[.\[]", field)[0]
        return places.get(name, f"{prefix}vif_details.{name}") + field[len(name) :]

    try:
        return convert(found | {"type": str(type_)}, SHAPES[type_])
    except ValidationError as error:
        raise explain(error, found, SHAPES[type_], written) from None


def _vlan(value: Any) -> Any:
    """Neutron writes one tag as a number or its digits, and 0 for none."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return {"tags": [value]} if value else None
    return value


def _virtualport(value: dict[str, Any], port_id: str) -> dict[str, Any]:
    """Open vSwitch and MidoNet know the port by its id, unless the binding says otherwise."""
    if value.get("type") in ("openvswitch", "midonet") and value.get("interface_id") is None:
        return value | {"interface_id": port_id}
    return value
