"""The name in vif_type: one of the eight, or a sentence on what to bind instead."""

from __future__ import annotations

from typing import Any

from vifplug.errors import InvalidInput, UnsupportedVifType
from vifplug.model.checks import Wrong, nearest, one_of
from vifplug.model.vif import VifType

NAMES = [str(member) for member in VifType]

_NO_BINDING = {
    "unbound": "the port is not bound to a host yet: bind it (binding:host_id) and read it again",
    "binding_failed": "no mechanism driver could bind the port on this host: the reason is in the Neutron server's log",
    "distributed": "the port is of a distributed router and has no guest: plug the port of a guest",
}
_NOT_LIBVIRT = {
    "hyperv": "Hyper-V",
    "dvs": "VMware vSphere",
    "netvsc": "Hyper-V",
    "powervm": "PowerVM",
    "pvm_sea": "PowerVM",
    "zvm": "z/VM",
}
_ETHERNET = 'bind "ethernet" with a vif_plug_script'
_HOSTDEV = 'bind "hostdev" with pci_slot'
#: names that Nova's, os-vif's and Neutron's code uses or used, and what to bind for each
_INSTEAD = {
    "tap": 'bind "ethernet" without a vif_plug_script',
    "ovs": 'bind "bridge" with a virtualport of type openvswitch, or "ethernet" with an Open vSwitch vif_plug_script',
    "ovs_hybrid": 'bind "bridge" (qbr…) with a vif_plug_script',
    "agilio_ovs": f'{_HOSTDEV}, or "vhostuser"',
    "ovs_acceleration": f"{_HOSTDEV} and a vif_plug_script for the representor",
    "iovisor": _ETHERNET,
    "midonet": _ETHERNET,
    "ivs": _ETHERNET,
    "vrouter": _ETHERNET,
    "contrail_vrouter": _ETHERNET,
    "routed": _ETHERNET,
    "calico": _ETHERNET,
    "other": _ETHERNET,
    "vhostuser_ovs": 'bind "vhostuser" with a vif_plug_script that adds the port',
    "vhostuser_fp": 'bind "vhostuser" with a vif_plug_script that calls fp-vdev',
    "vhostuser_vrouter": 'bind "vhostuser" with a vif_plug_script',
    "vhostuser_vrouter_plug": 'bind "vhostuser" with a vif_plug_script',
    "macvtap": 'bind "direct" with source_dev',
    "hw_veb": f'{_HOSTDEV}, or "direct" with source_dev (vnic_type macvtap)',
    "hostdev_physical": _HOSTDEV,
    "ib_hostdev": f"{_HOSTDEV} and a vif_plug_script",
    "mlnx_direct": 'bind "direct" with mode passthrough and a vif_plug_script',
    "802.1qbg": 'bind "direct" with a virtualport of type 802.1Qbg',
    "802.1qbh": 'bind "direct" or "hostdev" with a virtualport of type 802.1Qbh',
    "ovs_direct": 'bind "vdpa" or "hostdev" with a vif_plug_script',
}


def vif_type(value: Any, field: str) -> VifType:
    """The type that ``value`` names. Raises UnsupportedVifType or InvalidInput, with what to do."""
    if isinstance(value, str):
        if value in NAMES:
            return VifType(value)
        if sentence := _sentence(value.lower()):
            raise UnsupportedVifType(
                f'{field}: "{value}" cannot be plugged: {sentence}',
                field=field,
                value=value,
                allowed=one_of(NAMES),
            )
    if value is None:
        raise InvalidInput(
            f"{field} is missing; it must be {one_of(NAMES)}", field=field, value=None, allowed=one_of(NAMES)
        )
    hint = nearest(value, NAMES) if isinstance(value, str) else ""
    raise Wrong(field, value, one_of(NAMES), hint)


def _sentence(name: str) -> str | None:
    if name in NAMES:
        return f'write "{name}" in lower case'
    if name in _NOT_LIBVIRT:
        return f"it belongs to {_NOT_LIBVIRT[name]}, not to libvirt; a libvirt host has {', '.join(NAMES)}"
    return _NO_BINDING.get(name) or _INSTEAD.get(name)
