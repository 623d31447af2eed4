"""A VIF as Cloud Hypervisor's configuration: what belongs into its VmConfig, and into ``vm.add-net`` and its like.

Source: Cloud Hypervisor's vmm/src/api/openapi/cloud-hypervisor.yaml and vmm/src/config.rs, as of August 2026.
"""

from __future__ import annotations

from typing import Any

from vifplug.guest.options import check_card, check_options, need, refuse, refuse_without_libvirt, tells_mtu
from vifplug.model.vif import Bridge, Direct, Ethernet, Hostdev, Network, User, Vdpa, Vhostuser, Vif

#: by the key in VmConfig, the call that adds one to a guest that runs
HOT_PLUG = {"net": "vm.add-net", "vdpa": "vm.add-vdpa", "devices": "vm.add-device"}


def cloud_hypervisor_config(vif: Vif) -> tuple[str, dict[str, Any]]:
    """The key in VmConfig under which the device is listed (``net``, ``vdpa``, ``devices``), and its entry there.

    The same entry, sent to ``HOT_PLUG[key]`` of its API, gives it to a guest that runs. A vhostuser guest must have
    its memory shared (``--memory shared=on``).

    Raises InvalidInput where the VIF lacks what its type needs, and where Cloud Hypervisor cannot do it.
    """
    check_options(vif)
    name = f"vif-{vif.id}"
    if not isinstance(vif.shape, Hostdev) and vif.model != "virtio":
        refuse(vif, "model", vif.model, "Cloud Hypervisor has virtio alone")
    if vif.bandwidth is not None:
        why = "Cloud Hypervisor limits both directions alike; leave that to the plug script"
        refuse(vif, "bandwidth", vif.bandwidth, why)
    for field in ("driver", "boot_order", "link_state"):
        value = getattr(vif, field)
        if value is not None and value != "up":
            refuse(vif, field, value, "Cloud Hypervisor has no such setting for one card")
    match vif.shape:
        case Ethernet():
            if vif.shape.made_by == "libvirt":
                refuse(
                    vif, "vif_details.made_by", "libvirt", "there is no libvirt here; say vifplug or script"
                )
            return "net", _net(vif, {"tap": vif.devname})
        case Vhostuser():
            socket = need(vif, "vif_details.path", vif.shape.path)
            mode = "Server" if vif.shape.mode == "server" else "Client"
            return "net", _net(vif, {"vhost_user": True, "vhost_socket": socket, "vhost_mode": mode})
        case Vdpa():
            path = need(vif, "vif_details.device", vif.shape.device)
            return "vdpa", {"id": name, "path": path, "num_queues": 2 * vif.queues}
        case Hostdev():
            slot = need(vif, "vif_details.pci_slot", vif.shape.pci_slot)
            if vif.shape.managed:
                refuse(
                    vif,
                    "vif_details.managed",
                    True,
                    "nobody takes the card from its driver; bind it to vfio-pci first and say managed false",
                )
            check_card(vif, vif.shape)
            return "devices", {"id": name, "path": f"/sys/bus/pci/devices/{slot}/"}
        case Bridge() | Network() | Direct() | User():
            return refuse_without_libvirt(vif, "Cloud Hypervisor")


def _net(vif: Vif, backend: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": f"vif-{vif.id}", **backend, "num_queues": 2 * vif.queues}
    if vif.address is not None:
        entry["mac"] = vif.address
    if vif.mtu is not None and tells_mtu(vif):
        entry["mtu"] = vif.mtu
    return entry
