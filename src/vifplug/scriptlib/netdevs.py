"""Network devices that join a guest to a switch: the hybrid pair with its bridge, and a card's representors."""

from __future__ import annotations

from plugscript import BadDetails, Drift, ask, device_exists, log, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_SIOCETHTOOL = 0x8946
_IFF_PROMISC = 0x100  # linux/if.h
_ETHTOOL_STXCSUM = 0x17  # linux/ethtool.h


class Hybrid:
    """A Linux bridge for one VIF, with a veth pair from it to the switch, so that iptables on the host see its packets.

    The names are Nova's: qbr, qvb (the bridge's end) and qvo (the switch's end).
    """

    def __init__(self, vif_id: str) -> None:
        self.bridge = f"qbr{vif_id[:11]}"
        self.bridge_end = f"qvb{vif_id[:11]}"
        self.switch_end = f"qvo{vif_id[:11]}"

    def plug(self, *, mtu: int | None, tap: str | None, userspace: bool, dry_run: bool) -> None:
        """Make what is missing, and set all of it. ``tap`` joins the bridge; ``userspace``: no kernel datapath."""
        lines: list[str] = []
        size = f" mtu {mtu}" if mtu else ""
        if not device_exists(self.switch_end):
            lines.append(f"link add {self.bridge_end}{size} type veth peer name {self.switch_end}{size}")
        if not device_exists(self.bridge):
            # like a wire: no delay, and each frame to the other port, wherever a migrating guest is seen just now
            how = "forward_delay 0 stp_state 0 mcast_snooping 0 ageing_time 0"
            lines.append(f"link add {self.bridge} type bridge {how}")
        promiscuous = "" if userspace else " promisc on"  # a userspace switch sees to it, and is known by it
        # the host has no address on any of them
        lines += [
            f"link set {self.bridge} addrgenmode none up{size}",
            f"link set {self.bridge_end} addrgenmode none promisc on master {self.bridge} up{size}",
            f"link set {self.switch_end} addrgenmode none{promiscuous} up{size}",
        ]
        if tap is not None:
            lines.append(f"link set {tap} master {self.bridge} up")
        _ip(lines)
        if userspace:
            # nobody would fill in the checksums that the kernel leaves to a card
            for name in (self.bridge_end, self.switch_end):
                log(f"transmit checksums of {name} off")
                if not dry_run:
                    checksums_off(name)

    def unplug(self) -> None:
        _ip(
            f"link del {name}" for name in (self.switch_end, self.bridge) if device_exists(name)
        )  # the other end goes with one end, and the tap leaves with the bridge

    def check(self, *, mtu: int | None, tap: str | None) -> Iterable[Drift]:
        """What is not as it was plugged."""
        from json import loads

        found = {link["ifname"]: link for link in loads(ask("ip", "-j", "link", "show").stdout)}
        expected = [(self.bridge, None), (self.bridge_end, self.bridge), (self.switch_end, None)]
        if tap is not None:
            expected.append((tap, self.bridge))
        for name, master in expected:
            link = found.get(name)
            if link is None:
                yield Drift(f"device {name}", "there", None)
                continue
            if "UP" not in link["flags"]:
                yield Drift(f"device {name}", "up", "down")
            if master is not None and link.get("master") != master:
                yield Drift(f"bridge of {name}", master, link.get("master"))
            if mtu is not None and name != tap and link["mtu"] != mtu:
                yield Drift(f"mtu of {name}", mtu, link["mtu"])


def _ip(lines: Iterable[str]) -> None:
    """One process for all of them; it stops at the first that fails."""
    lines = list(lines)
    for line in lines:
        log(f"ip {line}")
    if lines:
        run("ip", "-batch", "-", input="\n".join([*lines, ""]))


def checksums_off(name: str) -> None:
    """What ``ethtool -K NAME tx off`` does."""
    from array import array
    from struct import pack

    value = array("I", [_ETHTOOL_STXCSUM, 0])
    _ioctl(_SIOCETHTOOL, pack("16sP16x", name.encode(), value.buffer_info()[0]))


