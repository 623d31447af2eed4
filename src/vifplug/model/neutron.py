"""A port as Neutron's REST API writes it (GET /v2.0/ports/{id}, read with an administrator's rights).

Formats: the api-ref of Networking v2 ("ports", "port binding extended attributes") and
neutron_lib.api.definitions.portbindings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from vifplug.errors import InvalidInput
from vifplug.model.checks import check_ip
from vifplug.model.explain import convert
from vifplug.model.types import vif_type
from vifplug.model.vif import Bandwidth, Instance, NetworkInfo, PortBinding, Subnet
from vifplug.model.words import Mac, PortId, Text

_MARKS = ("mac_address", "network_id", "fixed_ips", "device_owner")


class _FixedIp(Struct, frozen=True, kw_only=True):
    ip_address: str
    subnet_id: Text | None = None

    def __post_init__(self) -> None:
        check_ip("ip_address", self.ip_address)


class Port(Struct, frozen=True, kw_only=True):
    """What vifplug reads of a Neutron port; every other attribute is accepted and ignored."""

    id: PortId
    vif_type: Any = field(name="binding:vif_type", default=None)
    mac_address: Mac | None = None
    network_id: Text | None = None
    project_id: Text | None = None
    tenant_id: Text | None = None
    #: the instance's id
    device_id: Text | None = None
    fixed_ips: list[_FixedIp] | None = None
    vif_details: dict[str, Any] | None = field(name="binding:vif_details", default=None)
    profile: dict[str, Any] | None = field(name="binding:profile", default=None)
    vnic_type: Text | None = field(name="binding:vnic_type", default=None)


_ATTRIBUTES = Port.__struct_encode_fields__


def is_port(value: Mapping[str, Any]) -> bool:
    """Whether an object is a Neutron port rather than a binding in vifplug's own words."""
    return "vif_type" not in value and any(str(key).startswith("binding:") or key in _MARKS for key in value)


def attributes(value: Mapping[str, Any]) -> dict[str, Any]:
    """Those that vifplug reads, without the ones that Neutron leaves empty (null or "")."""
    return {name: value[name] for name in _ATTRIBUTES if value.get(name) not in (None, "")}


def read_port(value: dict[str, Any]) -> PortBinding:
    """The port's binding. Raises InvalidInput with Neutron's own names of the fields."""
    name = "binding:vif_type"
    if name not in value:
        raise InvalidInput(
            f"{name} is missing: Neutron shows it to administrators and services alone; read the port as one of them",
            field=name,
            value=None,
            allowed="a port with its binding",
        )
    type_ = vif_type(value[name], name)
    port: Port = convert(value, Port)
    details = dict(port.vif_details or {})
    return PortBinding(
        id=port.id,
        vif_type=type_,
        bandwidth=_bandwidth(details),
        vif_details=details,
        address=port.mac_address,
        network=NetworkInfo(id=port.network_id, subnets=_subnets(port.fixed_ips or [])),
        instance=Instance(id=port.device_id, project_id=port.project_id or port.tenant_id),
        vnic_type=port.vnic_type,
        profile=port.profile or {},
    )


def _bandwidth(details: dict[str, Any]) -> Bandwidth | None:
    """Taken out of vif_details, where vifplug's mechanism drivers put the limits of the port's QoS policy: Neutron
    has no other place for it. A detail of that name in another form is the script's own."""
    given = details.get("bandwidth")
    if not isinstance(given, dict) or not given or given.keys() - {"inbound", "outbound"}:
        return None
    found: Bandwidth = convert(details.pop("bandwidth"), Bandwidth, "binding:vif_details.bandwidth")
    return found


def _subnets(fixed_ips: list[_FixedIp]) -> list[Subnet]:
    """One subnet for each id, in Neutron's order."""
    addresses: dict[str | None, list[str]] = {}
    for fixed_ip in fixed_ips:
        addresses.setdefault(fixed_ip.subnet_id, []).append(fixed_ip.ip_address)
    return [Subnet(id=subnet_id, addresses=found) for subnet_id, found in addresses.items()]
