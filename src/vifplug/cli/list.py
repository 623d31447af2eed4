"""``vifplug list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._frame import pass_session, verb
from ._output import ago, emit, say, table
from ._session import Session

if TYPE_CHECKING:
    from ..host.results import Record

STATES = ("plugging", "plugged", "updating", "unplugging", "debt")


@verb("list", example="vifplug list --state debt")
@click.option("--state", type=click.Choice(STATES), help="Only the VIFs in this state.")
@pass_session
def command(session: Session, state: str | None) -> None:
    """List the VIFs on record, oldest first."""
    records = session.host.list()
    if state is not None:
        records = [record for record in records if record.state == state]
    if session.json:
        emit(records)
    elif not records:
        say("no VIF is on record" if state is None else f"no VIF is {state}", err=True)
    else:
        headings = ("ID", "DEVICE", "TYPE", "STATE", "GEN", "SCRIPT", "CHANGED")
        table(headings, [_row(record) for record in records])


def _row(record: Record) -> tuple[object, ...]:
    return (
        record.id,
        record.vif.devname,
        record.vif.type,
        standing(record),
        record.generation,
        record.script.name if record.script else None,
        ago(record.changed),
    )


def standing(record: Record) -> str:
    """The state, whether a reboot took the kernel's part of it, and whether its guest is still to come."""
    if record.lost:
        return f"{record.state} (lost)"
    migration = record.request.migration
    coming = migration is not None and migration.role == "destination" and migration.phase != "done"
    return f"{record.state} (arriving)" if coming and record.state == "plugged" else str(record.state)
