"""What a changed request asks of a VIF that is plugged."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from ..model import Vif, changed_fields
from ..model.vif import Migration
from ..script.contract import Info
from .results import Record

#: another device, or another script, is another VIF in all but name
_IDENTITY = {"shape", "devname", "address", "queues", "plug_script"}
#: what no script can change on a live VIF, whatever it offers
_FIXED = {"devname", "queues", "plug_script", "shape.type", "shape.made_by"}
#: only libvirt acts on these; the guest XML shows them
_GUEST = {"model", "driver", "bandwidth", "boot_order", "alias", "link_state"}
#: what the script may want to know, and can do without
_TOLD = {"network", "instance", "migration"}
#: what a script's activate is told, and what a VIF is from the moment that its guest is known to be here
_ARRIVED = Migration(role="destination", phase="done")


class How(StrEnum):
    """How to get from the recorded request to the new one."""

    SAME = "same"
    #: kernel and record; the script need not know
    RECORD = "record"
    #: the script's update verb
    UPDATE = "update"
    #: unplug and plug by the script, while the device stays
    REPLUG = "replug"
    #: unplug, then plug: another device
    REPLACE = "replace"


class Change(Struct, frozen=True):
    how: How
    #: what changed, dotted: "mtu", "details.tag", …
    fields: list[str]
    #: those of them that cannot be changed on a live VIF
    refused: list[str]
    #: whether the script has to be told that the guest lives here now
    activates: bool = False


def plan(old: Vif, new: Vif, info: Info | None) -> Change:
    """Compare two requests for one VIF, given what the script says of itself."""
    fields = sorted(changed_fields(old, new))
    if not fields:
        return Change(How.SAME, [], [])
    updates = set(info.update_fields) if info is not None and "update" in info.verbs else set()
    offered = {name for name in fields if _names(name) & updates} - _FIXED
    identity = [name for name in fields if _root(name) in _IDENTITY and name not in offered]
    details = [name for name in fields if _root(name) == "details" and name not in offered]
    mtu = ["mtu"] if "mtu" in fields and not (new.kept_here or "mtu" in offered) else []
    if identity or mtu:
        how = How.REPLACE
    elif details:
        how = How.REPLUG if new.plug_script is not None else How.RECORD
    else:
        how = How.UPDATE if offered else How.RECORD
    refused = identity + mtu + (details if how in (How.REPLACE, How.REPLUG) else [])
    told_by_plug = how in (How.REPLACE, How.REPLUG)  # of a VIF whose guest is here
    activates = takes_over(old, new) and not told_by_plug and info is not None and "activate" in info.verbs
    return Change(how, fields, refused, activates)


def takes_over(old: Vif, new: Vif) -> bool:
    """Whether this host owns the VIF with the new request, and with the old one did not, or not all knew it."""
    return _at_destination(old) and not new.arriving and new.migration != old.migration


def arrived(vif: Vif) -> Vif:
    """The VIF of a guest that is here, and of which the script may not know that yet."""
    return replace(vif, migration=_ARRIVED)


def settled_here(vif: Vif) -> Vif:
    """The VIF as every other of this host's, if it is a migration's destination."""
    return replace(vif, migration=None) if _at_destination(vif) else vif


def not_demoted(record: Record, vif: Vif) -> Vif:
    """The request, where it does not take the VIF for one that is still to come though its guest is here."""
    return settled_here(vif) if vif.arriving and not (record.lost or record.request.arriving) else vif


def told(verb: str, old: Vif, new: Vif) -> Vif:
    """What a script hears of in a change from one request to another."""
    if verb == "unplug":
        return old
    return arrived(new) if verb == "activate" else new


def known_by_device(record: Record) -> bool:
    """Whether a rebuilt ledger made up the request, from the device: then any request for that device is the first."""
    return record.error is not None and record.error.get("known_from") == "kernel"


def same_device(old: Vif, new: Vif) -> bool:
    """Whether the tap made for one request does for the other."""
    return new.made_here and old.devname == new.devname and (old.queues > 1) == (new.queues > 1)


def _at_destination(vif: Vif) -> bool:
    return vif.migration is not None and vif.migration.role == "destination"


def _root(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _names(name: str) -> set[str]:
    """The names under which a script may offer a field: "details.tag" is also "tag", "details" offers it too."""
    parts = name.split(".")
    names = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    if parts[0] in ("details", "shape"):  # both are vif_details to whoever wrote the binding
        names |= {".".join(parts[1:end]) for end in range(2, len(parts) + 1)}
    return names
