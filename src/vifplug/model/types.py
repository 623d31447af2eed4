"""The name in vif_type: one of the eight, or a sentence on what to bind instead."""

from __future__ import annotations

from typing import Any

from vifplug.errors import InvalidInput, UnsupportedVifType
from vifplug.model.checks import Wrong, nearest, one_of
from vifplug.model.vif import VifType

NAMES = [str(member) for member in VifType]

#: Neutron's words for a port that no guest can use: neutron_lib.api.definitions.portbindings
_NO_BINDING = {
    "unbound": "the port is not bound to a host yet; bind it (binding:host_id) and read it again",
    "binding_failed": "no mechanism driver could bind the port; the Neutron server's log says why",
    "distributed": "the port is of a distributed router and no guest's; plug the port of a guest",
}
#: names of other compute drivers, beside those in the table of historic types
_NOT_LIBVIRT = {"pvm_sea": "PowerVM", "vif": "Nova's own objects", "netvsc": "Hyper-V"}
#: names that os-vif and Neutron's drivers use, and the historic type that each is a kind of
_KIND_OF = {
    "ovs_hybrid": "ovs",
    "ovs_direct": "ovs",
    "ovs_acceleration": "ovs",
    "agilio_ovs": "ovs",
    "contrail_vrouter": "vrouter",
    "vhostuser_ovs": "vhostuser",
    "vhostuser_fp": "vhostuser",
    "vhostuser_vrouter": "vhostuser",
    "routed": "tap",
    "other": "tap",
}


def vif_type(value: Any, field: str) -> VifType:
    """The type that ``value`` names. Raises UnsupportedVifType or InvalidInput, with what to do."""
    if isinstance(value, str):
        if value in NAMES:
            return VifType(value)
        if sentence := _sentence(value.lower()):
            message = f'{field}: "{value}" cannot be plugged: {sentence}'
            raise UnsupportedVifType(message, field=field, value=value, allowed=one_of(NAMES))
    if value is None:
        message = f"{field} is missing; it must be {one_of(NAMES)}"
        raise InvalidInput(message, field=field, value=None, allowed=one_of(NAMES))
    raise Wrong(field, value, one_of(NAMES), nearest(value, NAMES) if isinstance(value, str) else "")


def _sentence(name: str) -> str | None:
    """Why a known name is none of the eight; None for an unknown one."""
    from vifplug.model.historic import TABLE

    if name in NAMES:
        return f'write "{name}" in lower case'
    if name in _NO_BINDING:
        return _NO_BINDING[name]
    rows = [row for row in TABLE if row.nova_type == _KIND_OF.get(name, name)]
    owner = _NOT_LIBVIRT.get(name) or next((row.notes for row in rows if row.vif_type is None), None)
    if owner:
        return f"it belongs to {owner}, not to libvirt, whose types are {', '.join(NAMES)}"
    types: dict[str | None, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.plug_script is not None):
        types.setdefault(row.plug_script, []).append(f'"{row.vif_type}"')
    ways = [f"{' or '.join(dict.fromkeys(names))} {_with(script)}" for script, names in types.items()]
    return f"bind {', or '.join(ways)}" if ways else None


def _with(script: str | None) -> str:
    return f'with vif_plug_script "{script}"' if script else "without a script"
