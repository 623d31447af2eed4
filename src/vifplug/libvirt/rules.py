"""Whether a VIF of a domain should be plugged, told from what libvirt and the ledger say at one moment."""

from __future__ import annotations

from enum import StrEnum

from ..host.results import Record, State
from .connection import binding
from .definition import ALIAS, Definition, Kept
from .stored import interface_of


class Due(StrEnum):
    """What is to be done about one VIF."""

    NOTHING = "nothing"
    #: somebody is at work with it: look again later
    LATER = "later"
    PLUG = "plug"
    UNPLUG = "unplug"
    #: its guest has come by a live migration, and whoever moved it has not said so
    ACTIVATE = "activate"


def due_while_running(kept: Kept, live: Definition, record: Record | None, *, here: bool) -> Due:
    """For a VIF in the metadata of a guest that runs; ``here``: that is not still on its way to this host."""
    if kept.at_work:
        return Due.LATER
    if record is not None and record.request.arriving and not record.lost:
        return Due.ACTIVATE if here else Due.LATER
    if interface_of(live, kept.id) is None:  # the guest has let go of it
        return _unplug(record)
    return Due.NOTHING if _plugged(record) else Due.PLUG


def due_while_off(kept: Kept, record: Record | None, *, moved: bool) -> Due:
    """For a VIF in the definition of a domain that is off. ``moved``: its guest went to another host."""
    if kept.at_work or (record is not None and record.request.arriving):
        return Due.LATER
    if kept.ready and not moved:
        return Due.NOTHING if _plugged(record) else Due.PLUG
    return _unplug(record)


def has_come(state: int, reason: int) -> bool:
    """Whether a guest that is not off runs here, and is not on its way here: by virDomainGetState."""
    library = binding()
    paused_here = (library.VIR_DOMAIN_PAUSED_USER, library.VIR_DOMAIN_PAUSED_IOERROR)
    return state == library.VIR_DOMAIN_RUNNING or (
        state == library.VIR_DOMAIN_PAUSED and reason in paused_here
    )


def is_ours(record: Record, owner: int) -> bool:
    """Whether the VIF was plugged for a domain by a user who plugs as we do, and not for a guest still to come."""
    return (
        record.vif.alias == ALIAS + record.id
        and record.owner == owner
        and record.state is not State.DEBT
        and not record.request.arriving
    )


def _unplug(record: Record | None) -> Due:
    return Due.NOTHING if record is None or record.state is State.DEBT else Due.UNPLUG


def _plugged(record: Record | None) -> bool:
    return record is not None and record.state is not State.DEBT and not record.lost
