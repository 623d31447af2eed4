"""The devices that vifplug makes or takes: ensured, compared with what was plugged, and removed or let go of."""

from __future__ import annotations

import errno
import grp
import pwd
from collections import Counter
from collections.abc import Iterable, Sequence

from ..config import Device
from ..errors import ConfigError, DeviceFailed, DeviceTaken, NoPermission, VifInUse
from ..model.vif import Bridge, Direct, Ethernet, Network, Vif
from . import tap
from .netlink import Link, Netlink, NetlinkError
from .results import Drift
from .together import Together

#: a drift that nobody of ours can mend: who made the device took it away again
CALLERS_DEVICE = "caller's device"
#: what a guest opens by name
_TAPS = ("tun", "macvtap")


class Links:
    """Every device at one moment, to be asked like the kernel itself."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._by_index = {link.index: link for link in links}
        self._by_name = {link.name: link for link in self._by_index.values()}

    def link(self, name: str) -> Link | None:
        return self._by_name.get(name)

    def link_at(self, index: int) -> Link | None:
        return self._by_index.get(index)


class Devices:
    """The kernel's side of this host's VIFs. ``ledger`` marks what belongs to this state directory."""

    def __init__(self, settings: Device, ledger: str) -> None:
        self._settings = settings
        self._prefix = f"vifplug:{ledger}:"
        #: of what somebody else made: without a VIF it is none of ours to remove
        self._taken_prefix = f"vifplug-took:{ledger}:"
        self._owner = _id_of(settings.owner, "owner")
        self._group = _id_of(settings.group, "group")
        self._removals: Together[str, bool] = Together(self._remove_all)
        self._dumps: Together[None, list[Link]] = Together(_dump)

    def ensure(self, vif: Vif) -> bool:
        """Make the VIF's tap, or bring the one made before back to what the VIF asks.

        True when it was made now, or taken from who made it. Raises DeviceTaken when the name is somebody else's.
        """
        if not vif.made_here:
            return self._take(vif)
        alias = self._prefix + vif.id
        with Netlink() as netlink:
            try:
                tap.make(
                    netlink,
                    vif.devname,
                    alias=alias,
                    address=host_address(vif),
                    mtu=vif.mtu,
                    multi_queue=vif.queues > 1,
                    vnet_hdr=self._settings.vnet_hdr,
                    owner=self._owner,
                    group=self._group,
                )
            except DeviceTaken:
                found = netlink.link(vif.devname)
                if found is None or found.alias != alias:
                    raise
                self._restore(netlink, vif, found)
                return False
        return True

    def _take(self, vif: Vif) -> bool:
        mark = self._mark(vif)
        with Netlink() as netlink:
            found = netlink.link(vif.devname)
            if found is None:
                raise DeviceFailed(
                    f"there is no device {vif.devname}: made_by is 'caller', so who asks for the plug makes it before",
                    device=vif.devname,
                )
            if found.kind not in _TAPS or (found.alias and not found.alias.endswith(f":{vif.id}")):
                raise tap.taken(found)
            if found.alias == mark:
                self._restore(netlink, vif, found)
                return False
            try:
                netlink.configure(vif.devname, address=host_address(vif), mtu=vif.mtu, alias=mark, up=True)
            except NetlinkError as error:
                raise _refused("to set up", vif.devname, error) from error
        return True

    def settle(self, vif: Vif) -> str | None:
        """See after the script that the device is as promised; the name of its master, if the script gave it one.

        For a VIF whose device libvirt makes later: of the bridge or device that it will be made on, if that
        is there. Whatever else on the host looks at new devices (udev, a network manager) may have changed
        MAC, MTU or state meanwhile: what it changed is set back. Raises DeviceFailed when there is
        no device though there should be.
        """
        with Netlink() as netlink:
            if not isinstance(vif.shape, Ethernet):
                base = _base(vif)
                return base if base is not None and netlink.link(base) else None
            if vif.shape.made_by == "libvirt":
                return None
            found = netlink.link(vif.devname)
            if found is None:
                raise DeviceFailed(
                    f"the script ended well, but there is no device {vif.devname}"
                    + ("" if vif.made_here else " (made_by is 'script', so the script has to make it)"),
                    device=vif.devname,
                )
            if vif.kept_here:
                self._restore(netlink, vif, found)
            return _master_name(netlink, found) if vif.plug_script else None

    def links(self) -> Links:
        """Every device now."""
        with Netlink() as netlink:
            return Links(netlink.links())

    def drift(self, vif: Vif, master: str | None, links: Links | None = None) -> list[Drift]:
        """How the kernel's state (or that of ``links``) differs from what was plugged; empty when it does not."""
        if links is not None:
            return self._drift(vif, master, links)
        with Netlink() as netlink:
            return self._drift(vif, master, netlink)

    def _drift(self, vif: Vif, master: str | None, kernel: Netlink | Links) -> list[Drift]:
        if not isinstance(vif.shape, Ethernet):
            gone = master is not None and kernel.link(master) is None
            return [Drift(what=f"{vif.type.value} device", expected=master, found=None)] if gone else []
        if vif.shape.made_by == "libvirt":
            return []
        found = kernel.link(vif.devname)
        if found is None:
            what = "device" if vif.shape.made_by != "caller" else CALLERS_DEVICE
            return [Drift(what=what, expected=vif.devname, found=None)]
        return self._tap_drift(vif, master, found, kernel) if vif.kept_here else []

    def _tap_drift(self, vif: Vif, master: str | None, found: Link, kernel: Netlink | Links) -> list[Drift]:
        if found.alias != (mark := self._mark(vif)):
            return [Drift(what="device alias", expected=mark, found=found.alias)]
        drift = [
            Drift(what=what, expected=expected, found=actual)
            for what, expected, actual in _compare(vif, found)
            if expected != actual
        ]
        if vif.plug_script is None:  # nobody of ours joined it to anything: who did may move it
            return drift
        if (present := _master_name(kernel, found)) != master:
            drift.append(Drift(what="device master", expected=master, found=present))
        return drift

    def take_back(self, vif: Vif) -> None:
        """Give the VIF's tap its name back, if somebody renamed it. Raises DeviceFailed when the kernel refuses."""
        if not vif.made_here:
            return
        with Netlink() as netlink:
            if netlink.link(vif.devname) is not None:
                return
            alias = self._prefix + vif.id
            found = next((link for link in self._dumps.do(None) if link.alias == alias), None)
            if found is None:
                return
            try:
                netlink.rename(found, vif.devname)
            except NetlinkError as error:
                raise DeviceFailed(
                    f"the kernel refused to name {found.name} {vif.devname} again: {error.strerror}",
                    device=vif.devname,
                ) from error

    def has(self, vif: Vif) -> bool:
        """Whether the VIF's tap is there. Raises DeviceTaken when the name is somebody else's."""
        with Netlink() as netlink:
            found = netlink.link(vif.devname)
        if found is not None and found.alias != self._prefix + vif.id:
            raise tap.taken(found)
        return found is not None

    def check_free(self, vif: Vif, changes: Sequence[str]) -> None:
        """Raise VifInUse when ``changes`` need another device and a guest holds the present one open."""
        if self.held_by_guest(vif):
            raise VifInUse(
                f"VIF {vif.id} is plugged and a guest holds {vif.devname} open: {', '.join(changes)} cannot be changed"
                " under it. Detach the interface or stop the guest, then plug again",
                vif_id=vif.id,
                fields=list(changes),
            )

    def held_by_guest(self, vif: Vif) -> bool:
        """Whether a guest has the VIF's device open: a tap has carrier just then.

        A device that libvirt or the script made is taken for held when it is there with carrier.
        """
        with Netlink() as netlink:
            found = netlink.link(vif.devname)
        if found is None or (vif.made_here and found.alias != self._prefix + vif.id):
            return False
        return found.carrier

    def held(self, vif: Vif, links: Links | None = None) -> bool | None:
        """Whether a guest has the VIF's device open, by the kernel's state or that of ``links``; None where the
        kernel does not show that.

        A tap has carrier just while a process has it open. One that libvirt makes is there for no longer than
        that, nor is its macvtap.
        """
        shape = vif.shape
        if not isinstance(shape, Ethernet | Bridge | Network | Direct):
            return None
        if links is not None:
            found = links.link(vif.devname)
        else:
            with Netlink() as netlink:
                found = netlink.link(vif.devname)
        if found is None or (vif.made_here and found.alias != self._prefix + vif.id):
            return False
        if not isinstance(shape, Ethernet) or shape.made_by == "libvirt":
            return True
        return found.carrier if found.kind == "tun" else None

    def remove(self, vif: Vif) -> bool:
        """Remove the device that was made for this VIF, or let go of the one taken for it; True when there was one."""
        if not vif.made_here:
            return self._let_go(vif)
        return self._removals.do(f"{vif.devname}\0{vif.id}")

    def remove_all(self, vifs: Sequence[Vif]) -> None:
        """Remove the devices that were made for these VIFs, and let go of those that were taken."""
        for vif in vifs:
            if not vif.made_here:
                self._let_go(vif)
        self._remove_all([f"{vif.devname}\0{vif.id}" for vif in vifs if vif.made_here])

    def _let_go(self, vif: Vif) -> bool:
        with Netlink() as netlink:
            found = netlink.link(vif.devname)
            if found is None or found.alias != self._mark(vif):
                return False
            try:
                netlink.set(vif.devname, alias="")
            except NetlinkError as error:
                if error.errno == errno.ENODEV:  # its maker was faster
                    return False
                raise _refused("to take the mark off", vif.devname, error) from error
        return True

    def remove_callers(self, vif_id: str, name: str) -> bool:
        """Remove a tap that its maker made for a VIF and forgot, if nobody holds it open; True when it did.

        That is one with the VIF's mark, or one that nobody marked and that is in no bridge: any other may be
        another mechanism's by now. Of a tap alone the kernel shows who holds it: a macvtap's carrier is that of
        the device below.
        """
        with Netlink() as netlink:
            found = netlink.link(name)
            if found is None or found.kind != "tun" or found.carrier:
                return False
            if found.alias != self._taken_prefix + vif_id and (found.alias or found.master is not None):
                return False
            try:
                netlink.delete([found.index])
            except NetlinkError as error:
                if error.errno == errno.ENODEV:  # its maker was faster
                    return False
                raise _refused("to delete", name, error) from error
        return True

    def orphans(self, owned: set[str]) -> list[Link]:
        """Devices with this ledger's mark whose VIF is not among ``owned`` (ids), or has several of them."""
        with Netlink() as netlink:
            links = [(link.alias or "", link) for link in netlink.links()]
        ours = [(alias, link) for alias, link in links if alias.startswith(self._prefix)]
        marked = [(alias.removeprefix(self._prefix), link) for alias, link in ours]
        count = Counter(vif_id for vif_id, _ in marked)
        return [link for vif_id, link in marked if vif_id not in owned or count[vif_id] > 1]

    def vif_of(self, link: Link) -> str | None:
        """The id of the VIF that a device was made or taken for; None for a device that is not ours."""
        alias = link.alias or ""
        prefix = next((each for each in (self._prefix, self._taken_prefix) if alias.startswith(each)), None)
        return None if prefix is None else alias.removeprefix(prefix)

    def is_second(self, link: Link, vif: Vif) -> bool:
        """Whether this device bears the VIF's mark though the VIF has its own."""
        with Netlink() as netlink:
            found = self._made_for(netlink, vif.devname, vif.id)
        return found is not None and found.index != link.index

    def remove_orphan(self, link: Link) -> None:
        """Remove this very device, whatever it is called by now."""
        with Netlink() as netlink:
            try:
                netlink.delete([link.index])
            except NetlinkError as error:
                kind = NoPermission if error.errno == errno.EPERM else DeviceFailed
                raise kind(f"the kernel refused to delete {link.name}: {error.strerror}") from error

    def _mark(self, vif: Vif) -> str:
        return (self._prefix if vif.made_here else self._taken_prefix) + vif.id

    def _restore(self, netlink: Netlink, vif: Vif, found: Link) -> None:
        if all(expected == actual for _, expected, actual in _compare(vif, found)):
            return
        try:
            netlink.set(vif.devname, address=host_address(vif), mtu=vif.mtu, up=True)
        except NetlinkError as error:
            raise DeviceFailed(
                f"the kernel refused address {host_address(vif)} and mtu {vif.mtu} for {vif.devname}: {error.strerror}",
                device=vif.devname,
            ) from error

    def _remove_all(self, items: list[str]) -> list[bool | BaseException]:
        with Netlink() as netlink:
            found = [self._made_for(netlink, *item.split("\0")) for item in items]
            if None in found:  # renamed meanwhile, or gone: what matters is whose mark it bears
                marked = {link.alias: link for link in netlink.links() if link.alias}
                aliases = [self._prefix + item.split("\0")[1] for item in items]
                found = [link or marked.get(alias) for link, alias in zip(found, aliases, strict=True)]
            try:
                netlink.delete([link.index for link in found if link is not None])
            except NetlinkError as error:
                kind = NoPermission if error.errno == errno.EPERM else DeviceFailed
                names = ", ".join(item.split("\0")[0] for item in items)
                raise kind(f"the kernel refused to delete {names}: {error.strerror}") from error
            return [link is not None for link in found]

    def _made_for(self, netlink: Netlink, name: str, vif_id: str) -> Link | None:
        found = netlink.link(name)
        return found if found is not None and found.alias == self._prefix + vif_id else None


