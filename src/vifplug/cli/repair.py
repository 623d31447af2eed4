"""``vifplug repair``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id, seconds_option
from ._output import duration, emit, say
from ._session import Session


@verb("repair", example="vifplug repair 4c1b1b0a")
@click.argument("vif", metavar="ID", shell_complete=complete_id)
@seconds_option("Deadline of the plug script.")
@pass_session
def command(session: Session, vif: str, seconds: float | None) -> None:
    """Bring a VIF that drifted back to what it was plugged as.

    Its device is made again or restored, and its script is asked to plug it again, where the kernel no
    longer agrees with the record. vifplugd does so by itself (daemon.on_drift).
    """
    repaired = session.host.repair(find_id(session, vif), seconds=seconds)
    if session.json:
        emit(repaired)
    elif repaired.changed:
        say(f"{repaired.id} ({repaired.vif.devname}) repaired in {duration(repaired.seconds)}")
    else:
        say(f"{repaired.id} ({repaired.vif.devname}) is as it was plugged; nothing to do")
