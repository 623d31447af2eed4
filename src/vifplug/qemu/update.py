"""A changed binding brought to a QEMU that runs and has the VIF."""

from __future__ import annotations

from msgspec import Struct

from ..errors import NotPlugged, QemuRefused
from ..guest.live import refuse_fixed
from ..host.host import Binding, Host
from ..model import Vif, read_binding
from .hotplug import devices, parts_of, set_link
from .qmp import Qmp


class Updated(Struct, frozen=True, kw_only=True):
    """The answer of update."""

    id: str
    #: QEMU's name of it
    device: str
    #: False when all was so already
    changed: bool


def update(host: Host, qmp: Qmp, binding: Binding, *, seconds: float | None = None) -> Updated:
    """Bring a VIF that a running QEMU has to a changed binding; its guest keeps it.

    The network's side is Host.update's, and the link's state QEMU's. A guest is told the MTU when its device is
    made, and not before. ``seconds``: the plug script's deadline.

    Raises NotPlugged when QEMU does not have the VIF; UpdateRefused, naming the fields, for what cannot be changed
    on a guest that runs; what Host.update raises; QemuRefused when all is as before; and QemuUnreachable when nobody
    knows what the guest has: update it again.
    """
    vif = binding if isinstance(binding, Vif) else read_binding(binding)
    device = parts_of(vif)[-1].id
    if device not in devices(qmp):
        raise NotPlugged(f"QEMU has no device {device}, of VIF {vif.id}: attach it", vif_id=vif.id)
    before = host.show(vif.id).request
    refuse_fixed(before, vif)
    plugged = host.update(vif, seconds=seconds)
    try:
        set_link(qmp, device, up=vif.link_state != "down")
    except QemuRefused:
        host.update(before)
        raise
    return Updated(id=vif.id, device=device, changed=plugged.changed)
