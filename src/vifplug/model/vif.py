"""What is plugged: the VIF, its type with typed details, and what surrounds it.

Everything here is a frozen msgspec struct: validation, JSON and JSON Schema come from this one
definition. Nothing here touches the host.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from vifplug.model.checks import Wrong, check_ip, check_network
from vifplug.model.learn import learn
from vifplug.model.words import (
    Alias,
    DeviceName,
    FilePath,
    Kibibytes,
    Mac,
    Model,
    Mtu,
    PciSlot,
    PortId,
    Queues,
    RingSize,
    ScriptName,
    TcpPort,
    Text,
    VdpaDevice,
    VlanTag,
    named,
)


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


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Frozen, keyword-only, and an unknown key is an error."""


# --- parts of a shape -----------------------------------------------------------------------


class OpenvswitchPort(_Strict, frozen=True, kw_only=True, tag="openvswitch", tag_field="type"):
    interface_id: PortId | None = None
    profile_id: Text | None = None


class MidonetPort(_Strict, frozen=True, kw_only=True, tag="midonet", tag_field="type"):
    interface_id: PortId


class Port8021Qbg(_Strict, frozen=True, kw_only=True, tag="802.1Qbg", tag_field="type"):
    manager_id: Annotated[int, Meta(ge=0, le=255)]
    type_id: Annotated[int, Meta(ge=0, le=0xFFFFFF)]
    type_id_version: Annotated[int, Meta(ge=0, le=255)]
    instance_id: PortId | None = None


class Port8021Qbh(_Strict, frozen=True, kw_only=True, tag="802.1Qbh", tag_field="type"):
    profile_id: Annotated[
        str, named(r"[^\x00-\x1f\x7f-\x9f]{1,39}", "a profile's name of 1 to 39 characters")
    ]


VirtualPort = OpenvswitchPort | MidonetPort | Port8021Qbg | Port8021Qbh


class Vlan(_Strict, frozen=True, kw_only=True):
    """``<vlan>``: one tag, or several with ``trunk``; ``native`` names the untagged one."""

    tags: Annotated[list[VlanTag], Meta(min_length=1, max_length=4096, description="1 to 4096 VLAN tags")]
    trunk: bool = False
    native: VlanTag | None = None
    native_mode: Literal["tagged", "untagged"] | None = None

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            raise Wrong("tags", self.tags, "a list that names each VLAN once")
        if self.native is not None and self.native not in self.tags:
            raise Wrong("native", self.native, f"one of the tags {self.tags}")
        if self.native_mode is not None and self.native is None:
            raise Wrong("native_mode", self.native_mode, "left out where no tag is native")
        if not self.trunk and (len(self.tags) > 1 or self.native is not None):
            raise Wrong("trunk", self.trunk, "true for several tags or a native one")


VlanTags = Annotated[
    Vlan, Meta(description="a VLAN tag, or an object with the keys tags, trunk, native, native_mode")
]


class PortForward(_Strict, frozen=True, kw_only=True):
    """One ``<portForward>`` of passt: host ports ``start`` to ``end`` led to the guest's ``to`` and on."""

    proto: Literal["tcp", "udp"]
    start: TcpPort
    end: TcpPort | None = None
    to: TcpPort | None = None
    address: str | None = None
    dev: DeviceName | None = None

    def __post_init__(self) -> None:
        check_ip("address", self.address)
        if self.end is not None and self.end < self.start:
            raise Wrong("end", self.end, f"at least start, which is {self.start}")
        if self.end is not None and self.to is not None and self.to + self.end - self.start > 65535:
            raise Wrong(
                "to", self.to, f"at most {65535 - self.end + self.start}: the range must fit below 65536"
            )


# --- the eight shapes -----------------------------------------------------------------------


class Ethernet(_Strict, frozen=True, kw_only=True, tag="ethernet", tag_field="type"):
    """A tap (or macvtap) that the guest opens by name. ``made_by`` says who makes it, always.

    ``caller``: who asks for the plug has made it before; vifplug keeps it as it keeps its own, and lets go of it
    at unplug.
    """

    made_by: Literal["vifplug", "script", "libvirt", "caller"] = "vifplug"


class Bridge(_Strict, frozen=True, kw_only=True, tag="bridge", tag_field="type"):
    """A tap that libvirt makes and puts into a bridge of this host."""

    bridge: DeviceName
    virtualport: OpenvswitchPort | MidonetPort | None = None
    vlan: VlanTags | None = None


class Network(_Strict, frozen=True, kw_only=True, tag="network", tag_field="type"):
    """A network that libvirt on this host has defined."""

    network: Annotated[str, named(r"[^/\x00-\x1f\x7f-\x9f]{1,255}", 'a libvirt network\'s name, without "/"')]
    portgroup: Text | None = None
    virtualport: VirtualPort | None = None
    vlan: VlanTags | None = None


