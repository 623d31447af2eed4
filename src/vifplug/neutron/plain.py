"""Bindings in Nova's own words, for hosts where the host agent plugs.

Nova itself makes the tap of a port of type ``tap``, and for ``vhostuser`` writes no more than the guest's XML: it
needs to know nothing of plug scripts. What the agent is to plug stands in the binding's vif_details under one key,
which Nova hands on unread: so it is kept with the binding, is seen by administrators, goes when the binding goes,
and a change of the rules does not change what is bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ..model import Vif, VifType
from ..model.vif import Ethernet, Vhostuser
from .plan import Refused, check_size

#: of vif_details
KEY = "vifplug"
#: of our types, those that Nova has a word of its own for: neutron_lib.api.definitions.portbindings
_NOVAS = {VifType.ETHERNET: "tap", VifType.VHOSTUSER: "vhostuser"}
#: what is Neutron's own to say, and others than us read
_COMMON = ("port_filter", "connectivity")


class Meant(Struct, frozen=True, kw_only=True):
    """What a binding means on its host."""

    vif_type: str
    details: Mapping[str, Any]
    #: whether the host agent plugs it, and Nova knows nothing of that
    plain: bool


def write(vif: Vif, details: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The binding's type and vif_details for Nova. ``vif`` is what ``details`` say.

    Raises Refused for what Nova has no words for.
    """
    found: dict[str, Any] = {key: details[key] for key in _COMMON if key in details}
    match vif.shape:
        case Ethernet(made_by="vifplug"):
            pass
        case Ethernet(made_by=made_by):
            raise Refused(
                f'detail "made_by" is {made_by!r}, and where the host agent plugs it is Nova that makes the tap: '
                "leave it out"
            )
        case Vhostuser(path=None):
            raise Refused(
                "vif_type vhostuser needs the socket's path: where the host agent plugs, Nova writes the guest's XML "
                'before a plug script could say it; give detail "path"'
            )
        case Vhostuser(reconnect=int()):
            raise Refused(
                'detail "reconnect" is nothing that Nova can write where the host agent plugs; leave it out'
            )
        case Vhostuser() as socket:
            found |= {"vhostuser_socket": socket.path, "vhostuser_mode": socket.mode}
        case _:
            raise Refused(
                f"the host agent plugs VIF types {' and '.join(map(str, _NOVAS))}, and Nova by itself knows no other "
                f"there; {vif.type} needs the os-vif plugin in nova-compute, and an agent with plugs = false"
            )
    found[KEY] = {"vif_type": str(vif.type), "vif_details": dict(details)}
    check_size(found)
    return _NOVAS[vif.type], found


def read(vif_type: str, details: Mapping[str, Any]) -> Meant:
    """What the binding of a port was made for."""
    ours = details.get(KEY)
    if isinstance(ours, Mapping) and isinstance(ours.get("vif_details"), Mapping):
        return Meant(vif_type=str(ours.get("vif_type")), details=ours["vif_details"], plain=True)
    return Meant(vif_type=vif_type, details=details, plain=False)
