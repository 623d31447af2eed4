"""``vifplug update``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._input import read_one, seconds_option
from ._session import Session
from .plug import show_plugged


@verb("update", example="vifplug update binding-with-new-mtu.json")
@click.argument("file")
@seconds_option("Deadline of the plug script.")
@pass_session
def command(session: Session, file: str, seconds: float | None) -> None:
    """Bring a plugged VIF to a changed binding.

    Its guest keeps it; prints the guest's XML, which may differ. What cannot be changed on a live VIF
    is refused, with its name, and nothing is changed.
    """
    vif = read_one(file)
    show_plugged(session, session.host.update(vif, seconds=seconds), "updated")
