"""A VIF as Firecracker's configuration: the body of ``PUT /network-interfaces/ID``.

Source: Firecracker's src/firecracker/swagger/firecracker.yaml and src/vmm/src/devices/virtio/net/tap.rs, as of
August 2026.
"""

from __future__ import annotations

from typing import Any

from vifplug.guest.options import check_options, refuse, refuse_without_libvirt
from vifplug.model.vif import Ethernet, Rate, Vif

_SECOND = 1000  # milliseconds
_KIB = 1024


def firecracker_config(vif: Vif) -> dict[str, Any]:
    """The network interface, with its limits if the VIF has any. Its ``iface_id`` is in the path of the request too.

    Raises InvalidInput where Firecracker cannot do it: it has virtio cards of one queue, on taps.
    """
    check_options(vif)
    if not isinstance(vif.shape, Ethernet):
        refuse_without_libvirt(vif, "Firecracker")
    if vif.shape.made_by == "libvirt":
        refuse(vif, "vif_details.made_by", "libvirt", "there is no libvirt here; say vifplug or script")
    if vif.model != "virtio":
        refuse(vif, "model", vif.model, "Firecracker has virtio alone")
    if vif.queues > 1:
        refuse(vif, "queues", vif.queues, "Firecracker opens a tap of one queue")
    for field in ("driver", "boot_order", "link_state"):
        value = getattr(vif, field)
        if value is not None and value != "up":
            refuse(vif, field, value, "Firecracker has no such setting")
    # an id there has letters, digits and underscores
    config: dict[str, Any] = {"iface_id": f"vif_{vif.id.replace('-', '_')}", "host_dev_name": vif.devname}
    if vif.address is not None:
        config["guest_mac"] = vif.address
    if vif.mtu is not None:
        config["mtu"] = vif.mtu
    if vif.bandwidth is not None:
        for name, direction in (("rx_rate_limiter", "inbound"), ("tx_rate_limiter", "outbound")):
            rate = getattr(vif.bandwidth, direction)
            if rate is not None:
                config[name] = {"bandwidth": _bucket(vif, f"bandwidth.{direction}", rate)}
    return config


def _bucket(vif: Vif, field: str, rate: Rate) -> dict[str, int]:
    """As many tokens as bytes that may pass in the second that it takes to refill."""
    for name in ("peak", "floor"):
        if (value := getattr(rate, name)) is not None:
            refuse(vif, f"{field}.{name}", value, "Firecracker knows an average and a burst")
    bucket = {"size": rate.average * _KIB, "refill_time": _SECOND}
    if rate.burst is not None:
        bucket["one_time_burst"] = rate.burst * _KIB
    return bucket
