"""``vifplug plug``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._frame import pass_session, verb
from ._input import read_many, read_one, seconds_option
from ._many import carry_out
from ._output import duration, emit, say
from ._session import Session

if TYPE_CHECKING:
    from ..host.results import Plugged


@verb("plug", example="vifplug plug binding.json | virsh attach-device guest /dev/stdin --live")
@click.argument("file", required=False)
@click.option("--all", "many", metavar="FILE", help="Plug every binding of FILE, side by side.")
@seconds_option("Deadline of the plug script.")
@click.option("--refresh", is_flag=True, help="Call the plug script though the VIF is plugged just so.")
@pass_session
def command(
    session: Session, file: str | None, many: str | None, seconds: float | None, refresh: bool
) -> None:
    """Connect a VIF to its network; print the guest's XML.

    FILE holds a port binding as JSON, vifplug's own or a Neutron port. Without it, or with -, it is
    read from standard input.
    """
    if many is not None:
        if file is not None or refresh or seconds is not None:
            raise click.UsageError(
                "--all FILE goes without another FILE, --refresh and --seconds", click.get_current_context()
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
    show_plugged(session, session.host.plug(vif, seconds=seconds, refresh=refresh), "plugged")


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