def _refused(what: str, name: str, error: NetlinkError) -> DeviceFailed | NoPermission:
    kind = NoPermission if error.errno == errno.EPERM else DeviceFailed
    return kind(f"the kernel refused {what} {name}: {error.strerror}", device=name)


def host_address(vif: Vif) -> str | None:
    """The MAC of the host's end: the guest's with the first byte fe, as libvirt does it.

    A bridge takes the lowest MAC of its ports for its own and keeps a local entry for each: the
    guest's own address there would swallow the guest's frames.
    """
    return "fe" + vif.address[2:] if vif.address is not None else None


def _compare(vif: Vif, found: Link) -> list[tuple[str, object, object]]:
    compared: list[tuple[str, object, object]] = [("device up", True, found.up)]
    if vif.address is not None:
        compared.append(("device address", host_address(vif), found.address))
    if vif.mtu is not None:
        compared.append(("device mtu", vif.mtu, found.mtu))
    return compared


def _base(vif: Vif) -> str | None:
    """The device of the host that libvirt makes the VIF's on."""
    shape = vif.shape
    if isinstance(shape, Bridge):
        return shape.bridge
    return shape.source_dev if isinstance(shape, Direct) else None


def _dump(askers: list[None]) -> list[list[Link] | BaseException]:
    """Every device now, found once for all who ask at the same time."""
    with Netlink() as netlink:
        found = netlink.links()
    return [found for _ in askers]


def _master_name(kernel: Netlink | Links, link: Link) -> str | None:
    if link.master is None:
        return None
    master = kernel.link_at(link.master)
    return master.name if master else None


def _id_of(name: str | None, what: str) -> int | None:
    if name is None:
        return None
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if what == "owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(
            f"device.{what}: there is no such {'user' if what == 'owner' else 'group'}: {name!r}"
        ) from None
