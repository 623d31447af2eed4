"""The guest's XML, as Nova handles it."""

from __future__ import annotations

import copy
from typing import Any

from lxml import etree  # type: ignore[import-untyped]  # it ships no types
from nova.virt.libvirt import config as vconfig

from ..guest import interface_xml
from ..model import Vif
from ..model.vif import Bridge, Direct, Hostdev, Vdpa, Vhostuser


class VifplugInterface(vconfig.LibvirtConfigGuestInterface):
    """An ``<interface>`` that vifplug writes. Its attributes are what Nova reads of one.

    Nova's own class has no words for a libvirt network, user-mode networking, a bridge's VLAN or an unmanaged
    tap (before release 33).
    """

    def __init__(self, vif: Vif) -> None:
        super().__init__()
        self.vif = vif
        shape = vif.shape
        self.net_type = str(vif.type)
        self.mac_addr = vif.address
        self.mtu = vif.mtu
        if not isinstance(shape, Hostdev):
            self.model = vif.model
        if not isinstance(shape, Hostdev | Vdpa):
            self.target_dev = vif.devname
        match shape:
            case Bridge():
                self.source_dev: str | None = shape.bridge
            case Direct():
                self.source_dev, self.source_mode = shape.source_dev, shape.mode
            case Hostdev():
                self.source_dev = shape.pci_slot
            case Vdpa():
                self.source_dev = shape.device
            case Vhostuser():
                self.vhostuser_type, self.vhostuser_path, self.vhostuser_mode = "unix", shape.path, shape.mode
            case _:
                pass
        self._text = interface_xml(vif)  # now: an error belongs to whoever asks for the configuration

    def format_dom(self) -> Any:
        dom = etree.fromstring(self._text, etree.XMLParser(remove_blank_text=True))
        if getattr(self, "driver_iommu", False):  # until release 33 Nova sets it late, for encrypted guests
            driver = dom.find("driver")
            if driver is None:
                driver = etree.SubElement(dom, "driver")
            driver.set("iommu", "on")
        return dom

    def found(self, guest: Any, from_persistent_config: bool) -> VifplugInterface | None:
        """This interface as a guest (nova.virt.libvirt.guest.Guest) has it, found by its MAC address; None where
        it has not. Nova reads an interface of libvirt's and writes it again to detach it: its own class would lose
        what it does not know."""
        devices = guest.get_all_devices(vconfig.LibvirtConfigGuestInterface, from_persistent_config)
        for device in devices:
            if (device.mac_addr or "").lower() == self.mac_addr:
                found = copy.copy(self)
                found.alias, found.device_addr = device.alias, device.device_addr
                return found
        return None
