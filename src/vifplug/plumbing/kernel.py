"""The kernel's part of the plumbing at one moment: devices, bridge ports, tunnels, routes.

Read with iproute2's own JSON (``ip -j``, ``bridge -j``), which an ordinary user may do too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ..errors import HostError
from ..model.learn import learn

if TYPE_CHECKING:
    from ..doctor.place import Place

#: the address under which a VXLAN device keeps the hosts that it floods to
_FLOOD = "00:00:00:00:00:00"


class _Info(Struct):
    info_kind: str | None = None
    info_data: dict[str, Any] = {}
    info_slave_kind: str | None = None
    info_slave_data: dict[str, Any] = {}


class _Address(Struct):
    local: str = ""
    prefixlen: int = 0
    scope: str = ""


class _Counts(Struct):
    packets: int = 0
    dropped: int = 0
    errors: int = 0


class _Stats(Struct):
    rx: _Counts = field(default_factory=_Counts)
    tx: _Counts = field(default_factory=_Counts)


class _Link(Struct):
    ifindex: int = 0
    ifname: str = ""
    flags: list[str] = []
    mtu: int = 0
    address: str | None = None
    master: str | None = None
    ifalias: str | None = None
    link_type: str = ""
    link: str | None = None
    link_index: int | None = None
    link_netnsid: int | None = None
    linkinfo: _Info = field(default_factory=_Info)
    addr_info: list[_Address] = []
    stats64: _Stats = field(default_factory=_Stats)


class _FdbEntry(Struct):
    mac: str = ""
    dst: str | None = None
    ifname: str | None = None


class _VlanEntry(Struct):
    vlan: int = 0
    vlanEnd: int | None = None  # noqa: N815  # bridge(8) names it so
    flags: list[str] = []


class _Vlans(Struct):
    ifname: str = ""
    vlans: list[_VlanEntry] = []


class _Route(Struct):
    dst: str = ""
    dev: str | None = None
    type: str | None = None


class Device(Struct, frozen=True, kw_only=True):
    """One network device."""

    index: int
    name: str
    #: the kernel's word for it (bridge, tun, veth, vxlan, …); None for a card
    kind: str | None
    up: bool
    #: whether there is somebody at the other end: for a tap, a process that has it open
    carrier: bool
    mtu: int
    address: str | None = None
    alias: str | None = None
    #: the bridge (or other master) it is in
    master: str | None = None
    #: bridge port: disabled, listening, learning, forwarding or blocking; None for what is in no bridge
    port_state: str | None = None
    #: bridge port: what of it was switched off (isolated, no flooding)
    port_words: list[str] = []
    #: the device under it (VLAN, macvtap), or a veth's other end
    lower: str | None = None
    #: True when that is in another network namespace
    elsewhere: bool = False
    vlan: int | None = None
    #: VXLAN: network identifier, this host's end, and the device that carries it
    vni: int | None = None
    local: str | None = None
    underlay: str | None = None
    #: VXLAN: the hosts that are flooded to, or the one multicast group
    remotes: list[str] = []
    udp_port: int | None = None
    #: IP addresses of the host on it, with prefix, but for link-local ones
    addresses: list[str] = []
    #: bridge: whether it looks at VLAN tags
    vlan_filtering: bool = False
    #: bridge port: "100" for the untagged one, "100 tagged" for others
    vlans: list[str] = []
    #: frames that were dropped at it, either way
    dropped: int = 0

    @property
    def is_card(self) -> bool:
        """Whether it leads out of this host: a card, or a veth into another network namespace."""
        return (self.kind is None and self.name != "lo") or (self.kind == "veth" and self.elsewhere)


class Kernel:
    """The devices of this network namespace. Making it raises HostError when they cannot be read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        links = self._ask(list[_Link], "ip", "-d", "-s", "-j", "address", "show")
        vlans = {entry.ifname: entry.vlans for entry in self._vlans(links)}
        made = [_device(link, vlans.get(link.ifname, [])) for link in links if link.ifname]
        self.devices: dict[str, Device] = {device.name: self._whole(device) for device in made}

    def device(self, name: str | None) -> Device | None:
        return self.devices.get(name) if name else None

    def ports(self, bridge: str) -> list[Device]:
        """The ports of a bridge, or of another master."""
        return [device for device in self.devices.values() if device.master == bridge]

    def above(self, name: str) -> Iterator[Device]:
        """What is made on top of a device (VLANs, macvtaps, tunnels)."""
        return (
            one for one in self.devices.values() if name in (one.lower, one.underlay) and one.kind != "veth"
        )

    def of_vif(self, vif_id: str, devname: str, address: str | None) -> Device | None:
        """A VIF's device: by its name, by vifplug's mark, or by the MAC that libvirt gives a guest's tap."""
        if (found := self.devices.get(devname)) is not None:
            return found
        host_side = "fe" + address[2:] if address else None
        return next(
            (
                device
                for device in self.devices.values()
                if (device.alias or "").endswith(f":{vif_id}")
                or (device.kind in ("tun", "macvtap") and address and device.address in (host_side, address))
            ),
            None,
        )

    def routes_to(self, device: str) -> list[str]:
        """The destinations that the host's main table sends to this device."""
        return [route.dst for route in self._routes if route.dev == device]

    @property
    def default_devices(self) -> list[str]:
        """The devices of the host's default routes."""
        return list(
            dict.fromkeys(route.dev for route in self._routes if route.dev and route.dst == "default")
        )

    @cached_property
    def _routes(self) -> list[_Route]:
        return [
            *self._ask(list[_Route] | None, "ip", "-4", "-j", "route", "show"),
            *self._ask(list[_Route] | None, "ip", "-6", "-j", "route", "show"),
        ]

    def way_to(self, address: str) -> str | None:
        """The device by which the host sends to this address; None where no route leads."""
        from ..doctor.check import Unseen

        try:
            found = self._place.ask(list[_Route] | None, "ip", "-j", "route", "get", address)  # type: ignore[arg-type]  # mypy#9773
        except Unseen:
            return None
        return next(
            (route.dev for route in found or [] if route.type not in ("unreachable", "blackhole")), None
        )

    # --- reading ------------------------------------------------------------------------------

    def _ask(self, kind: Any, *command: str) -> list[Any]:
        from ..doctor.check import Unseen

        try:
            return list(self._place.ask(kind, *command) or [])
        except Unseen as unseen:
            raise HostError(f"the host's network cannot be read: {unseen}; {unseen.do}") from None

    def _vlans(self, links: list[_Link]) -> list[_Vlans]:
        """Those of bridge ports, where a bridge looks at them."""
        if not any(link.linkinfo.info_data.get("vlan_filtering") for link in links):
            return []
        return self._ask(list[_Vlans] | None, "bridge", "-j", "vlan", "show")

    def _whole(self, device: Device) -> Device:
        """With a tunnel's flood list, which the kernel tells apart from the device."""
        if device.kind != "vxlan" or device.remotes:
            return device
        from msgspec.structs import replace

        found = self._ask(list[_FdbEntry] | None, "bridge", "-j", "fdb", "show", "dev", device.name)
        return replace(device, remotes=[entry.dst for entry in found if entry.mac == _FLOOD and entry.dst])


