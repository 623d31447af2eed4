"""A VIF as libvirt's ``<interface>``: one function for each VIF type.

Sources: libvirt's formatdomain page ("Network interfaces") and its RELAX NG schema
``domaincommon.rng``, both as of libvirt 9.0. The children stand in the order in which libvirt itself
writes them, so that a diff against ``virsh dumpxml`` shows only what libvirt added.

Where libvirt would choose, and has chosen differently over time or by chance, the choice is written
out: who makes an ethernet tap (the default changed in 9.5), the id of an Open vSwitch or 802.1Qbg
port (random when left out), managed PCI devices, the mode of a macvtap.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from vifplug.guest.options import check_options, need, refuse, tells_mtu
from vifplug.model.vif import (
    Bandwidth,
    Bridge,
    Direct,
    Driver,
    Ethernet,
    Hostdev,
    MidonetPort,
    Network,
    OpenvswitchPort,
    Port8021Qbg,
    Port8021Qbh,
    Rate,
    User,
    Vdpa,
    Vhostuser,
    Vif,
    VirtualPort,
    Vlan,
)

# libvirt empties a target name with such a prefix, taking it for one that it made up itself
_CLEARED_PREFIXES = ("vnet", "vif", "macvtap", "macvlan")
# libvirt's own pattern for device names is narrower than the kernel's rule (no "@")
_DEVICE = re.compile(r"\A[a-zA-Z0-9_.\-\\:/]+\Z")
# what XML 1.0 cannot carry in an attribute, or would hand on changed
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")


def interface_xml(vif: Vif) -> str:
    """The guest's ``<interface>`` element, indented, without an XML declaration; ends with a newline.

    The same VIF gives the same text, byte for byte. Raises InvalidInput where the VIF lacks what its
    type needs (``path`` for vhostuser, when no script answered it), and where it asks for something
    that libvirt would drop or refuse for that type; ``vifplug.guest.options`` has the rules.
    """
    check_options(vif)
    root = ET.Element("interface", {"type": vif.type.value})
    if vif.address is not None:
        ET.SubElement(root, "mac", {"address": vif.address})
    _add_connection(vif, root)
    _add_device(vif, root)
    _check_text(vif, root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


# --- how it is connected: one function for each type ----------------------------------------------


def _add_connection(vif: Vif, root: ET.Element) -> None:
    match vif.shape:
        case Ethernet():
            _ethernet(vif.shape, vif, root)
        case Bridge():
            _bridge(vif.shape, vif, root)
        case Network():
            _network(vif.shape, vif, root)
        case Direct():
            _direct(vif.shape, vif, root)
        case Hostdev():
            _hostdev(vif.shape, vif, root)
        case Vhostuser():
            _vhostuser(vif.shape, vif, root)
        case Vdpa():
            _vdpa(vif.shape, vif, root)
        case User():
            _user(vif.shape, vif, root)


def _ethernet(shape: Ethernet, vif: Vif, root: ET.Element) -> None:
    _add_bandwidth(root, vif.bandwidth)
    managed = "yes" if shape.made_by == "libvirt" else "no"
    if managed == "yes":
        _check_target(vif)
    # never left out: the default was "yes" until libvirt 9.5, and then depended on the device
    ET.SubElement(root, "target", {"dev": _device(vif, "devname", vif.devname), "managed": managed})


def _bridge(shape: Bridge, vif: Vif, root: ET.Element) -> None:
    ET.SubElement(root, "source", {"bridge": _device(vif, "vif_details.bridge", shape.bridge)})
    _add_vlan(root, shape.vlan)
    _add_virtualport(root, shape.virtualport, vif)
    _add_bandwidth(root, vif.bandwidth)
    _add_target(vif, root)


def _network(shape: Network, vif: Vif, root: ET.Element) -> None:
    source = ET.SubElement(root, "source", {"network": need(vif, "vif_details.network", shape.network)})
    if shape.portgroup is not None:
        source.set("portgroup", _device(vif, "vif_details.portgroup", shape.portgroup))
    _add_vlan(root, shape.vlan)
    _add_virtualport(root, shape.virtualport, vif)
    _add_bandwidth(root, vif.bandwidth)
    _add_target(vif, root)


def _direct(shape: Direct, vif: Vif, root: ET.Element) -> None:
    device = need(vif, "vif_details.source_dev", shape.source_dev)
    ET.SubElement(root, "source", {"dev": _device(vif, "vif_details.source_dev", device), "mode": shape.mode})
    _add_vlan(root, shape.vlan)
    _add_virtualport(root, shape.virtualport, vif)
    _add_bandwidth(root, vif.bandwidth)
    _add_target(vif, root)


def _hostdev(shape: Hostdev, vif: Vif, root: ET.Element) -> None:
    root.set("managed", "yes" if shape.managed else "no")
    slot = need(vif, "vif_details.pci_slot", shape.pci_slot)
    domain, bus, rest = slot.split(":")
    device, function = rest.split(".")
    parts = {"domain": domain, "bus": bus, "slot": device, "function": function}
    source = ET.SubElement(root, "source")
    ET.SubElement(source, "address", {"type": "pci"} | {key: f"0x{value}" for key, value in parts.items()})
    _add_vlan(root, shape.vlan)
    _add_virtualport(root, shape.virtualport, vif)


def _vhostuser(shape: Vhostuser, vif: Vif, root: ET.Element) -> None:
    path = need(vif, "vif_details.path", shape.path)
    source = ET.SubElement(root, "source", {"type": "unix", "path": path, "mode": shape.mode})
    if shape.mode == "client" and shape.reconnect is not None:
        if shape.reconnect:
            ET.SubElement(source, "reconnect", {"enabled": "yes", "timeout": str(shape.reconnect)})
        else:
            ET.SubElement(source, "reconnect", {"enabled": "no"})
    # the name under which the switch knows the port: libvirt asks it for counters by this name
    _add_target(vif, root)


def _vdpa(shape: Vdpa, vif: Vif, root: ET.Element) -> None:
    ET.SubElement(root, "source", {"dev": need(vif, "vif_details.device", shape.device)})


def _user(shape: User, vif: Vif, root: ET.Element) -> None:
    # the schema has no word for slirp before libvirt 9.2: it is the absence of <backend>
    if shape.backend == "slirp":
        if shape.port_forwards:
            refuse(
                vif,
                "vif_details.port_forwards",
                [str(forward.start) for forward in shape.port_forwards],
                "libvirt forwards ports with backend passt alone",
            )
        return
    if shape.source_dev is not None:
        ET.SubElement(root, "source", {"dev": _device(vif, "vif_details.source_dev", shape.source_dev)})


# --- parts of a connection ------------------------------------------------------------------------


def _add_vlan(root: ET.Element, vlan: Vlan | None) -> None:
    if vlan is None:
        return
    element = ET.SubElement(root, "vlan", {"trunk": "yes"} if vlan.trunk else {})
    for tag in vlan.tags:
        child = ET.SubElement(element, "tag", {"id": str(tag)})
        if tag == vlan.native:
            child.set("nativeMode", vlan.native_mode or "untagged")


def _add_virtualport(root: ET.Element, port: VirtualPort | None, vif: Vif) -> None:
    parameters: dict[str, str] = {}
    match port:
        case None:
            return
        case OpenvswitchPort():
            parameters["interfaceid"] = port.interface_id or vif.id
            if port.profile_id is not None:
                parameters["profileid"] = port.profile_id
        case MidonetPort():
            parameters["interfaceid"] = port.interface_id
        case Port8021Qbg():
            parameters["managerid"] = str(port.manager_id)
            parameters["typeid"] = str(port.type_id)
            parameters["typeidversion"] = str(port.type_id_version)
            parameters["instanceid"] = port.instance_id or vif.id
        case Port8021Qbh():
            parameters["profileid"] = port.profile_id
    element = ET.SubElement(root, "virtualport", {"type": str(port.__struct_config__.tag)})
    ET.SubElement(element, "parameters", parameters)


def _add_bandwidth(root: ET.Element, bandwidth: Bandwidth | None) -> None:
    if bandwidth is None or (bandwidth.inbound is None and bandwidth.outbound is None):
        return
    element = ET.SubElement(root, "bandwidth")
    _add_rate(element, "inbound", bandwidth.inbound)
    _add_rate(element, "outbound", bandwidth.outbound)


def _add_rate(parent: ET.Element, name: str, rate: Rate | None) -> None:
    if rate is None:
        return
    values = (("average", rate.average), ("peak", rate.peak), ("floor", rate.floor), ("burst", rate.burst))
    ET.SubElement(parent, name, {key: str(value) for key, value in values if value is not None})


def _add_target(vif: Vif, root: ET.Element) -> None:
    _check_target(vif)
    ET.SubElement(root, "target", {"dev": _device(vif, "devname", vif.devname)})


def _check_target(vif: Vif) -> None:
    if vif.devname.startswith(_CLEARED_PREFIXES):
        refuse(
            vif,
            "devname",
            vif.devname,
            "libvirt takes names that start with vnet, vif, macvtap or macvlan for its own and drops them",
        )


# --- the device that the guest sees ---------------------------------------------------------------


def _add_device(vif: Vif, root: ET.Element) -> None:
    if not isinstance(vif.shape, Hostdev):
        ET.SubElement(root, "model", {"type": vif.model})
    _add_driver(vif, root)
    if isinstance(vif.shape, User):
        _add_backend(vif.shape, vif, root)
    if vif.link_state is not None:
        ET.SubElement(root, "link", {"state": vif.link_state})
    if vif.mtu is not None and tells_mtu(vif):
        ET.SubElement(root, "mtu", {"size": str(vif.mtu)})
    if vif.boot_order is not None:
        ET.SubElement(root, "boot", {"order": str(vif.boot_order)})
    if vif.alias is not None:
        ET.SubElement(root, "alias", {"name": vif.alias})


def _add_driver(vif: Vif, root: ET.Element) -> None:
    driver = vif.driver or Driver()
    values: tuple[tuple[str, str | int | bool | None], ...] = (
        ("name", driver.name),
        ("txmode", driver.txmode),
        ("ioeventfd", driver.ioeventfd),
        ("event_idx", driver.event_idx),
        ("queues", vif.queues if vif.queues > 1 else None),
        ("rx_queue_size", driver.rx_queue_size),
        ("tx_queue_size", driver.tx_queue_size),
        ("iommu", driver.iommu),
        ("ats", driver.ats),
        ("packed", driver.packed),
    )
    attributes = {key: _word(value) for key, value in values if value is not None}
    if attributes:
        ET.SubElement(root, "driver", attributes)


def _word(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _add_backend(shape: User, vif: Vif, root: ET.Element) -> None:
    if shape.backend == "slirp":
        return
    backend = ET.SubElement(root, "backend", {"type": shape.backend})
    if shape.log_file is not None:
        backend.set("logFile", shape.log_file)
    for forward in shape.port_forwards:
        element = ET.SubElement(root, "portForward", {"proto": forward.proto})
        if forward.address is not None:
            element.set("address", forward.address)
        if forward.dev is not None:
            element.set("dev", _device(vif, "vif_details.port_forwards.dev", forward.dev))
        ports = {"start": forward.start, "end": forward.end, "to": forward.to}
        ET.SubElement(element, "range", {key: str(port) for key, port in ports.items() if port is not None})


# --- values ---------------------------------------------------------------------------------------


def _device(vif: Vif, field: str, name: str) -> str:
    if not _DEVICE.match(name):
        refuse(vif, field, name, "libvirt's schema takes letters, digits and '_ . - \\ : /' there")
    return name


def _check_text(vif: Vif, root: ET.Element) -> None:
    """No value may hold what XML 1.0 cannot carry, or what a reader would change.

    The model refuses such text already; this is the last gate, for a Vif that was built by hand.
    """
    for element in root.iter():
        for key, value in element.attrib.items():
            if _NOT_XML.search(value):
                refuse(vif, f"<{element.tag} {key}=…>", value, "XML cannot carry one of its characters")
