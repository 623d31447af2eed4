"""``vifplug activate``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id, seconds_option
from ._output import duration, emit, say
from ._session import Session


@verb("activate", example="vifplug activate 4c1b1b0a")
@click.argument("vif", metavar="ID", shell_complete=complete_id)
@seconds_option("Deadline of the plug script.")
@pass_session
def command(session: Session, vif: str, seconds: float | None) -> None:
    """Say that a VIF's guest has moved here, at the end of a live migration.

    The VIF was plugged as the migration's destination; from now on it is this host's, and its script is told.
    """
    activated = session.host.activate(find_id(session, vif), seconds=seconds)
    if session.json:
        emit(activated)
    elif activated.changed:
        say(f"{activated.id} ({activated.vif.devname}) is this host's now, in {duration(activated.seconds)}")
    else:
        say(f"{activated.id} ({activated.vif.devname}) is this host's already; nothing to do")
