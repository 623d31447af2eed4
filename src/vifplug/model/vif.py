"""What is plugged: the VIF, its type with typed details, and what surrounds it.

Everything here is a frozen msgspec struct: validation, JSON and JSON Schema come from this one
definition. Nothing here touches the host.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

# --- words ----------------------------------------------------------------------------------


class VifType(StrEnum):
    """The eight VIF types: each is one shape of libvirt's ``<interface>``."""

    ETHERNET = "ethernet"
    BRIDGE = "bridge"
    NETWORK = "network"
    DIRECT = "direct"
    HOSTDEV = "hostdev"
    VHOSTUSER = "vhostuser"
    VDPA = "vdpa"
    USER = "user"


PortId = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z",
        description="a UUID in lower case, as Neutron writes a port id",
        examples=["4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"],
    ),
]
Mac = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z",
        description="a unicast MAC address: six hexadecimal pairs with colons, lower case",
        examples=["fa:16:3e:00:00:01"],
    ),
]
DeviceName = Annotated[
    str,
    Meta(
        pattern=r"\A(?!\.{1,2}\Z)[A-Za-z0-9_.\-@]{1,15}\Z",
        description="a network device name: 1 to 15 of the characters A-Z a-z 0-9 _ . - @",
        examples=["tap4c1b1b0a-7d"],
    ),
]
Mtu = Annotated[
    int, Meta(ge=68, le=65521, description="an MTU in bytes, 68 to 65521 (the kernel's range for a tap)")
]
Queues = Annotated[int, Meta(ge=1, le=256, description="a number of queue pairs, 1 to 256")]
VlanTag = Annotated[int, Meta(ge=0, le=4095, description="a VLAN tag, 0 to 4095")]


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Frozen, keyword-only, and an unknown key is an error."""


# --- parts of a shape -----------------------------------------------------------------------


class OpenvswitchPort(_Strict, kw_only=True, tag="openvswitch", tag_field="type"):
    interface_id: PortId | None = None
    profile_id: str | None = None


class MidonetPort(_Strict, kw_only=True, tag="midonet", tag_field="type"):
    interface_id: PortId


class Port8021Qbg(_Strict, kw_only=True, tag="802.1Qbg", tag_field="type"):
    manager_id: Annotated[int, Meta(ge=0, le=255)]
    type_id: Annotated[int, Meta(ge=0, le=0xFFFFFF)]
    type_id_version: Annotated[int, Meta(ge=0, le=255)]
    instance_id: str | None = None


class Port8021Qbh(_Strict, kw_only=True, tag="802.1Qbh", tag_field="type"):
    profile_id: str


VirtualPort = OpenvswitchPort | MidonetPort | Port8021Qbg | Port8021Qbh


class Vlan(_Strict, kw_only=True):
    """``<vlan>``: one tag, or several with ``trunk``; ``native`` names the untagged one."""

    tags: Annotated[list[VlanTag], Meta(min_length=1, max_length=4096)]
    trunk: bool = False
    native: VlanTag | None = None
    native_mode: Literal["tagged", "untagged"] | None = None


class PortForward(_Strict, kw_only=True):
    """One ``<portForward>`` of passt: host ports led to the guest."""

    proto: Literal["tcp", "udp"]
    start: Annotated[int, Meta(ge=1, le=65535)]
    end: Annotated[int, Meta(ge=1, le=65535)] | None = None
    to: Annotated[int, Meta(ge=1, le=65535)] | None = None
    address: str | None = None
    dev: DeviceName | None = None


# --- the eight shapes -----------------------------------------------------------------------


class Ethernet(_Strict, kw_only=True, tag="ethernet", tag_field="type"):
    """A tap (or macvtap) that the guest opens by name. ``made_by`` says who makes it, always."""

    made_by: Literal["vifplug", "script", "libvirt"] = "vifplug"


class Bridge(_Strict, kw_only=True, tag="bridge", tag_field="type"):
    bridge: DeviceName
    virtualport: VirtualPort | None = None
    vlan: Vlan | None = None


class Network(_Strict, kw_only=True, tag="network", tag_field="type"):
    network: str
    portgroup: str | None = None
    virtualport: VirtualPort | None = None
    vlan: Vlan | None = None


class Direct(_Strict, kw_only=True, tag="direct", tag_field="type"):
    source_dev: DeviceName
    mode: Literal["vepa", "bridge", "private", "passthrough"] = "bridge"
    virtualport: VirtualPort | None = None
    vlan: Vlan | None = None


class Hostdev(_Strict, kw_only=True, tag="hostdev", tag_field="type"):
    #: may come from the script's reply instead
    pci_slot: str | None = None
    managed: bool = True
    vlan: Vlan | None = None
    virtualport: VirtualPort | None = None


class Vhostuser(_Strict, kw_only=True, tag="vhostuser", tag_field="type"):
    #: may come from the script's reply instead
    path: str | None = None
    mode: Literal["client", "server"] = "server"
    reconnect: Annotated[int, Meta(ge=0, le=86400, description="seconds")] | None = None


class Vdpa(_Strict, kw_only=True, tag="vdpa", tag_field="type"):
    #: ``/dev/vhost-vdpa-N``; may come from the script's reply instead
    device: str | None = None


class User(_Strict, kw_only=True, tag="user", tag_field="type"):
    backend: Literal["slirp", "passt"] = "slirp"
    source_dev: DeviceName | None = None
    log_file: str | None = None
    port_forwards: list[PortForward] = field(default_factory=list)


Shape = Ethernet | Bridge | Network | Direct | Hostdev | Vhostuser | Vdpa | User


# --- what every type has --------------------------------------------------------------------


class Rate(_Strict, kw_only=True):
    """Kibibytes per second (average, peak, floor) and kibibytes (burst): libvirt's units."""

    average: Annotated[int, Meta(ge=1)]
    peak: Annotated[int, Meta(ge=1)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None
    floor: Annotated[int, Meta(ge=1)] | None = None


class Bandwidth(_Strict, kw_only=True):
    inbound: Rate | None = None
    outbound: Rate | None = None


class Driver(_Strict, kw_only=True):
    """``<driver>`` of a virtio interface; what is left out is left to libvirt."""

    name: Literal["vhost", "qemu"] | None = None
    rx_queue_size: Annotated[int, Meta(ge=256, le=1024)] | None = None
    tx_queue_size: Annotated[int, Meta(ge=256, le=1024)] | None = None
    txmode: Literal["iothread", "timer"] | None = None
    ioeventfd: bool | None = None
    event_idx: bool | None = None
    packed: bool | None = None
    iommu: bool | None = None
    ats: bool | None = None


class Route(_Strict, kw_only=True):
    destination: str
    nexthop: str


class Subnet(_Strict, kw_only=True):
    id: str | None = None
    cidr: str
    gateway: str | None = None
    addresses: list[str] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)