def _device(link: _Link, vlans: list[_VlanEntry]) -> Device:
    info, data = link.linkinfo, link.linkinfo.info_data
    port = info.info_slave_data if info.info_slave_kind == "bridge" else {}
    words = [word for key, word in (("isolated", "isolated"), ("locked", "locked")) if port.get(key)]
    if port and not (port.get("flood", True) and port.get("bcast_flood", True)):
        words.append("no flooding")
    group = data.get("group") or data.get("group6") or data.get("remote") or data.get("remote6")
    vxlan = info.info_kind == "vxlan"
    return Device(
        index=link.ifindex,
        name=link.ifname,
        kind=info.info_kind,
        up="UP" in link.flags,
        carrier="LOWER_UP" in link.flags,
        mtu=link.mtu,
        address=link.address,
        alias=link.ifalias,
        master=link.master,
        port_state=str(port["state"]) if "state" in port else None,
        port_words=words,
        lower=link.link if not vxlan else None,
        elsewhere=link.link_netnsid is not None,
        vlan=data.get("id") if info.info_kind == "vlan" else None,
        vni=data.get("id") if vxlan else None,
        local=(data.get("local") or data.get("local6")) if vxlan else None,
        underlay=data.get("link") if vxlan else None,
        remotes=[str(group)] if vxlan and group else [],
        udp_port=data.get("port") if vxlan else None,
        addresses=[f"{one.local}/{one.prefixlen}" for one in link.addr_info if one.scope == "global"],
        vlan_filtering=bool(data.get("vlan_filtering")),
        vlans=[_vlan(entry) for entry in vlans],
        dropped=sum(side.dropped + side.errors for side in (link.stats64.rx, link.stats64.tx)),
    )


def _vlan(entry: _VlanEntry) -> str:
    numbers = str(entry.vlan) if entry.vlanEnd is None else f"{entry.vlan}-{entry.vlanEnd}"
    return numbers if "PVID" in entry.flags else f"{numbers} tagged"


learn(list[_Link], list[_FdbEntry] | None, list[_Vlans] | None, list[_Route] | None)
