"""``vifplug plug``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._frame import pass_session, verb
from ._input import read_many, read_one, seconds_option
from ._many import carry_out
from ._output import duration, emit, say
from ._session import Session
from ._tree import Branch, quoted, tracing, tree

if TYPE_CHECKING:
    from ..host.results import Plugged, Rehearsal


@verb("plug", example="vifplug plug binding.json | virsh attach-device guest /dev/stdin --live")
@click.argument("file", required=False)
@click.option("--all", "many", metavar="FILE", help="Plug every binding of FILE, side by side.")
@seconds_option("Deadline of the plug script.")
@click.option("--refresh", is_flag=True, help="Call the plug script though the VIF is plugged just so.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, in order, and do nothing.")
@click.option("--trace", is_flag=True, help="Show every step, and every command that the script ran.")
@pass_session
def command(
    session: Session,
    *,
    file: str | None,
    many: str | None,
    seconds: float | None,
    refresh: bool,
    dry_run: bool,
    trace: bool,
) -> None:
    """Connect a VIF to its network; print the guest's XML.

    FILE holds a port binding as JSON, vifplug's own or a Neutron port. Without it, or with -, it is
    read from standard input.
    """
    if many is not None:
        if file is not None or refresh or dry_run or trace or seconds is not None:
            raise click.UsageError(
                "--all FILE goes without another FILE, --refresh, --seconds, --dry-run and --trace",
                click.get_current_context(),
            )
        vifs = read_many(many)
        carry_out(
            session,
            [vif.id for vif in vifs],
            lambda on_done: session.host.plug_all(vifs, on_done=on_done),
            done="plugged",
        )
        return
    vif = read_one(file)  # before there is a host: what is wrong with it needs no ledger
    if dry_run:
        _show_rehearsal(session, session.host.rehearse(vif))
        return
    with tracing(session, vif.id, trace):
        plugged = session.host.plug(vif, seconds=seconds, refresh=refresh)
    show_plugged(session, plugged, "plugged")


def _show_rehearsal(session: Session, rehearsal: Rehearsal) -> None:
    if session.json:
        emit(rehearsal)
        return
    if not rehearsal.steps:
        say(f"{rehearsal.id} is plugged just so; nothing would be done")
        return
    rows: list[Branch] = [
        (step.name, step.text, [(" ".join(map(quoted, command)), "", []) for command in step.commands])
        for step in rehearsal.steps
    ]
    tree(f"{rehearsal.id}: what would be done", rows)


def show_plugged(session: Session, plugged: Plugged, done: str) -> None:
    """The XML on standard output, for the next program; a line for people on standard error."""
    if session.json:
        emit(plugged)
        return
    said = (
        f"{done} in {duration(plugged.seconds)}" if plugged.changed else f"is {done} just so; nothing to do"
    )
    say(f"{plugged.id} ({plugged.vif.devname}) {said}", err=True)
    say(plugged.xml.rstrip("\n"))