def is_promiscuous(name: str) -> bool:
    """Whether somebody takes every frame of the device, as a switch does that reads it by itself."""
    from struct import pack, unpack_from

    try:
        answer = _ioctl(_SIOCGIFFLAGS, pack("16s24x", name.encode()))
    except OSError:  # there is no such device
        return False
    return bool(unpack_from("H", answer, 16)[0] & _IFF_PROMISC)


def _ioctl(request: int, argument: bytes) -> bytes:
    from _socket import AF_INET, SOCK_DGRAM
    from _socket import socket as Socket  # noqa: N812 (a class; socket itself is slow to import)
    from fcntl import ioctl

    control = Socket(AF_INET, SOCK_DGRAM)
    try:
        return ioctl(control.fileno(), request, argument)
    finally:
        control.close()


class Function:
    """A card's virtual function, as sysfs shows it. Raises BadDetails if there is none at this address."""

    def __init__(self, slot: str, sysfs: str = "/sys") -> None:
        from os.path import basename, isdir, realpath

        self.slot = slot
        self._sysfs = sysfs
        self._place = f"{sysfs}/bus/pci/devices/{slot}"
        physical = f"{self._place}/physfn"
        if not isdir(physical):
            raise BadDetails(f"pci_slot {slot} is no virtual function of a card on this host")
        self._physical = realpath(physical)
        #: the PCI address of the physical function
        self.physical = basename(self._physical)
        numbers = [
            name[len("virtfn") :]
            for name in _names(self._physical)
            if name.startswith("virtfn") and basename(realpath(f"{self._physical}/{name}")) == slot
        ]
        if not numbers:
            raise BadDetails(f"pci_slot {slot}: the physical function {self.physical} does not know it")
        self.number = int(numbers[0])

    def representor(self) -> str:
        """The device of the host that stands for the function in the card's switch.

        Its phys_port_name is pf0vf3 or c1pf0vf3 for function 3 of port 0 (older drivers: 3), and its
        phys_switch_id is the uplink's: Documentation/networking/switchdev.rst of the kernel.
        """
        uplinks = _names(f"{self._physical}/net")
        for uplink in uplinks:
            switch = self._attribute(uplink, "phys_switch_id")
            if not switch:
                continue
            port = self._attribute(uplink, "phys_port_name")
            wanted = f"pf{port[1:]}vf{self.number}" if port[:1] == "p" and port[1:].isdecimal() else None
            for name in _names(f"{self._sysfs}/class/net"):
                said = self._attribute(name, "phys_port_name")
                plain = said[said.find("pf") :] if said[:1] == "c" and "pf" in said else said
                fits = (
                    plain == wanted
                    or plain == str(self.number)
                    or (wanted is None and plain.endswith(f"vf{self.number}"))
                )
                if name != uplink and fits and self._attribute(name, "phys_switch_id") == switch:
                    return name
        raise BadDetails(
            f"pci_slot {self.slot} has no representor: is its card ({self.physical}) in switchdev mode "
            "(devlink dev eswitch set pci/… mode switchdev)?"
        )

    def vdpa_device(self) -> str:
        """The character device of the function's vDPA device."""
        for device in _names(self._place):
            for name in _names(f"{self._place}/{device}") if device.startswith("vdpa") else ():
                if name.startswith("vhost-vdpa-"):
                    return f"/dev/{name}"
        raise BadDetails(
            f"pci_slot {self.slot} has no vDPA device bound to vhost_vdpa: make one with 'vdpa dev add'"
        )

    def _attribute(self, device: str, name: str) -> str:
        try:
            with open(f"{self._sysfs}/class/net/{device}/{name}") as file:
                return file.read().strip()
        except OSError:  # not every driver has it
            return ""


def _names(directory: str) -> list[str]:
    from os import listdir

    try:
        return sorted(listdir(directory))
    except FileNotFoundError:
        return []
