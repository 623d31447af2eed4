"""The os-vif plugin ``vifplug``: plugs through vifplugd, so that nova-compute needs no privilege.

os_vif.initialize() in nova-compute loads it by its entry point; Nova is met in ``hooks``, at that moment.
"""

from __future__ import annotations

import logging
import sys
import time
from functools import partial
from typing import Any

from os_vif import objects
from os_vif import plugin as osv_plugin
from oslo_config import cfg

from ..client import Client
from ..errors import BadReply, DaemonError, NotPlugged, VifInUse, VifplugError
from ..model import Vif, VifType, read_binding
from ..model.reply import ANSWERS
from . import binding as bindings
from .patience import persistently
from .vif import VIFPlugScript, binding_of

_LOG = logging.getLogger(__name__)

OPTIONS = [
    cfg.StrOpt("socket", help="vifplugd's socket. Unset: VIFPLUG_SOCKET, else /run/vifplug/vifplugd.sock."),
    cfg.FloatOpt(
        "patience",
        default=60.0,
        min=0,
        help="Seconds for which vifplugd is asked again while it is away, being restarted, or too busy.",
    ),
    cfg.BoolOpt(
        "allow_untested_nova",
        default=False,
        help="Also work with a release of Nova that vifplug was not tested with, if the code that it meets "
        "looks as it should.",
    ),
]


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo.config's sample generator."""
    return [("os_vif_vifplug", OPTIONS)]


class VifplugPlugin(osv_plugin.PluginBase):  # type: ignore[misc,unused-ignore]  # os-vif's older releases have no types
    """Plug and unplug of what ``vif`` describes. Errors are vifplug's own; os-vif makes its exceptions of them."""

    CONFIG_OPTS = OPTIONS

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._client = Client(config.socket)
        if "nova" in sys.modules:  # os-vif has other users, which bring VIFPlugScript objects of their own
            from . import hooks

            hooks.install(allow_untested=config.allow_untested_nova, activate=self.activate)

    def describe(self) -> Any:
        found = [
            objects.host_info.HostVIFInfo(vif_object_name=name, min_version="1.0", max_version="1.0")
            for name in (VIFPlugScript.__name__, objects.vif.VIFGeneric.__name__)
        ]
        return objects.host_info.HostPluginInfo(plugin_name="vifplug", vif_info=found)

    def plug(self, vif: Any, instance_info: Any) -> None:
        binding = binding_of(vif)
        bindings.add_instance(binding, instance_info)
        try:
            plugged = persistently(lambda: self._client.plug(binding), self.config.patience)
        except VifInUse as error:
            self._check_same_guest(vif.id, instance_info.uuid, error)
            _LOG.warning("VIF %s stays as it was plugged until its guest is started anew: %s", vif.id, error)
            return
        if difference := _difference(read_binding(binding), plugged.vif):
            if plugged.changed:
                self._client.unplug(vif.id, generation=plugged.generation)
            raise BadReply(
                f"the plug script answered {difference}, and Nova writes the guest's XML before it plugs: the "
                "mechanism driver has to say so in vif_details",
                vif_id=vif.id,
            )

    def unplug(self, vif: Any, instance_info: Any) -> None:  # noqa: ARG002 (os-vif's signature)
        try:
            answer = persistently(lambda: self._client.unplug(vif.id), self.config.patience)
        except DaemonError:
            raise
        except VifplugError as error:
            if not self._is_gone(vif.id):
                raise
            _LOG.warning(
                "VIF %s is unplugged; vifplugd keeps on record what is left to do: %s", vif.id, error
            )
            return
        for note in answer.notes:
            _LOG.warning("VIF %s: %s", vif.id, note)

    def activate(self, vif_ids: list[str]) -> None:
        """The guest of these VIFs has migrated to this host. What cannot be said now the next plug says."""
        ends = time.monotonic() + self.config.patience
        for vif_id in vif_ids:
            try:
                left = max(0.0, ends - time.monotonic())
                persistently(partial(self._client.activate, vif_id), left)
            except VifplugError as error:
                _LOG.error(
                    "VIF %s: its guest is on this host, and vifplugd or the plug script could not be told so: %s"
                    " - the next start of nova-compute tells it, or 'vifplug activate'",
                    vif_id,
                    error,
                )

    def _check_same_guest(self, vif_id: str, instance_id: str, error: VifInUse) -> None:
        """A change that waits for its guest's end is fine; another guest's device is not."""
        if self._client.show(vif_id).request.instance.id != instance_id:
            raise error

    def _is_gone(self, vif_id: str) -> bool:
        """Whether the VIF is unplugged, though its backend may still have to be told (a debt on record)."""
        try:
            return bool(self._client.show(vif_id).state == "debt")
        except NotPlugged:
            return True


def _difference(wanted: Vif, plugged: Any) -> str | None:
    """The first thing that a script answered and the guest's XML shows, other than the binding has it."""
    shape = plugged.shape
    for name in ANSWERS[VifType(wanted.type)]:
        if shape[name] != getattr(wanted.shape, name):
            return f"{name}={shape[name]}"
    for name in ("mtu", "devname"):
        if plugged[name] != getattr(wanted, name):
            return f"{name}={plugged[name]}"
    return None
