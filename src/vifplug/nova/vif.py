"""The os-vif objects that stand for a VIF with a plug script."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from os_vif.objects import vif as osv_vifs
from oslo_versionedobjects import base, fields


@base.VersionedObjectRegistry.register
class VIFPlugScript(osv_vifs.VIFBase):
    """A VIF of one of the eight types; all that is known of it is in the port binding.

    No subclass of another: Nova's own code must not take it for something that it knows.
    """

    VERSION = "1.0"

    fields: ClassVar[dict[str, Any]] = {
        #: JSON of the port binding
        "binding_json": fields.StringField(),
    }

    @property
    def binding(self) -> dict[str, Any]:
        """A copy of it."""
        found: dict[str, Any] = json.loads(self.binding_json)
        return found

    @binding.setter
    def binding(self, binding: dict[str, Any]) -> None:
        self.binding_json = json.dumps(binding, sort_keys=True)


@base.VersionedObjectRegistry.register
class VIFPortProfilePlugScript(osv_vifs.VIFPortProfileBase):
    """What a VIFGeneric has where Nova itself knows of plug scripts (packaging/nova-patch), which finds it by name."""

    VERSION = "1.0"
    PLUGIN = "vifplug"

    fields: ClassVar[dict[str, Any]] = {
        #: JSON of the port's vif_details
        "details": fields.StringField(),
        "queues": fields.IntegerField(default=1),
    }


def is_plugged_by_script(vif: Any) -> bool:
    """Whether an os-vif object is one of ours, in either form."""
    return isinstance(vif, VIFPlugScript) or (
        "port_profile" in vif and isinstance(vif.port_profile, VIFPortProfilePlugScript)
    )


def binding_of(vif: Any) -> dict[str, Any]:
    """The port binding of one of ours, as far as the object knows it.

    ``vifplug_migration``, which ``hooks`` sets, is no field of the object: it is of this moment alone.
    """
    found = vif.binding if isinstance(vif, VIFPlugScript) else _of_generic(vif)
    migration = getattr(vif, "vifplug_migration", None)
    return found | ({"migration": migration} if migration else {})


def _of_generic(vif: Any) -> dict[str, Any]:
    profile = vif.port_profile
    details = json.loads(profile.details)
    lifted = {key: details.pop(key, None) for key in ("mtu", "bandwidth")}  # as vifplug.nova.binding does
    return {key: value for key, value in lifted.items() if value is not None} | {
        "id": vif.id,
        "vif_type": "ethernet",
        "vif_details": details,
        "address": vif.address,
        "devname": vif.vif_name,
        "queues": profile.queues if "queues" in profile else 1,
        "network": _told(vif.network, ("id", "label", "mtu"))
        | {
            "subnets": sorted(
                map(_subnet, vif.network.subnets.objects), key=lambda subnet: subnet.get("cidr", "")
            )
        },
    }


def _subnet(subnet: Any) -> dict[str, Any]:
    found = {key: str(value) for key, value in _told(subnet, ("cidr", "gateway")).items()}
    routes = [
        {"destination": str(route.cidr), "nexthop": str(route.gateway)}
        for route in subnet.routes.objects
        if "gateway" in route
    ]
    addresses = [str(ip.address) for ip in subnet.ips.objects]
    return {
        **found,
        "addresses": addresses,
        "dns": [str(address) for address in subnet.dns],
        "routes": routes,
    }


def _told(found: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Of a versioned object's fields those that are set."""
    values = {name: getattr(found, name) for name in names if name in found}
    return {name: value for name, value in values.items() if value is not None}
