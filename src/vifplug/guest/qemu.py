"""A VIF as arguments for QEMU alone, without libvirt: ``-netdev``, ``-chardev`` and ``-device``.

Sources: QEMU's invocation page ("Network options") and its qapi/net.json, as of QEMU 7.2.

QEMU can open what is there: a tap by its name, a vhost-user socket, a vDPA or VFIO device, or its own
user network. It cannot make what libvirt makes (a tap in a bridge, a macvtap, a network's port), nor
shape traffic; such a VIF is refused with the reason, and with what to bind instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from msgspec import Struct

from vifplug.guest.options import (
    SHAPED,
    check_card,
    check_options,
    need,
    refuse,
    refuse_without_libvirt,
    tells_mtu,
)
from vifplug.model.vif import (
    Bridge,
    Direct,
    Driver,
    Ethernet,
    Hostdev,
    Network,
    PortForward,
    User,
    Vdpa,
    Vhostuser,
    Vif,
)

_DEVICES = {
    "virtio": "virtio-net-pci",
    "virtio-transitional": "virtio-net-pci-transitional",
    "virtio-non-transitional": "virtio-net-pci-non-transitional",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "igb": "igb",
    "ne2k_pci": "ne2k_pci",
    "pcnet": "pcnet",
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
}
#: host ports that one VIF may forward: each is an argument of its own, and a socket in QEMU
_MOST_FORWARDS = 256

Value = str | int | bool
#: what is None is left out
Options = list[tuple[str, Value | None]]


class Part(Struct, frozen=True):
    """One argument of QEMU, before it is written: ``flag head,key=value,…``."""

    #: "-netdev", "-chardev" or "-device"
    flag: str
    #: the back end or device that it is
    head: str
    options: list[tuple[str, Value]]

    @property
    def id(self) -> str:
        return str(dict(self.options)["id"])

    def written(self) -> list[str]:
        """For an argv; a comma in a value is doubled, as QEMU's parser wants it."""
        words = [self.head, *(f"{key}={_word(value).replace(',', ',,')}" for key, value in self.options)]
        return [self.flag, ",".join(words)]


def qemu_arguments(vif: Vif, *, fds: Sequence[int] | None = None) -> list[str]:
    """Arguments that give one QEMU this VIF, ready for an argv: nothing in them needs a shell's quoting.

    The device's id is the VIF's alias, or ``vif-`` and the VIF's id; the back end's is ``host-`` and
    the VIF's id. A vhostuser guest must have its memory shared (``memory-backend-memfd,share=on``);
    that is the machine's business, not the VIF's.

    ``fds``: descriptors of an ethernet VIF's tap that QEMU inherits, one for each queue (see
    vifplug.qemu.open_tap); without them QEMU opens the tap by its name, for which it needs CAP_NET_ADMIN or has
    to be the tap's owner.

    Raises InvalidInput where the VIF lacks what its type needs, and where QEMU alone cannot do it.
    """
    return [word for part in qemu_parts(vif, fds=fds) for word in part.written()]


def qemu_parts(vif: Vif, *, fds: Sequence[int | str] | None = None) -> list[Part]:
    """The same, unwritten, and in the order in which a QEMU that runs has to be given them. ``fds`` are numbers,
    or names by which QEMU knows descriptors (``getfd``)."""
    check_options(vif)
    if vif.bandwidth is not None and isinstance(vif.shape, SHAPED):
        refuse(vif, "bandwidth", vif.bandwidth, "QEMU shapes no traffic; leave that to the plug script")
    if vif.link_state == "down":
        refuse(vif, "link_state", vif.link_state, "QEMU has no argument for it; send set_link once it runs")
    if fds is not None and not isinstance(vif.shape, Ethernet):
        refuse(vif, "vif_type", str(vif.type), "only a tap is handed to QEMU by descriptors")
    match vif.shape:
        case Ethernet():
            return [_tap(vif.shape, vif, fds), _nic(vif)]
        case Vhostuser():
            return [*_vhost_user(vif.shape, vif), _nic(vif)]
        case Vdpa():
            return [_vhost_vdpa(vif.shape, vif), _nic(vif)]
        case User():
            return [_slirp(vif.shape, vif), _nic(vif)]
        case Hostdev():
            return [_vfio(vif.shape, vif)]
        case Bridge() | Network() | Direct():
            return refuse_without_libvirt(vif, "QEMU alone")


# --- back ends ------------------------------------------------------------------------------------


def _tap(shape: Ethernet, vif: Vif, fds: Sequence[int | str] | None) -> Part:
    if shape.made_by == "libvirt":
        refuse(vif, "vif_details.made_by", shape.made_by, "there is no libvirt here; say vifplug or script")
    name = vif.driver.name if vif.driver else None
    backend: Options = [
        ("ifname", vif.devname),
        # no script of QEMU's own may touch the device: that is the plug script's work, done before
        ("script", "no"),
        ("downscript", "no"),
        ("queues", vif.queues if vif.queues > 1 else None),
    ]
    if fds is not None:
        if len(fds) != vif.queues:
            refuse(vif, "queues", vif.queues, f"{len(fds)} descriptors were given: each queue needs one")
        names = ":".join(map(str, fds))
        backend = [("fd" if len(fds) == 1 else "fds", names)]
    vhost = None if name is None else name == "vhost"
    return _part("-netdev", "tap", [("id", _backend_id(vif)), *backend, ("vhost", vhost)])


