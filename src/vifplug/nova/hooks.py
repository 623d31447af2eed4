"""Where Nova is met: seven functions of its own, each left as it is for every VIF that is not ours.

=============================================  ==============================================================
nova.network.os_vif_util.nova_to_osvif_vif     makes a VIFPlugScript of our VIFs
LibvirtGenericVIFDriver._get_config_os_vif     gives a VIFPlugScript the guest's XML
LibvirtGenericVIFDriver._plug_os_vif,          add what flavor and image say of the guest's device; make of
LibvirtGenericVIFDriver._unplug_os_vif         vifplug's errors those of Nova's that it treats best
nova.virt.libvirt.guest.Guest                  finds our interface in a guest, to detach it
  .get_interface_by_cfg
nova.network.neutron.API                       lets a binding of type bridge pass, which Nova gave up in
  ._nw_info_build_network                      release 34 for all, plug script or not
LibvirtDriver                                  has VIFs activated when their guest has migrated here
  .post_live_migration_at_destination
=============================================  ==============================================================
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import nova.conf
from nova.compute import task_states
from nova.network import model, os_vif_util

from nova import exception

from ..errors import DaemonError, VifplugError
from ..model import Vif, read_binding
from . import binding as bindings
from .vif import VIFPlugScript, is_plugged_by_script

_LOG = logging.getLogger(__name__)
_CONF = nova.conf.CONF
_PLUGIN = "vifplug"
#: the attribute of a function of ours that holds the one of Nova's that it stands before
_NOVAS = "__vifplug_original__"

Activate = Callable[[list[str]], None]


def install(*, allow_untested: bool, activate: Activate) -> None:
    """Meet Nova, unless that is done already or its compute driver is another than libvirt.

    ``activate``: tells vifplugd that the guest of these VIFs (their ids) is on this host now.

    Where this Nova is not one that vifplug knows, our VIFs are refused with the reason, and it is in the log:
    nova-compute itself starts, and all other VIFs are as before.
    """
    driver = _CONF.compute_driver
    if driver is not None and not driver.startswith("libvirt."):
        return
    try:
        from . import releases

        reason = releases.objections(allow_untested=allow_untested)
    except Exception as error:  # whatever Nova has become, nova-compute must start
        _LOG.debug("Nova cannot be examined", exc_info=True)
        reason = f"this Nova cannot be examined ({type(error).__name__}: {error}); update vifplug"
    if reason is not None:
        _LOG.critical("VIFs with a plug script are refused on this host: %s", reason)
        _replace(os_vif_util, "nova_to_osvif_vif", lambda original: _refusing(original, reason))
        return

    from nova.network import neutron
    from nova.virt.libvirt import driver as libvirt_driver
    from nova.virt.libvirt import guest, vif

    _replace(os_vif_util, "nova_to_osvif_vif", _converting)
    _replace(neutron.API, "_nw_info_build_network", _building_network)
    _replace(vif.LibvirtGenericVIFDriver, "_get_config_os_vif", _configuring)
    _replace(vif.LibvirtGenericVIFDriver, "_plug_os_vif", _plugging)
    _replace(vif.LibvirtGenericVIFDriver, "_unplug_os_vif", _unplugging)
    _replace(guest.Guest, "get_interface_by_cfg", _finding)
    _replace(
        libvirt_driver.LibvirtDriver,
        "post_live_migration_at_destination",
        lambda original: _arriving(original, activate),
    )


def _replace(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    now = getattr(owner, name, None)
    original = getattr(now, _NOVAS, now)  # os_vif.initialize(reset=True) loads us again
    ours = made(original)
    if original is not None:
        functools.update_wrapper(ours, original)
    setattr(ours, _NOVAS, original)
    setattr(owner, name, ours)


# --- one function for each that is met ------------------------------------------------------------


def _refusing(original: Any, reason: str) -> Any:
    def nova_to_osvif_vif(vif: Any, *more: Any, **named: Any) -> Any:
        if bindings.is_ours(vif):
            raise exception.VirtualInterfacePlugException(
                f"VIF {vif['id']} has a plug script, and vifplug refuses this Nova: {reason}"
            )
        return original(vif, *more, **named)

    return nova_to_osvif_vif


def _converting(original: Any) -> Any:
    native = hasattr(model, "VIF_DETAILS_PLUG_SCRIPT")  # packaging/nova-patch

    def nova_to_osvif_vif(vif: Any) -> Any:
        if not bindings.is_ours(vif) or (native and vif["type"] == "ethernet"):
            return original(vif)
        found = VIFPlugScript(
            id=vif["id"],
            address=vif["address"],
            plugin=_PLUGIN,
            active=bool(vif["active"]),
            preserve_on_delete=bool(vif["preserve_on_delete"]),
            has_traffic_filtering=vif.is_neutron_filtering_enabled(),
        )
        try:
            found.binding = bindings.binding_of(vif)
        except VifplugError as error:
            raise _for_nova(error, vif["id"]) from None
        return found

    return nova_to_osvif_vif


def _configuring(original: Any) -> Any:
    def _get_config_os_vif(  # noqa: PLR0917 (Nova's)
        self: Any, instance: Any, vif: Any, image_meta: Any, flavor: Any, virt_type: Any, vnic_type: Any
    ) -> Any:
        if not isinstance(vif, VIFPlugScript):
            return original(self, instance, vif, image_meta, flavor, virt_type, vnic_type)
        from .config import VifplugInterface

        found = _with_guest(self, instance, vif, image_meta, flavor, virt_type)
        try:
            return VifplugInterface(_read(found))
        except VifplugError as error:
            raise _for_nova(error, vif.id) from None

    return _get_config_os_vif


def _plugging(original: Any) -> Any:
    def _plug_os_vif(self: Any, instance: Any, vif: Any) -> Any:
        if not is_plugged_by_script(vif):
            return original(self, instance, vif)
        virt_type = _CONF.libvirt.virt_type
        try:
            if isinstance(vif, VIFPlugScript):
                vif.binding = _with_guest(
                    self, instance, vif, instance.image_meta, instance.flavor, virt_type
                )
            vif.vifplug_migration = _migration_of(instance)
            return original(self, instance, vif)
        except exception.InternalError as error:
            reason = _cause(error)
            if reason is None:
                raise
            raise _for_nova(reason, vif.id) from error

    return _plug_os_vif


def _unplugging(original: Any) -> Any:
    def _unplug_os_vif(self: Any, instance: Any, vif: Any) -> Any:
        try:
            return original(self, instance, vif)
        except exception.InternalError as error:
            reason = _cause(error) if is_plugged_by_script(vif) else None
            if reason is None:
                raise
            raise exception.VirtualInterfaceUnplugException(reason=f"VIF {vif.id}: {reason}") from error

    return _unplug_os_vif


def _finding(original: Any) -> Any:
    def get_interface_by_cfg(self: Any, cfg: Any, from_persistent_config: bool = False) -> Any:
        from .config import VifplugInterface

        if isinstance(cfg, VifplugInterface):
            return cfg.found(self, from_persistent_config)
        return original(self, cfg, from_persistent_config)

    return get_interface_by_cfg


def _building_network(original: Any) -> Any:
    def _nw_info_build_network(self: Any, context: Any, port: Any, networks: Any, subnets: Any) -> Any:
        details = port.get("binding:vif_details") or {}
        if port.get("binding:vif_type") == "bridge" and details.get("vif_plug_script"):
            port = {
                **port,
                "binding:vif_type": "ethernet",
            }  # any that Nova has no opinion on: vif_details say it all
        return original(self, context, port, networks, subnets)

    return _nw_info_build_network


def _arriving(original: Any, activate: Activate) -> Any:
    def post_live_migration_at_destination(  # noqa: PLR0917 (Nova's)
        self: Any,
        context: Any,
        instance: Any,
        network_info: Any,
        block_migration: bool = False,
        block_device_info: Any = None,
    ) -> Any:
        try:
            return original(self, context, instance, network_info, block_migration, block_device_info)
        finally:  # the guest is here, whatever else went wrong
            try:
                activate([vif["id"] for vif in network_info if bindings.is_ours(vif)])
            except Exception:  # nothing here may fail Nova's migration
                _LOG.exception("vifplugd was not told that the guest of %s is here", instance.uuid)

    return post_live_migration_at_destination


# --- what they share ------------------------------------------------------------------------------


def _with_guest(  # noqa: PLR0917 (all of them Nova's)
    driver: Any, instance: Any, vif: VIFPlugScript, image_meta: Any, flavor: Any, virt_type: Any
) -> dict[str, Any]:
    """The VIF's binding with what flavor, image and nova.conf say of the guest's device."""
    from nova.virt.libvirt import designer

    found = vif.binding
    vnic_type = found.get("vnic_type", "normal")
    conf = driver.get_base_config(instance, vif.address, image_meta, flavor, virt_type, vnic_type)
    designer.set_vif_bandwidth_config(conf, flavor)
    bindings.add_guest(found, conf, _CONF.libvirt.tx_queue_size)
    return found


def _migration_of(instance: Any) -> dict[str, str] | None:
    """The part that this host plays in a live migration of the guest: Nova plugs at the destination while the
    instance is still another host's (ComputeManager.pre_live_migration)."""
    told = [getattr(instance, name) for name in ("task_state", "host") if instance.obj_attr_is_set(name)]
    if len(told) < 2 or told[0] != task_states.MIGRATING or told[1] in (None, _CONF.host):
        return None
    return {"role": "destination", "phase": "prepare"}


def _read(binding: dict[str, Any]) -> Vif:
    return read_binding(binding)


def _cause(error: BaseException | None) -> VifplugError | None:
    """The error of ours that os-vif, and then Nova, made theirs of."""
    while error is not None and not isinstance(error, VifplugError):
        error = error.__context__
    return error


def _for_nova(error: VifplugError, vif_id: str) -> Any:
    """The exception of Nova's that says the same.

    While it starts, nova-compute sets an instance to ERROR for a VirtualInterfacePlugException and goes on; any
    other ends it. So the trouble of one VIF is that; where vifplugd itself is missing no instance is to
    blame, and nova-compute does best to end, loudly, and be started again. To all else both are the same: a
    build goes to another host, an attachment or migration is rolled back.
    """
    message = f"VIF {vif_id} cannot be plugged: {error.message}"
    if isinstance(error, DaemonError):
        return exception.InternalError(message)
    return exception.VirtualInterfacePlugException(message)
