"""What Nova knows of a VIF and of its guest, as a port binding.

The binding is the same whenever Nova plugs the VIF: at spawn, when nova-compute starts anew beside a running
guest, and at the end of a live migration. What changes by itself is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model import VifType
from ..model.nova import network_of

#: of the eight, those that Nova has a meaning of its own for: ours only where a plug script is named
_SHARED = {"bridge", "vhostuser"}
#: types whose device libvirt shapes, and that vhost or QEMU may serve (vifplug.guest.options)
_BY_LIBVIRT = {"ethernet", "bridge", "network", "direct"}
_ONE_QUEUE = {"hostdev", "user"}
#: the kernel's limit for a tap (MAX_TAP_QUEUES in drivers/net/tap.c)
_MOST_QUEUES = 256
#: keys that Nova and Neutron put into a binding's profile while a guest migrates
_PASSING = {"migrating_to"}


def is_ours(vif: Mapping[str, Any]) -> bool:
    """Whether a VIF of Nova's is plugged by vifplug: of one of the eight types, and with a plug script where
    Nova itself knows that type."""
    vif_type = vif.get("type")
    if vif_type not in list(VifType):
        return False
    return vif_type not in _SHARED or bool((vif.get("details") or {}).get("vif_plug_script"))


def binding_of(vif: Mapping[str, Any]) -> dict[str, Any]:
    """The port binding of a VIF (nova.network.model.VIF), without what only its guest says.

    Raises InvalidInput where the VIF is not of Nova's form.
    """
    network = network_of(vif)
    if "subnets" in network:  # Neutron tells them in no order
        network["subnets"].sort(key=lambda subnet: str(subnet.get("cidr")))
    profile = {key: value for key, value in (vif.get("profile") or {}).items() if key not in _PASSING}
    details = dict(vif.get("details") or {})
    found = {
        "id": vif["id"],
        "vif_type": vif["type"],
        "mtu": details.pop("mtu", None),  # there it is a detail, whose change is the script's business
        "vif_details": details,
        "address": vif.get("address"),
        "devname": vif.get("devname"),
        "vnic_type": vif.get("vnic_type"),
        "profile": profile,
        "network": network,
    }
    return {key: value for key, value in found.items() if value not in (None, {})}


def add_instance(binding: dict[str, Any], info: Any) -> None:
    """``info``: os_vif.objects.instance_info.InstanceInfo. Its name is the domain's, which never changes; what
    a user calls the instance may."""
    project_id = info.project_id if "project_id" in info else None
    found = {"id": info.uuid, "name": info.name, "project_id": project_id}
    binding["instance"] = {key: value for key, value in found.items() if value is not None}


def add_guest(binding: dict[str, Any], conf: Any, tx_queue_size: int | None) -> None:
    """What flavor, image and nova.conf say of the guest's device.

    ``conf``: the nova.virt.libvirt.config.LibvirtConfigGuestInterface that LibvirtGenericVIFDriver.get_base_config
    made, with the flavor's bandwidth in it. ``tx_queue_size``: nova.conf's, in packets.
    """
    vif_type = binding["vif_type"]
    virtio = (conf.model or "virtio") == "virtio"
    if vif_type != "hostdev" and conf.model:
        binding["model"] = conf.model
    if vif_type not in _ONE_QUEUE and virtio and (conf.vhost_queues or 1) > 1:
        binding["queues"] = min(int(conf.vhost_queues), _MOST_QUEUES)
    if vif_type != "hostdev" and virtio:
        driver = {
            "name": conf.driver_name if vif_type in _BY_LIBVIRT else None,
            "rx_queue_size": conf.vhost_rx_queue_size,
            "tx_queue_size": tx_queue_size if vif_type in ("vhostuser", "vdpa") else None,
            "packed": True if conf.driver_packed else None,
        }
        if driver := {key: value for key, value in driver.items() if value is not None}:
            binding["driver"] = driver
    if vif_type in _BY_LIBVIRT:
        told = binding["vif_details"].pop("bandwidth", None)  # else it is for the script
        if bandwidth := _bandwidth(told if isinstance(told, Mapping) else {}, conf):
            binding["bandwidth"] = bandwidth


def _bandwidth(by_neutron: Mapping[str, Any], conf: Any) -> dict[str, dict[str, int]]:
    """The flavor's limit and that of Neutron's QoS: where both say something of a direction, the lower holds."""
    found: dict[str, dict[str, int]] = {}
    for direction in ("inbound", "outbound"):
        values = {key: getattr(conf, f"vif_{direction}_{key}") for key in ("average", "peak", "burst")}
        by_flavor = {key: int(value) for key, value in values.items() if value}
        rates = [rate for rate in (by_flavor, by_neutron.get(direction)) if rate and "average" in rate]
        if rates:
            found[direction] = dict(min(rates, key=lambda rate: rate["average"]))
    return found