class Direct(_Strict, frozen=True, kw_only=True, tag="direct", tag_field="type"):
    """A macvtap that libvirt makes on a device of this host."""

    source_dev: DeviceName
    mode: Literal["vepa", "bridge", "private", "passthrough"] = "bridge"
    virtualport: Port8021Qbg | Port8021Qbh | None = None
    vlan: VlanTags | None = None

    def __post_init__(self) -> None:
        if self.vlan is not None and self.mode != "passthrough":
            raise Wrong("vlan", self.vlan.tags, 'left out unless mode is "passthrough"')


class Hostdev(_Strict, frozen=True, kw_only=True, tag="hostdev", tag_field="type"):
    """A card's virtual function, given to the guest whole."""

    #: may come from the script's reply instead
    pci_slot: PciSlot | None = None
    managed: bool = True
    vlan: VlanTags | None = None
    virtualport: Port8021Qbh | None = None

    def __post_init__(self) -> None:
        if self.vlan is not None and self.virtualport is not None:
            raise Wrong("vlan", self.vlan.tags, "left out beside a virtualport, which sets the VLAN itself")


class Vhostuser(_Strict, frozen=True, kw_only=True, tag="vhostuser", tag_field="type"):
    """A Unix socket shared with a switch. ``mode`` is the guest's side: the server makes the socket."""

    #: may come from the script's reply instead
    path: FilePath | None = None
    mode: Literal["client", "server"] = "server"
    reconnect: Annotated[int, Meta(ge=0, le=86400, description="seconds, 0 to 86400")] | None = None

    def __post_init__(self) -> None:
        # sun_path of unix(7) holds 108 bytes with the final NUL
        if self.path is not None and len(self.path.encode(errors="replace")) > 107:
            raise Wrong("path", self.path, "a socket's path of at most 107 bytes")
        if self.reconnect is not None and self.mode != "client":
            raise Wrong("reconnect", self.reconnect, 'left out unless mode is "client"')


class Vdpa(_Strict, frozen=True, kw_only=True, tag="vdpa", tag_field="type"):
    """A vDPA device of a card."""

    #: may come from the script's reply instead
    device: VdpaDevice | None = None


class User(_Strict, frozen=True, kw_only=True, tag="user", tag_field="type"):
    """User-mode networking: no privilege, no device on the host."""

    backend: Literal["slirp", "passt"] = "slirp"
    source_dev: DeviceName | None = None
    log_file: FilePath | None = None
    port_forwards: list[PortForward] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.backend == "passt":
            return
        # port_forwards may stay: libvirt forwards with passt alone, QEMU by itself with slirp too
        for name in ("source_dev", "log_file"):
            if value := getattr(self, name):
                raise Wrong(name, value, 'left out unless backend is "passt"')


Shape = Ethernet | Bridge | Network | Direct | Hostdev | Vhostuser | Vdpa | User


# --- what every type has --------------------------------------------------------------------


class Rate(_Strict, frozen=True, kw_only=True):
    """Kibibytes per second (average, peak, floor) and kibibytes (burst): libvirt's units."""

    average: Kibibytes
    peak: Kibibytes | None = None
    burst: Kibibytes | None = None
    floor: Kibibytes | None = None


class Bandwidth(_Strict, frozen=True, kw_only=True):
    """Limits seen from the guest: inbound is what it receives."""

    inbound: Rate | None = None
    outbound: Rate | None = None

    def __post_init__(self) -> None:
        if self.outbound is not None and self.outbound.floor is not None:
            raise Wrong("outbound.floor", self.outbound.floor, "left out: a floor is for inbound alone")


class Driver(_Strict, frozen=True, kw_only=True):
    """``<driver>`` of a virtio interface; what is left out is left to libvirt."""

    name: Literal["vhost", "qemu"] | None = None
    rx_queue_size: RingSize | None = None
    tx_queue_size: RingSize | None = None
    txmode: Literal["iothread", "timer"] | None = None
    ioeventfd: bool | None = None
    event_idx: bool | None = None
    packed: bool | None = None
    iommu: bool | None = None
    ats: bool | None = None


class Route(_Strict, frozen=True, kw_only=True):
    """A route that the guest learns: a network and the address that leads there."""

    destination: str
    nexthop: str

    def __post_init__(self) -> None:
        check_network("destination", self.destination)
        check_ip("nexthop", self.nexthop)


class Subnet(_Strict, frozen=True, kw_only=True):
    """One subnet and the guest's addresses in it. A Neutron port tells its id and the addresses alone."""

    id: Text | None = None
    cidr: str | None = None
    gateway: str | None = None
    addresses: list[str] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_network("cidr", self.cidr)
        check_ip("gateway", self.gateway)
        for name in ("addresses", "dns"):
            for index, address in enumerate(getattr(self, name)):
                check_ip(f"{name}[{index}]", address)