class NetworkInfo(_Strict, kw_only=True):
    """The network that the VIF joins, as far as the caller knows it."""

    id: str | None = None
    label: str | None = None
    bridge: DeviceName | None = None
    mtu: Mtu | None = None
    project_id: str | None = None
    subnets: list[Subnet] = field(default_factory=list)


class Instance(_Strict, kw_only=True):
    id: str | None = None
    name: str | None = None
    project_id: str | None = None


class Migration(_Strict, kw_only=True):
    role: Literal["source", "destination"]
    phase: Literal["prepare", "running", "done", "failed"]


class Vif(_Strict, kw_only=True):
    """One VIF, validated: the only form in which the rest of vifplug knows it."""

    id: PortId
    shape: Shape
    #: the guest's MAC address; None only where libvirt may choose it
    address: Mac | None = None
    #: the host's device; "tap" and the first 11 characters of the id, unless the binding names one
    devname: DeviceName
    plug_script: str | None = None
    mtu: Mtu | None = None
    queues: Queues = 1
    model: str = "virtio"
    driver: Driver | None = None
    bandwidth: Bandwidth | None = None
    boot_order: Annotated[int, Meta(ge=1, le=65535)] | None = None
    alias: str | None = None
    link_state: Literal["up", "down"] | None = None
    #: all of vif_details as the network service sent it: what the script reads
    details: dict[str, Any] = field(default_factory=dict)
    network: NetworkInfo = field(default_factory=NetworkInfo)
    instance: Instance = field(default_factory=Instance)
    migration: Migration | None = None

    @property
    def type(self) -> VifType:
        return VifType(self.shape.__struct_config__.tag)  # type: ignore[arg-type]
