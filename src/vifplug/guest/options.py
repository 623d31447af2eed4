"""Which option means something for which VIF type.

libvirt and QEMU drop many options without a word: a bandwidth on vhostuser, a link state on a PCI
card, a VLAN tag on a plain bridge. A guest that then runs without what was asked for is worse than
an error, so vifplug refuses: ``InvalidInput`` names the option, its value, the VIF type and why.
(What is wrong for libvirt and QEMU alike, such as queues on an e1000, the model refuses already.)

The MTU is the one exception. It is a fact of the network, told to every port, and not a wish for
one VIF: where the guest's device cannot be told it, it is left out.
"""

from __future__ import annotations

from typing import Any, NoReturn

from msgspec import Struct, to_builtins

from vifplug.errors import InvalidInput
from vifplug.model.checks import portable, shown
from vifplug.model.vif import (
    Bridge,
    Direct,
    Driver,
    Ethernet,
    Hostdev,
    Network,
    OpenvswitchPort,
    Vdpa,
    Vhostuser,
    Vif,
    VifType,
    Vlan,
)

#: types whose device on the host ``tc`` can shape (libvirt: virNetDevSupportsBandwidth)
SHAPED = (Ethernet, Bridge, Network, Direct)
#: types for which libvirt's QEMU driver takes ``<mtu>`` (libvirt: qemuDomainNetSupportsMTU)
TELLS_MTU = (Ethernet, Bridge, Network, Vhostuser)
#: types that the kernel's vhost or QEMU itself can serve; each of the others has one back end
CHOOSES_BACKEND = (Ethernet, Bridge, Network, Direct)


def refuse(vif: Vif, field: str, value: Any, reason: str) -> NoReturn:
    """Raise InvalidInput for one option of a VIF: the field, its value, the type, and the reason."""
    if isinstance(value, Struct):
        value = to_builtins(value)
    raise InvalidInput(
        f"{field}: {shown(value)} cannot be used with VIF type {vif.type}: {reason}",
        field=field,
        value=portable(value),
        vif_type=str(vif.type),
        vif_id=vif.id,
    )


def refuse_without_libvirt(vif: Vif, who: str) -> NoReturn:
    """Raise InvalidInput for a VIF whose device nobody but libvirt makes, or QEMU: ``who`` cannot."""
    reasons = {
        VifType.BRIDGE: "libvirt makes its tap; QEMU's bridge helper makes one whose name nobody can know. Bind"
        " vif_type ethernet with the script linux-bridge or openvswitch",
        VifType.NETWORK: "the network is libvirt's own. Bind vif_type ethernet with a plug script",
        VifType.DIRECT: "libvirt makes the macvtap and hands over its descriptor. Make one with a plug script and bind"
        " vif_type ethernet",
    }
    reason = reasons.get(vif.type, "it has no such back end. Bind vif_type ethernet with a plug script")
    refuse(vif, "vif_type", str(vif.type), f"{who} cannot do it: {reason}")


def check_card(vif: Vif, shape: Hostdev) -> None:
    """Refuse what libvirt sets on a card given to a guest whole, and without it nobody but a plug script would."""
    if vif.plug_script is not None:
        return
    for field in ("vlan", "virtualport"):
        if (value := getattr(shape, field)) is not None:
            refuse(vif, f"vif_details.{field}", value, "only a plug script can set it on the card")
    if vif.address is not None:
        refuse(vif, "address", vif.address, "only a plug script can set it on the card")


def need(vif: Vif, field: str, value: str | None) -> str:
    """The value of a detail that the guest's device cannot do without."""
    if not value:
        raise InvalidInput(
            f"{field} is missing: VIF type {vif.type} needs it, from the binding or from the script's reply",
            field=field,
            value=None,
            vif_type=str(vif.type),
            vif_id=vif.id,
        )
    return value


def check_options(vif: Vif) -> None:
    """Refuse every option that libvirt and QEMU would ignore for the VIF's type."""
    if isinstance(vif.shape, Hostdev):
        _check_card(vif)
    if isinstance(vif.shape, Vdpa) and vif.model != "virtio":
        refuse(vif, "model", vif.model, "use virtio")
    if vif.driver is not None and vif.driver.name is not None and not isinstance(vif.shape, CHOOSES_BACKEND):
        refuse(vif, "driver.name", vif.driver.name, "this type has one back end; leave it out")
    if vif.bandwidth is not None:
        if not isinstance(vif.shape, SHAPED) and vif.plug_script is None:
            refuse(vif, "bandwidth", vif.bandwidth, "the host has no device to shape; leave it out")
        inbound = vif.bandwidth.inbound
        if inbound is not None and inbound.floor is not None and not isinstance(vif.shape, Network):
            refuse(vif, "bandwidth.inbound.floor", inbound.floor, "only a libvirt network promises a floor")
    _check_vlan(vif)


def check_limited_by(vif: Vif, script: str, *, offers: bool) -> None:
    """Refuse a bandwidth that neither the host's device can be held to, nor, as it says itself, the plug script."""
    if vif.bandwidth is not None and not isinstance(vif.shape, SHAPED) and not offers:
        refuse(
            vif,
            "bandwidth",
            vif.bandwidth,
            f"the host has no device to shape, and the plug script {script} does not offer to (bandwidth in the"
            " update_fields of its info); leave it out",
        )


def _check_card(vif: Vif) -> None:
    if vif.model != "virtio":
        refuse(vif, "model", vif.model, "the guest sees the card itself; leave the model out")
    if vif.driver is not None and vif.driver != Driver():
        refuse(vif, "driver", vif.driver, "the guest drives the card itself; leave it out")
    if vif.link_state is not None:
        refuse(vif, "link_state", vif.link_state, "the link is the card's own; leave it out")


def _check_vlan(vif: Vif) -> None:
    vlan: Vlan | None = getattr(vif.shape, "vlan", None)
    if vlan is None:
        return
    field = "vif_details.vlan"
    match vif.shape:
        case Bridge(virtualport=port) if not isinstance(port, OpenvswitchPort):
            refuse(vif, field, vlan, "only with a virtualport of type openvswitch does a bridge tag frames")
        case Direct() | Hostdev() if vlan.trunk:
            refuse(vif, field, vlan, "a virtual function carries one tag and no trunk")
        case _:
            pass


def tells_mtu(vif: Vif) -> bool:
    """Whether the guest's device can be told the network's MTU."""
    return isinstance(vif.shape, TELLS_MTU)
