"""One VIF as Nova's network model has it, folded by the table of historic types into a port binding."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from vifplug.errors import InvalidInput, UnsupportedVifType
from vifplug.model.checks import nearest, portable, shown
from vifplug.model.details import ALIASES, shape_fields
from vifplug.model.historic import TABLE, Condition, HistoricType
from vifplug.model.vif import VifType

#: Nova cut every name that it made up at 14 characters (NIC_NAME_LEN)
_NOVA_NAME = 14
_WHOLE = re.compile(r"\{(\w+)\}\Z")

PciLookup = Callable[[str], str]


def fold(
    nova_vif: Mapping[str, Any],
    *,
    instance: Mapping[str, Any] | None = None,
    netdev_of: PciLookup | None = None,
    vdpa_of: PciLookup | None = None,
) -> dict[str, Any]:
    """The port binding, in vifplug's own form, that stands for a VIF of Nova's.

    ``nova_vif`` is one entry of an instance's network info (nova.network.model.VIF as JSON);
    ``instance`` says ``uuid``, ``display_name`` and ``project_id``, which Nova keeps elsewhere.
    ``netdev_of`` and ``vdpa_of`` give the network device and the vDPA device of a PCI address on this
    host, which Nova too looked up when it needed them.

    Raises UnsupportedVifType for a type that no libvirt host has, InvalidInput where the VIF lacks
    what its type needs.
    """
    if not isinstance(nova_vif, Mapping):
        raise InvalidInput(
            f"a VIF of Nova's is an object, not {shown(nova_vif)}", field="", value=shown(nova_vif)
        )
    row, vif_type = find_row(nova_vif)
    facts = _Facts(nova_vif, netdev_of, vdpa_of)
    binding = {
        "id": facts["id"],
        "vif_type": str(vif_type),
        "vif_details": _details(row, vif_type, facts),
        "address": facts.lower("address"),
        "devname": _fill(row.devname, facts),
        "mtu": facts.at("network.meta.mtu"),
        "vnic_type": nova_vif.get("vnic_type"),
        "profile": nova_vif.get("profile"),
        "network": _network(facts),
        "instance": _instance(instance or {}),
    }
    return {key: value for key, value in binding.items() if value not in (None, {}, [])}


def find_row(nova_vif: Mapping[str, Any]) -> tuple[HistoricType, VifType]:
    """The row of the table that holds for a VIF of Nova's, and its type. Raises UnsupportedVifType, saying why."""
    name = nova_vif.get("type")
    rows = [row for row in TABLE if row.nova_type == name]
    # its normal ports were Open vSwitch's own
    if name == "agilio_ovs" and nova_vif.get("vnic_type") != "virtio-forwarder":
        rows = [row for row in TABLE if row.nova_type == "ovs"]
    for row in rows:
        if any(_holds(test, nova_vif) for test in row.selects):
            if row.vif_type is None:
                raise _unsupported(name, f"it belongs to {row.notes}; no libvirt host has it")
            return row, row.vif_type
    if name in (None, "unbound"):
        raise _unsupported(name, "the port is not bound to a host; bind it first")
    if name == "binding_failed":
        raise _unsupported(name, "no mechanism driver could bind the port; the Neutron server's log says why")
    if rows:
        raise _unsupported(name, f"it has no form for vnic_type {shown(nova_vif.get('vnic_type'))}")
    known = list(dict.fromkeys(row.nova_type for row in TABLE))
    hint = nearest(name, known) if isinstance(name, str) else ""
    raise _unsupported(name, f"Nova's types are {', '.join(known)}{hint}")


def network_of(nova_vif: Mapping[str, Any]) -> dict[str, Any]:
    """What a VIF of Nova's says of its network, as a port binding has it under ``network``.

    Raises InvalidInput where it is not of Nova's form.
    """
    return _network(_Facts(nova_vif, None, None))


def _unsupported(name: Any, reason: str) -> UnsupportedVifType:
    return UnsupportedVifType(
        f"type: {shown(name)} cannot be plugged: {reason}", field="type", value=shown(name).strip('"')
    )


def _holds(test: Condition, nova_vif: Mapping[str, Any]) -> bool:
    return all(_at(nova_vif, key) in values for key, values in test.items())


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