class NetworkInfo(_Strict, frozen=True, kw_only=True):
    """The network that the VIF joins, as far as the caller knows it."""

    id: Text | None = None
    label: Text | None = None
    bridge: DeviceName | None = None
    mtu: Mtu | None = None
    project_id: Text | None = None
    subnets: list[Subnet] = field(default_factory=list)


class Instance(_Strict, frozen=True, kw_only=True):
    """The guest, as far as the caller knows it."""

    id: Text | None = None
    name: Text | None = None
    project_id: Text | None = None


class Migration(_Strict, frozen=True, kw_only=True):
    """The part that this host plays in a live migration."""

    role: Literal["source", "destination"]
    phase: Literal["prepare", "running", "done", "failed"]


class _Common(_Strict, frozen=True, kw_only=True):
    """What a port binding and the Vif made from it say in the same words."""

    id: PortId
    #: the guest's MAC address; None only where libvirt may choose it
    address: Mac | None = None
    mtu: Mtu | None = None
    queues: Queues = 1
    model: Model = "virtio"
    driver: Driver | None = None
    bandwidth: Bandwidth | None = None
    boot_order: (
        Annotated[int, Meta(ge=1, le=65535, description="a place in the boot order, 1 to 65535")] | None
    ) = None
    alias: Alias | None = None
    link_state: Literal["up", "down"] | None = None
    network: NetworkInfo = field(default_factory=NetworkInfo)
    instance: Instance = field(default_factory=Instance)
    migration: Migration | None = None
    #: what Neutron calls binding:vnic_type and binding:profile
    vnic_type: Text | None = None
    profile: dict[str, Any] = field(default_factory=dict)


COMMON_FIELDS = _Common.__struct_fields__


class PortBinding(_Common, frozen=True, kw_only=True):
    """A port binding as its JSON has it: the type by name, its details untyped."""

    vif_type: VifType
    vif_details: dict[str, Any] = field(default_factory=dict)
    devname: DeviceName | None = None


class Vif(_Common, frozen=True, kw_only=True):
    """One VIF, validated: the only form in which the rest of vifplug knows it."""

    shape: Shape
    #: the host's device; "tap" and the first 11 characters of the id, unless the binding names one
    devname: DeviceName
    plug_script: ScriptName | None = None
    #: all of vif_details as the network service sent it: what the script reads
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def made_here(self) -> bool:
        """Whether it is vifplug that makes the device: not the script, and not libvirt."""
        return isinstance(self.shape, Ethernet) and self.shape.made_by == "vifplug"

    @property
    def kept_here(self) -> bool:
        """Whether it is vifplug that gives the device its MAC, MTU and mark, whoever of the two made it."""
        return isinstance(self.shape, Ethernet) and self.shape.made_by in ("vifplug", "caller")

    @property
    def type(self) -> VifType:
        return VifType(self.shape.__struct_config__.tag)  # type: ignore[arg-type]

    @property
    def arriving(self) -> bool:
        """Whether its guest is expected here by a live migration, and nobody has said yet that it came."""
        migration = self.migration
        return migration is not None and migration.role == "destination" and migration.phase != "done"

    def __post_init__(self) -> None:
        virtio = self.model in ("virtio", "virtio-transitional", "virtio-non-transitional")
        if self.queues > 1 and isinstance(self.shape, Hostdev | User):
            raise Wrong("queues", self.queues, f"1 for VIF type {self.type}")
        if self.queues > 1 and not virtio:
            raise Wrong("queues", self.queues, f"1 for model {self.model}: only virtio has several queues")
        if self.driver is not None and not virtio:
            raise Wrong("model", self.model, '"virtio" where driver is given')
        if isinstance(self.shape, Vhostuser | Vdpa) and not virtio:
            raise Wrong("model", self.model, f'"virtio" for VIF type {self.type}')
        if isinstance(self.shape, Ethernet) and self.shape.made_by == "script" and self.plug_script is None:
            raise Wrong("shape.made_by", "script", '"vifplug" or "libvirt" where no vif_plug_script is named')
        tx_queue_size = self.driver.tx_queue_size if self.driver else None
        if tx_queue_size is not None and not isinstance(self.shape, Vhostuser | Vdpa):
            raise Wrong(
                "driver.tx_queue_size", tx_queue_size, "left out unless vif_type is vhostuser or vdpa"
            )
        # the host's end of a tap gets the guest's address with fe in front (as libvirt does)
        tap = isinstance(self.shape, Ethernet | Bridge | Network)
        if tap and self.address is not None and self.address.startswith("fe:"):
            raise Wrong(
                "address", self.address, "an address that does not begin with fe, the host's own prefix"
            )


learn(PortBinding, Vif)
