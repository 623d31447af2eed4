"""What a script answered, checked by what the VIF's type lets a script answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from vifplug.errors import BadReply, InvalidInput
from vifplug.model import source
from vifplug.model.checks import Wrong, printable
from vifplug.model.explain import convert
from vifplug.model.vif import Ethernet, Vif, VifType
from vifplug.model.words import DeviceName, Mtu

#: fields of the shape that a script may answer; every type takes mtu besides
ANSWERS: dict[VifType, tuple[str, ...]] = {
    VifType.ETHERNET: (),
    VifType.BRIDGE: ("bridge",),
    VifType.NETWORK: (),
    VifType.DIRECT: ("source_dev",),
    VifType.HOSTDEV: ("pci_slot",),
    VifType.VHOSTUSER: ("path", "mode"),
    VifType.VDPA: ("device",),
    VifType.USER: (),
}


def answers(vif: Vif) -> list[str]:
    """The keys that a reply for this VIF may have. ``devname`` is there where the script makes the device."""
    made_by_script = isinstance(vif.shape, Ethernet) and vif.shape.made_by == "script"
    return ["mtu", *(["devname"] if made_by_script else []), *ANSWERS[vif.type]]


def fold_reply(vif: Vif, fields: Mapping[str, Any]) -> Vif:
    """The VIF with the ``vif`` object of a reply in it. Raises BadReply, which names the field."""
    try:
        return _fold(vif, fields)
    except InvalidInput as error:
        raise BadReply(f"the script's reply is refused: {error.message}", **error.context) from None


def _fold(vif: Vif, fields: Any) -> Vif:
    if not isinstance(fields, Mapping):
        raise Wrong("vif", fields, "an object")
    fields = source.plain(fields, "vif")
    allowed = answers(vif)
    for key, value in fields.items():
        if key not in allowed:
            raise Wrong(
                f"vif.{printable(key)}",
                value,
                f"left out: for this VIF of type {vif.type} a script may answer {', '.join(allowed)}",
            )
        if value is None:
            raise Wrong(f"vif.{key}", None, "a value, or left out")
    new: dict[str, Any] = {
        key: convert(fields.pop(key), expected, f"vif.{key}")
        for key, expected in (("mtu", Mtu), ("devname", DeviceName))
        if key in fields
    }
    shape: Any = convert(msgspec.to_builtins(vif.shape) | fields, type(vif.shape), "vif")
    return msgspec.structs.replace(vif, **new, shape=shape)
