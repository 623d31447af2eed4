"""What a VIF asks of Open vSwitch: the details that are read, and the port that they lead to."""

from __future__ import annotations

import os

from plugscript import BackendUnavailable, BadDetails, Request, device_exists

from .netdevs import Function, Hybrid
from .ovsport import MARK, Datapath, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VIF_TYPES = ["ethernet", "bridge", "vhostuser", "hostdev", "vdpa"]
UPDATE_FIELDS = ["mtu", "bandwidth", "details.tag", "details.trunks", "details.vlan_mode"]
_VLAN = {"type": "integer", "minimum": 0, "maximum": 4095}
_TEXT = {"type": "string"}
_TRUE = {"type": "boolean"}
_SLOT = {"type": "string", "pattern": "^([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}[.][0-7])?$"}
#: what the switch has of a port, and is not changed on one that libvirt has made
_OF_PORT = ("mtu", "details.tag", "details.trunks", "details.vlan_mode")
_MODES = ["access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel"]


def _detail(schema: Mapping[str, Any], description: str) -> Mapping[str, Any]:
    return {**schema, "description": description}


DETAILS: Mapping[str, Mapping[str, Any]] = {
    "bridge": _detail(_TEXT, "the switch's bridge; for a hybrid VIF of type bridge, the Linux bridge qbr…"),
    "bridge_name": _detail(_TEXT, "Neutron's word for bridge"),
    "integration_bridge": _detail(_TEXT, "the switch's bridge, where bridge means something else"),
    "create_bridge": _detail(
        _TRUE,
        "make the bridge if it is missing, and remove it with its last port; so it is for a trunk (tbr-…)",
    ),
    "datapath_type": _detail({"type": "string", "enum": ["system", "netdev"]}, "of a bridge that is made"),
    "tag": _detail(_VLAN, "the port's VLAN; without it, that is for an agent to set"),
    "trunks": _detail({"type": "array", "items": _VLAN}, "the VLANs that the port carries"),
    "vlan_mode": _detail({"type": "string", "enum": _MODES}, "how tag and trunks are meant"),
    "ovs_interfaceid": _detail(_TEXT, "the port's iface-id; without it, the VIF's id"),
    "hybrid": _detail(_TRUE, "a Linux bridge and a veth pair between guest and switch"),
    "ovs_hybrid_plug": _detail(_TRUE, "Neutron's word for hybrid"),
    "path": _detail(_TEXT, "vhostuser: the socket"),
    "mode": _detail({"type": "string", "enum": ["client", "server"]}, "vhostuser: the guest's side"),
    "vhostuser_socket": _detail(_TEXT, "Neutron's word for path"),
    "vhostuser_mode": _detail({"type": "string", "enum": ["client", "server"]}, "Neutron's word for mode"),
    "pci_slot": _detail(_SLOT, "hostdev, vdpa: the virtual function; its representor is the port"),
}


