"""The releases of Nova that vifplug was tested with, and whether this is one of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from nova.network import neutron, os_vif_util
from nova.virt.libvirt import designer, driver, guest, vif

#: major versions: 29 is 2024.1 (Caracal)
TESTED = range(29, 35)

#: the code that is met, and the parameters that it has in every release tested
_MET: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (os_vif_util, "nova_to_osvif_vif", ("vif",)),
    (neutron.API, "_nw_info_build_network", ("self", "context", "port", "networks", "subnets")),
    (vif.LibvirtGenericVIFDriver, "_plug_os_vif", ("self", "instance", "vif")),
    (vif.LibvirtGenericVIFDriver, "_unplug_os_vif", ("self", "instance", "vif")),
    (
        vif.LibvirtGenericVIFDriver,
        "_get_config_os_vif",
        ("self", "instance", "vif", "image_meta", "flavor", "virt_type", "vnic_type"),
    ),
    (
        vif.LibvirtGenericVIFDriver,
        "get_base_config",
        ("self", "instance", "mac", "image_meta", "flavor", "virt_type", "vnic_type"),
    ),
    (designer, "set_vif_bandwidth_config", ("conf", "flavor")),
    (guest.Guest, "get_interface_by_cfg", ("self", "cfg", "from_persistent_config")),
    (
        driver.LibvirtDriver,
        "post_live_migration_at_destination",
        ("self", "context", "instance", "network_info", "block_migration", "block_device_info"),
    ),
)


def objections(*, allow_untested: bool) -> str | None:
    """Why this Nova is none that vifplug works with; None where it is."""
    found = list(_objections(allow_untested))
    return "; ".join(found) or None


def version() -> str:
    """Of the Nova that is installed."""
    return metadata.version("nova")


def _objections(allow_untested: bool) -> Iterator[str]:
    found = version()
    major = found.split(".", maxsplit=1)[0]
    if not allow_untested and not (major.isdecimal() and int(major) in TESTED):
        yield (
            f"vifplug was tested with Nova {TESTED.start} to {TESTED.stop - 1}, and this is {found}: get a newer"
            " vifplug, or say allow_untested_nova = true in [os_vif_vifplug] of nova.conf"
        )
    for owner, name, parameters in _MET:
        met = getattr(owner, name, None)
        where = f"{owner.__name__}.{name}"
        if met is None:
            yield f"Nova {found} has no {where}"
        elif (has := tuple(inspect.signature(met).parameters)) != parameters:
            yield f"Nova {found} has {where}({', '.join(has)}), not ({', '.join(parameters)})"
