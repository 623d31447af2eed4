"""What the guest sees: a VIF as libvirt's ``<interface>`` or as arguments for QEMU.

Both are built from the typed VIF alone; a plug script never writes either.
"""

from vifplug.guest.libvirt import interface_xml
from vifplug.guest.qemu import qemu_arguments

__all__ = ["interface_xml", "qemu_arguments"]