class Plan:
    """What a request asks of the switch."""

    def __init__(self, request: Request, bridge_by_default: str = "br-int") -> None:
        vif, details = request.vif, request.vif.details
        self.request = request
        self.type = vif.type
        self.hybrid = Hybrid(vif.id) if details["hybrid"] or details["ovs_hybrid_plug"] else None
        #: the Linux bridge of a hybrid VIF, where the binding names one
        self.linux_bridge = None
        bridge = details["bridge"] or details["bridge_name"]
        if self.hybrid is not None and vif.type == "bridge":
            self.linux_bridge, bridge = bridge, None
        network_bridge = request.network.bridge
        if network_bridge == self.linux_bridge:
            network_bridge = None  # the host says the details' bridge where nobody knows the network's
        self.bridge: str = details["integration_bridge"] or bridge or network_bridge or bridge_by_default
        trunk = self.bridge.startswith("tbr-")
        #: the datapath type of a bridge that has to be made; None: it must be there
        self.make_bridge: str | None = None
        if details["create_bridge"] or trunk:
            self.make_bridge = details["datapath_type"] or ("netdev" if vif.type == "vhostuser" else "system")
        ids = {
            "iface-id": details["ovs_interfaceid"] or _at(details, "virtualport", "interface_id") or vif.id,
            "iface-status": "active",
            "attached-mac": vif.address,
            "vm-uuid": request.instance.id,
            "vm-id": request.instance.id,
            MARK: vif.id,
            "bridge_name": self.bridge if trunk else None,  # by which Neutron's agent cleans up after a trunk
        }
        self.ids: dict[str, str] = {key: value for key, value in ids.items() if value}
        #: libvirt makes the device, when the guest starts
        self.device_comes_later = details.get("made_by") == "libvirt"
        #: the tap that joins the Linux bridge of a hybrid VIF; where libvirt makes it, libvirt puts it there
        self.hybrid_tap = vif.devname if vif.type == "ethernet" and not self.device_comes_later else None

    def refuse_nonsense(self) -> None:
        """Raises BadDetails for what cannot be plugged."""
        if self.request.vif.details.get("made_by") == "script":
            raise BadDetails('made_by is "script", but this script joins a tap to the switch and makes none')
        changed = [name for name in self.request.changes if name in _OF_PORT]
        if changed and self.libvirt_adds_it and device_exists(self.request.vif.devname):
            raise BadDetails(
                f"{', '.join(changed)} cannot be changed: libvirt has made this VIF's port, and keeps it as it is;"
                " detach the VIF and attach it again"
            )
        if self.hybrid is None:
            return
        if self.type not in ("ethernet", "bridge"):
            raise BadDetails(f"hybrid is for VIFs of type ethernet and bridge, not {self.type}")
        if self.type == "bridge" and self.linux_bridge != self.hybrid.bridge:
            raise BadDetails(
                f"bridge is {self.linux_bridge!r}, but the Linux bridge of this hybrid VIF is {self.hybrid.bridge}"
                " (integration_bridge names the switch's)"
            )

    def refuse_without(self, datapath: Datapath) -> None:
        """Raises what says why this VIF cannot be plugged on such a bridge."""
        if self.type == "vhostuser" and not datapath.userspace:
            raise BadDetails(
                f"bridge {self.bridge} has datapath_type {datapath.type}; vhost-user ports need netdev"
            )
        if self.type == "vhostuser" and not datapath.dpdk:
            raise BackendUnavailable(
                "Open vSwitch runs without DPDK on this host, and vhost-user ports need it: "
                "set other_config:dpdk-init to true, and restart ovs-vswitchd"
            )

    @property
    def has_representor(self) -> bool:
        """The guest has a card's function; what joins the switch is the device that stands for it."""
        return self.type in ("hostdev", "vdpa")

    @property
    def libvirt_adds_it(self) -> bool:
        """libvirt adds the port when the guest starts, and removes it when the guest ends."""
        return self.type == "bridge" and self.hybrid is None

    def name(self, datapath: Datapath) -> str:
        """The port's name."""
        vif = self.request.vif
        if self.hybrid is not None:
            return self.hybrid.switch_end
        if self.type == "vhostuser":
            return self._socket_name()
        if self.has_representor:
            return f"vfr{vif.id[:11]}" if datapath.dpdk else self.function().representor()
        return vif.devname

    def names(self) -> list[str]:
        """What a port of the VIF may be called, whatever its details say by now."""
        vif = self.request.vif
        return [vif.devname, *(f"{prefix}{vif.id[:11]}" for prefix in ("qvo", "vhu", "vfr"))]

    def emptied(self) -> dict[str, list[str]]:
        """The columns, by table, that an update empties: what was set, and is wanted no more."""
        details = self.request.vif.details
        changes = self.request.changes
        vlan = [
            key
            for key in ("tag", "trunks", "vlan_mode")
            if f"details.{key}" in changes and details[key] is None
        ]
        mtu = ["mtu_request"] if "mtu" in changes and self.request.vif.mtu is None else []
        return {"Port": vlan, "Interface": mtu}

    def function(self) -> Function:
        slot = self.request.vif.details["pci_slot"] or self.request.vif.profile.get("pci_slot")
        if not slot:
            raise BadDetails(
                f"pci_slot is missing: a VIF of type {self.type} needs the virtual function's address"
            )
        return Function(slot.lower(), os.environ.get("SYSFS_PATH") or "/sys")

    def port(self, datapath: Datapath) -> Port:
        """The port on a bridge with this datapath."""
        vif, details = self.request.vif, self.request.vif.details
        if self.libvirt_adds_it:
            return Port(vif.devname, self.bridge, {"iface-id": self.ids["iface-id"]})
        port = Port(self.name(datapath), self.bridge, self.ids, mtu=vif.mtu)
        for column in ("tag", "trunks", "vlan_mode"):
            if details[column] is not None:
                port.vlan[column] = sorted(details[column]) if column == "trunks" else details[column]
        if self.type == "vhostuser":
            path, mode = self.socket()
            port.type = "dpdkvhostuser" if mode == "client" else "dpdkvhostuserclient"
            port.options = {} if mode == "client" else {"vhost-server-path": path}
            self._limit(port)
        elif self.has_representor and datapath.dpdk:
            function = self.function()
            port.type = "dpdk"
            port.options = {"dpdk-devargs": f"{function.physical},representor=[{function.number}]"}
        return port

    def _socket_name(self) -> str:
        """A vhost-user port's name: Neutron's, unless the binding names the device.

        Where the switch makes the socket, it calls it as the port is called.
        """
        vif, details = self.request.vif, self.request.vif.details
        path = details["path"] or details["vhostuser_socket"]
        if path and self._mode() == "client":
            return str(path.rpartition("/")[2])
        return f"vhu{vif.id[:11]}" if vif.devname == f"tap{vif.id[:11]}" else vif.devname

    def _mode(self) -> str:
        details = self.request.vif.details
        return details["mode"] or details["vhostuser_mode"] or "server"

    def socket(self) -> tuple[str, str]:
        """Path and mode of a vhost-user socket, as the guest's side has them."""
        details = self.request.vif.details
        rundir = os.environ.get("OVS_RUNDIR") or "/var/run/openvswitch"
        return details["path"] or details[
            "vhostuser_socket"
        ] or f"{rundir}/{self._socket_name()}", self._mode()

    def _limit(self, port: Port) -> None:
        """libvirt cannot limit a vhost-user interface; the switch can. It counts in kbit/s, libvirt in KiB/s."""
        outbound = _at(self.request.vif.bandwidth, "outbound") or {}
        average, burst = outbound.get("average", 0), outbound.get("burst", 0)
        port.interface["ingress_policing_rate"] = average * 8192 // 1000
        port.interface["ingress_policing_burst"] = burst * 8192 // 1000
        inbound = _at(self.request.vif.bandwidth, "inbound")
        if inbound:
            cir = inbound["average"] * 1024
            port.policer = {
                "cir": str(cir),
                "cbs": str(inbound.get("burst", 0) * 1024 or max(cir // 10, 2048)),
            }

    def reply(self) -> dict[str, str] | None:
        """What the guest's XML needs of us."""
        if self.type == "vhostuser":
            path, mode = self.socket()
            return {"path": path, "mode": mode}
        if self.type == "vdpa" and not self.request.vif.details.get("device"):
            return {"device": self.function().vdpa_device()}
        return None


def _at(value: object, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
