"""VIFs in QEMU without libvirt: its arguments, its taps by descriptor, and hot-plug over its monitor::

    from vifplug import Host
    from vifplug.qemu import Qmp, attach, detach

    with Host() as host, Qmp("/run/guest/qmp.sock") as qmp:
        attach(host, qmp, binding)     # plugged, and in the guest
        detach(host, qmp, vif_id)      # the guest has let go of it, and it is unplugged

For a guest still to be started, `vifplug.qemu_arguments` gives its arguments, and ``open_tap`` descriptors to inherit.
"""

from ..guest.qemu import qemu_arguments
from .hotplug import Attached, Detached, attach, detach
from .qmp import Qmp
from .taps import open_tap, opened_tap
from .update import Updated, update

__all__ = [
    "Attached",
    "Detached",
    "Qmp",
    "Updated",
    "attach",
    "detach",
    "open_tap",
    "opened_tap",
    "qemu_arguments",
    "update",
]