def _vhost_user(shape: Vhostuser, vif: Vif) -> list[Part]:
    path = need(vif, "vif_details.path", shape.path)
    socket: Options = [("id", f"chr-{vif.id}"), ("path", path)]
    if shape.mode == "server":
        socket.append(("server", True))
    elif shape.reconnect:
        socket.append(("reconnect", shape.reconnect))
    queues = vif.queues if vif.queues > 1 else None
    backend: Options = [("id", _backend_id(vif)), ("chardev", f"chr-{vif.id}"), ("queues", queues)]
    return [_part("-chardev", "socket", socket), _part("-netdev", "vhost-user", backend)]


def _vhost_vdpa(shape: Vdpa, vif: Vif) -> Part:
    device = need(vif, "vif_details.device", shape.device)
    queues = vif.queues if vif.queues > 1 else None
    return _part(
        "-netdev", "vhost-vdpa", [("id", _backend_id(vif)), ("vhostdev", device), ("queues", queues)]
    )


def _slirp(shape: User, vif: Vif) -> Part:
    if shape.backend == "passt":
        refuse(
            vif,
            "vif_details.backend",
            shape.backend,
            "libvirt starts passt, QEMU does not; use backend slirp, or start passt yourself and give QEMU "
            "its socket as -netdev stream",
        )
    options: Options = [("id", _backend_id(vif))]
    for forward in shape.port_forwards:
        options.extend(("hostfwd", rule) for rule in _forward_rules(forward, vif))
    if len(options) - 1 > _MOST_FORWARDS:
        ports = len(options) - 1
        refuse(vif, "vif_details.port_forwards", f"{ports} ports", f"QEMU gets {_MOST_FORWARDS} at most")
    return _part("-netdev", "user", options)


def _forward_rules(forward: PortForward, vif: Vif) -> list[str]:
    if forward.dev is not None:
        refuse(vif, "vif_details.port_forwards.dev", forward.dev, "QEMU listens on addresses, not on devices")
    address = forward.address or ""
    if address and ip_address(address).version != 4:
        refuse(vif, "vif_details.port_forwards.address", address, "QEMU forwards from IPv4 alone")
    to = forward.to or forward.start
    return [
        f"{forward.proto}:{address}:{port}-:{to + port - forward.start}"
        for port in range(forward.start, (forward.end or forward.start) + 1)
    ]


# --- the device that the guest sees ---------------------------------------------------------------


def _nic(vif: Vif) -> Part:
    device = _DEVICES.get(vif.model)
    if device is None:
        refuse(vif, "model", vif.model, f"QEMU has {', '.join(_DEVICES)}")
    options: Options = [
        ("netdev", _backend_id(vif)),
        ("id", vif.alias or f"vif-{vif.id}"),
        ("mac", vif.address),
        ("bootindex", vif.boot_order),
    ]
    if device.startswith("virtio-"):
        options += _virtio(vif, vif.driver or Driver())
    return _part("-device", device, options)


def _virtio(vif: Vif, driver: Driver) -> Options:
    options: Options = []
    if vif.queues > 1:
        # a vector for each queue of a pair, one for the control queue, one for configuration
        options += [("mq", True), ("vectors", 2 * vif.queues + 2)]
    if tells_mtu(vif):
        options.append(("host_mtu", vif.mtu))
    return [
        *options,
        ("tx", {"iothread": "bh", "timer": "timer", None: None}[driver.txmode]),
        ("ioeventfd", driver.ioeventfd),
        ("event_idx", driver.event_idx),
        ("rx_queue_size", driver.rx_queue_size),
        ("tx_queue_size", driver.tx_queue_size),
        ("iommu_platform", driver.iommu),
        ("ats", driver.ats),
        ("packed", driver.packed),
    ]


def _vfio(shape: Hostdev, vif: Vif) -> Part:
    slot = need(vif, "vif_details.pci_slot", shape.pci_slot)
    if shape.managed:
        refuse(
            vif,
            "vif_details.managed",
            shape.managed,
            "QEMU does not take the card from its driver; bind it to vfio-pci first and say managed false",
        )
    check_card(vif, shape)
    options: Options = [("host", slot), ("id", vif.alias or f"vif-{vif.id}"), ("bootindex", vif.boot_order)]
    return _part("-device", "vfio-pci", options)


# --- writing --------------------------------------------------------------------------------------


def _backend_id(vif: Vif) -> str:
    return f"host-{vif.id}"


def _part(flag: str, head: str, options: Options) -> Part:
    return Part(flag, head, [(key, value) for key, value in options if value is not None])


def _word(value: Value) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