class _Facts:
    """What the templates of the table may name, read from one VIF when asked for."""

    #: fact: where it stands in the VIF
    PATHS: Mapping[str, str] = {
        "id": "id",
        "bridge": "network.bridge",
        "interface": "network.meta.interface",
        "socket": "details.vhostuser_socket",
        "macvtap_source": "details.macvtap_source",
        "macvtap_mode": "details.macvtap_mode",
        "profileid": "details.profileid",
        "pci_slot": "profile.pci_slot",
        "managerid": "qbg_params.managerid",
        "typeid": "qbg_params.typeid",
        "typeidversion": "qbg_params.typeidversion",
        "instanceid": "qbg_params.instanceid",
    }

    def __init__(self, nova_vif: Mapping[str, Any], netdev_of: PciLookup | None, vdpa_of: PciLookup | None):
        self._vif = nova_vif
        self._netdev_of = netdev_of
        self._vdpa_of = vdpa_of

    def at(self, path: str) -> Any:
        return _at(self._vif, path)

    def object(self, path: str) -> Mapping[str, Any]:
        value = self.at(path)
        if value is None or isinstance(value, Mapping):
            return value or {}
        raise InvalidInput(f"{path}: {shown(value)} must be an object", field=path, value=portable(value))

    def lower(self, path: str) -> Any:
        value = self.at(path)
        return value.lower() if isinstance(value, str) else value

    def __getitem__(self, name: str) -> Any:
        if name in self.PATHS:
            value = self.at(self.PATHS[name])
            if value in (None, ""):
                raise self._missing(self.PATHS[name])
            # Nova kept the numbers of 802.1Qbg as text
            number = name.startswith(("manager", "type")) and isinstance(value, str) and value.isdecimal()
            return int(value) if number else value
        return getattr(self, f"_{name}")()

    def _missing(self, path: str) -> InvalidInput:
        return InvalidInput(
            f"{path} is missing: a VIF of Nova's type {self.at('type')} needs it", field=path, value=None
        )

    def _name(self, prefix: str) -> str:
        return f"{prefix}{self['id']}"[:_NOVA_NAME]

    def _dev(self) -> str:
        return str(self.at("devname") or self._name("tap"))

    def _eth(self) -> str:
        return "eth" + self._dev()[3:]

    def _vhu(self) -> str:
        return self._name("vhu")

    def _hybrid_bridge(self) -> str:
        return self._name("qbr")

    def _interface_id(self) -> str:
        return str(self.at("ovs_interfaceid") or self["id"])

    def _socket_mode(self) -> str:
        return str(self.at("details.vhostuser_mode") or "server")

    def _vlan(self) -> Any:
        value = self.at("details.vlan")
        return value if value not in (0, "0", "") else None

    def _netdev(self) -> str:
        if self._netdev_of is None:
            raise InvalidInput(
                f"profile.pci_slot: {shown(self['pci_slot'])} must be looked up on this host for type "
                f"{self.at('type')}; pass netdev_of",
                field="profile.pci_slot",
                value=self["pci_slot"],
            )
        return self._netdev_of(self["pci_slot"])

    def _vdpa_device(self) -> str | None:
        """Absent, the script must answer it."""
        return self._vdpa_of(self["pci_slot"]) if self._vdpa_of else None


def _fill(template: Any, facts: _Facts) -> Any:
    """The template with its facts; a template that is one fact gives the fact itself, unaltered."""
    if isinstance(template, Mapping):
        filled = {key: _fill(value, facts) for key, value in template.items()}
        return {key: value for key, value in filled.items() if value is not None}
    found = _WHOLE.match(template)
    return facts[found[1]] if found else template


def _details(row: HistoricType, vif_type: VifType, facts: _Facts) -> dict[str, Any]:
    """Nova's details for the script to read, less what would shape the VIF otherwise than its row says."""
    shaping = {*shape_fields(vif_type), *ALIASES.get(vif_type, {}), "vif_plug_script"}
    details = {key: value for key, value in facts.object("details").items() if key not in shaping}
    if physical_network := facts.at("network.meta.physical_network"):
        details["physical_network"] = physical_network
    if slot := facts.at("profile.pci_slot"):
        details["pci_slot"] = slot
    details |= _fill(row.details, facts)
    if row.plug_script is not None:
        details["vif_plug_script"] = row.plug_script
    return details


def _network(facts: _Facts) -> dict[str, Any]:
    network = {
        "id": facts.at("network.id"),
        "label": facts.at("network.label"),
        "bridge": facts.at("network.bridge"),
        "mtu": facts.at("network.meta.mtu"),
        "project_id": facts.at("network.meta.tenant_id"),
        "subnets": [
            _subnet(subnet, f"network.subnets[{index}]")
            for index, subnet in enumerate(_list(facts.at("network.subnets"), "network.subnets"))
        ],
    }
    return {key: value for key, value in network.items() if value not in (None, "", [])}


def _subnet(subnet: Any, place: str) -> dict[str, Any]:
    found = {
        "cidr": _at(subnet, "cidr"),
        "gateway": _at(subnet, "gateway.address"),
        "addresses": [_at(ip, "address") for ip in _list(_at(subnet, "ips"), f"{place}.ips")],
        "dns": [_at(ip, "address") for ip in _list(_at(subnet, "dns"), f"{place}.dns")],
        "routes": [
            {"destination": _at(route, "cidr"), "nexthop": _at(route, "gateway.address")}
            for route in _list(_at(subnet, "routes"), f"{place}.routes")
        ],
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _list(value: Any, place: str) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise InvalidInput(f"{place}: {shown(value)} must be a list", field=place, value=portable(value))


def _instance(instance: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "id": instance.get("uuid"),
        "name": instance.get("display_name"),
        "project_id": instance.get("project_id"),
    }
    return {key: value for key, value in found.items() if value is not None}
