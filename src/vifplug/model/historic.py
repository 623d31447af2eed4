"""Every VIF type that Nova's libvirt driver ever had, folded into the eight.

Twenty names, eight shapes; the rest are scripts. The commands are those that Nova ran, read from its
nova/virt/libvirt/vif.py, nova/network/linux_net.py and nova/privsep/libvirt.py (2014.2 to 2026.1). In
them, words in capitals stand for values of the VIF:

================  ============================================================================
DEV               the device's name: "tap" and the first 11 characters of the port's id
PORTID, MAC       the port's id; the guest's MAC address
NETID, NETLABEL   the network's id and name
INSTANCE, NAME    the instance's id and name
PROJECT           the project that the instance belongs to
FABRIC            the physical network
BRIDGE            the network's bridge: for Open vSwitch the integration bridge
PF, N, V          an SR-IOV card's physical function, the number of the virtual one, the VLAN
SLOT              the PCI address of the virtual function
S, M              a vhost-user socket; the switch's mode at it, the opposite of the guest's
================  ============================================================================

``vifplug.model.nova`` folds one VIF of Nova's by this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from vifplug.model.vif import VifType

Condition = Mapping[str, tuple[str | bool | None, ...]]


class HistoricType(Struct, frozen=True, kw_only=True):
    """One row: a type that Nova knew, and the VIF type and plug script that stand for it."""

    nova_type: str
    #: tells the rows of one type apart; "" for the plain one
    variant: str = ""
    #: what selects the row in Nova's VIF, beside its type: any one of these, each of them the values
    #: that dotted keys may have. The first row of a type that is selected holds.
    selects: tuple[Condition, ...] = ({},)
    #: None: no libvirt host can offer it
    vif_type: VifType | None
    #: a script of the catalogue; None: there is nothing left to do
    plug_script: str | None = None
    #: keys of vif_details that shape the VIF; ``{name}`` is a fact of the VIF (vifplug.model.nova)
    details: Mapping[str, Any] = {}
    devname: str = "{dev}"
    plug: tuple[str, ...] = ()
    unplug: tuple[str, ...] = ()
    notes: str = ""

    @property
    def name(self) -> str:
        """``ovs``, ``ovs-hybrid`` …: unique in the table."""
        return f"{self.nova_type}-{self.variant}" if self.variant else self.nova_type

    @property
    def when(self) -> str:
        """What selects the row, in words."""
        either = [
            " and ".join(
                f"{key} is {' or '.join(_word(value) for value in values)}" for key, values in test.items()
            )
            for test in self.selects
        ]
        return f"type is {self.nova_type}" + (f" and {', or '.join(either)}" if any(either) else "")


def _word(value: str | bool | None) -> str:
    return "absent" if value is None else str(value).lower()


_OVS_PORT = (
    "external-ids:iface-id=PORTID external-ids:iface-status=active "
    "external-ids:attached-mac=MAC external-ids:vm-uuid=INSTANCE"
)
_OVS_ADD = f"ovs-vsctl -- --if-exists del-port DEV -- add-port BRIDGE DEV -- set Interface DEV {_OVS_PORT}"
_OVS_DEL = "ovs-vsctl -- --if-exists del-port BRIDGE DEV"
_HYBRID_DETAILS = {"bridge": "{hybrid_bridge}"}
_VHOSTUSER_DETAILS = {"path": "{socket}", "mode": "{socket_mode}"}
_VROUTER_ADD = (
    "vrouter-port-control --oper=add --uuid=PORTID --instance_uuid=INSTANCE --vn_uuid=NETID "
    "--vm_project_uuid=PROJECT --ip_address=IP --ipv6_address=IP6 --vm_name=NAME --mac=MAC "
    "--tap_name=DEV --port_type=NovaVMPort --tx_vlan_id=-1 --rx_vlan_id=-1"
)
_VROUTER_DEL = "vrouter-port-control --oper=delete --uuid=PORTID"
_VF_DETAILS = {"pci_slot": "{pci_slot}"}
_VF_PLUG = ("ip link set PF vf N mac MAC vlan V",)
_VF_UNPLUG = ("ip link set PF vf N mac 00:00:00:00:00:00 vlan 0",)
_PASSED_THROUGH: Condition = {"vnic_type": ("direct", "accelerator-direct")}
_PCI_FUNCTION_NOTE = (
    "Nova wrote a plain <hostdev>, which libvirt takes for a physical function too; <interface "
    "type='hostdev'> is for virtual functions alone."
)

TABLE: tuple[HistoricType, ...] = (
    HistoricType(
        nova_type="tap",
        vif_type=VifType.ETHERNET,
        notes="Calico and other agents find the tap by its name.",
    ),
    HistoricType(
        nova_type="iovisor",
        vif_type=VifType.ETHERNET,
        plug_script="iovisor",
        plug=(
            "ifc_ctl gateway add_port DEV",
            "ifc_ctl gateway ifup DEV access_vm NETLABEL_PORTID MAC pgtag2=NETID pgtag1=PROJECT",
        ),
        unplug=(
            "ifc_ctl gateway ifdown DEV access_vm NETLABEL_PORTID MAC",
            "ifc_ctl gateway del_port DEV",
        ),
        notes="From 2018 on Nova unplugged with `ifdown DEV` alone, and labelled the port by its id.",
    ),
    HistoricType(
        nova_type="midonet",
        vif_type=VifType.ETHERNET,
        plug_script="midonet",
        plug=("mm-ctl --bind-port PORTID DEV",),
        unplug=("mm-ctl --unbind-port PORTID",),
    ),
    HistoricType(
        nova_type="ivs",
        variant="hybrid",
        selects=({"details.ovs_hybrid_plug": (True,)},),
        vif_type=VifType.BRIDGE,
        plug_script="ivs",
        details=_HYBRID_DETAILS,
        plug=("bridge qbr…, veth qvb…/qvo…, then: ivs-ctl add-port qvo…",),
        unplug=("ivs-ctl del-port qvo…, then remove veth and bridge",),
    ),
    HistoricType(
        nova_type="ivs",
        vif_type=VifType.ETHERNET,
        plug_script="ivs",
        plug=("ivs-ctl add-port DEV",),
        unplug=("ivs-ctl del-port DEV",),
    ),
    HistoricType(
        nova_type="vrouter",
        variant="direct",
        selects=(_PASSED_THROUGH,),
        vif_type=VifType.HOSTDEV,
        plug_script="vrouter",
        details=_VF_DETAILS,
        plug=(_VROUTER_ADD,),
        unplug=(_VROUTER_DEL,),
    ),
    HistoricType(
        nova_type="vrouter",
        variant="virtio-forwarder",
        selects=({"vnic_type": ("virtio-forwarder",)},),
        vif_type=VifType.VHOSTUSER,
        plug_script="vrouter",
        details=_VHOSTUSER_DETAILS,
        plug=(_VROUTER_ADD,),
        unplug=(_VROUTER_DEL,),
    ),
    HistoricType(
        nova_type="vrouter",
        selects=({"vnic_type": ("normal", None)},),
        vif_type=VifType.ETHERNET,
        plug_script="vrouter",
        plug=(_VROUTER_ADD,),
        unplug=(_VROUTER_DEL,),
    ),
    HistoricType(
        nova_type="ovs",
        variant="vdpa",
        selects=({"vnic_type": ("vdpa",)},),
        vif_type=VifType.VDPA,
        plug_script="openvswitch",
        details={"device": "{vdpa_device}"},
        plug=(_OVS_ADD,),
        unplug=(_OVS_DEL,),
        notes="The port is the representor of the virtual function at SLOT, not DEV.",
    ),
    HistoricType(
        nova_type="ovs",
        variant="direct",
        selects=(_PASSED_THROUGH,),
        vif_type=VifType.HOSTDEV,
        plug_script="openvswitch",
        details=_VF_DETAILS,
        plug=(_OVS_ADD,),
        unplug=(_OVS_DEL,),
        notes="The port is the representor of the virtual function at SLOT, not DEV.",
    ),
    HistoricType(
        nova_type="ovs",
        variant="remote-managed",
        selects=({"vnic_type": ("remote-managed",)},),
        vif_type=VifType.HOSTDEV,
        details=_VF_DETAILS,
        notes="A SmartNIC plugs the representor on its own side.",
    ),
    HistoricType(
        nova_type="ovs",
        variant="hybrid",
        selects=({"details.ovs_hybrid_plug": (True,)},),
        vif_type=VifType.BRIDGE,
        plug_script="openvswitch",
        details=_HYBRID_DETAILS,
        plug=("bridge qbr…, veth qvb…/qvo…, then as for ovs with qvo… for DEV",),
        unplug=("del-port qvo…, then remove veth and bridge",),
    ),
    HistoricType(
        nova_type="ovs",
        variant="port",
        selects=({"delegate_create": (True,)}, {"details.ovs_create_tap": (True,)}),
        vif_type=VifType.ETHERNET,
        plug_script="openvswitch",
        plug=(_OVS_ADD,),
        unplug=(_OVS_DEL,),
    ),
    HistoricType(
        nova_type="ovs",
        vif_type=VifType.BRIDGE,
        details={
            "bridge": "{bridge}",
            "virtualport": {"type": "openvswitch", "interface_id": "{interface_id}"},
        },
        notes="libvirt adds the port itself.",
    ),
    HistoricType(
        nova_type="bridge",
        vif_type=VifType.BRIDGE,
        plug_script="linux-bridge",
        details={"bridge": "{bridge}"},
        plug=("ensure bridge BRIDGE, and its VLAN device where the network has one",),
        notes="Nova left the bridge in place, for it is the network's and not the VIF's.",
    ),
    HistoricType(
        nova_type="vhostuser",
        variant="fp",
        selects=({"details.vhostuser_fp_plug": (True,)},),
        vif_type=VifType.VHOSTUSER,
        plug_script="fp-vdev",
        details=_VHOSTUSER_DETAILS,
        plug=("fp-vdev add DEV --sockpath S --sockmode M",),
        unplug=("fp-vdev del DEV",),
        notes="6WIND's fast path. With details.vhostuser_ovs_plug the new device joins Open vSwitch too.",
    ),
    HistoricType(
        nova_type="vhostuser",
        variant="ovs",
        selects=({"details.vhostuser_ovs_plug": (True,)},),
        vif_type=VifType.VHOSTUSER,
        plug_script="openvswitch",
        details=_VHOSTUSER_DETAILS,
        devname="{vhu}",
        plug=(f"{_OVS_ADD} type=dpdkvhostuserclient options:vhost-server-path=S",),
        unplug=(_OVS_DEL,),
        notes='With the guest in mode client: type=dpdkvhostuser and no path. DEV is "vhu" and the id.',
    ),
    HistoricType(
        nova_type="vhostuser",
        variant="vrouter",
        selects=({"details.vhostuser_vrouter_plug": (True,)},),
        vif_type=VifType.VHOSTUSER,
        plug_script="vrouter",
        details=_VHOSTUSER_DETAILS,
        plug=(_VROUTER_ADD,),
        unplug=(_VROUTER_DEL,),
    ),
    HistoricType(nova_type="vhostuser", vif_type=VifType.VHOSTUSER, details=_VHOSTUSER_DETAILS),
    HistoricType(
        nova_type="macvtap",
        vif_type=VifType.DIRECT,
        details={"source_dev": "{macvtap_source}", "mode": "{macvtap_mode}"},
        notes="Where details.vlan is set, Nova made the VLAN device macvtap_source on physical_interface; "
        "it must be there now.",
    ),
    HistoricType(
        nova_type="hw_veb",
        variant="macvtap",
        selects=({"vnic_type": ("macvtap",)},),
        vif_type=VifType.DIRECT,
        plug_script="sriov-vf",
        details={"source_dev": "{netdev}", "mode": "passthrough", "vlan": "{vlan}"},
        plug=_VF_PLUG,
        unplug=_VF_UNPLUG,
    ),
    HistoricType(
        nova_type="hw_veb",
        vif_type=VifType.HOSTDEV,
        plug_script="sriov-vf",
        details={**_VF_DETAILS, "vlan": "{vlan}"},
        plug=_VF_PLUG,
        unplug=_VF_UNPLUG,
    ),
    HistoricType(
        nova_type="802.1qbg",
        vif_type=VifType.DIRECT,
        details={
            "source_dev": "{interface}",
            "mode": "vepa",
            "virtualport": {
                "type": "802.1Qbg",
                "manager_id": "{managerid}",
                "type_id": "{typeid}",
                "type_id_version": "{typeidversion}",
                "instance_id": "{instanceid}",
            },
        },
    ),
    HistoricType(
        nova_type="802.1qbh",
        variant="direct",
        selects=(_PASSED_THROUGH,),
        vif_type=VifType.HOSTDEV,
        details={**_VF_DETAILS, "virtualport": {"type": "802.1Qbh", "profile_id": "{profileid}"}},
    ),
    HistoricType(
        nova_type="802.1qbh",
        vif_type=VifType.DIRECT,
        details={
            "source_dev": "{netdev}",
            "mode": "passthrough",
            "virtualport": {"type": "802.1Qbh", "profile_id": "{profileid}"},
        },
    ),
    HistoricType(
        nova_type="hostdev_physical",
        vif_type=VifType.HOSTDEV,
        details=_VF_DETAILS,
        notes=_PCI_FUNCTION_NOTE,
    ),
    HistoricType(
        nova_type="ib_hostdev",
        vif_type=VifType.HOSTDEV,
        plug_script="ebrctl",
        details=_VF_DETAILS,
        plug=("ebrctl add-port MAC INSTANCE FABRIC ib_hostdev SLOT",),
        unplug=("ebrctl del-port FABRIC MAC",),
        notes=_PCI_FUNCTION_NOTE,
    ),
    HistoricType(
        nova_type="mlnx_direct",
        vif_type=VifType.DIRECT,
        plug_script="ebrctl",
        details={"source_dev": "{eth}", "mode": "passthrough"},
        plug=("ebrctl add-port MAC INSTANCE FABRIC mlnx_direct DEV",),
        unplug=("ebrctl del-port FABRIC MAC",),
        notes="DEV is the eSwitch's own device: \"eth\" and the first 11 characters of the port's id.",
    ),
    HistoricType(nova_type="hyperv", vif_type=None, notes="Hyper-V"),
    HistoricType(nova_type="dvs", vif_type=None, notes="VMware vSphere"),
)
