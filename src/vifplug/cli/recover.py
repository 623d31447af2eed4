"""``vifplug recover``."""

from __future__ import annotations

from ._frame import pass_session, verb
from ._output import emit, say, table
from ._session import Session


@verb("recover", example="vifplug recover     # at boot, and after a crash of the caller")
@pass_session
def command(session: Session) -> None:
    """Finish what a process that died left behind.

    What another process is at work on is left to it. Ends with 1 when something could not be finished.
    """
    recovered = session.host.recover()
    if any(entry.now not in ("plugged", "unplugged", "busy") for entry in recovered):
        session.exit_status = 1
    if session.json:
        emit(recovered)
    elif not recovered:
        say("nothing was left in the middle")
    else:
        rows = [(entry.id, entry.was, entry.now, entry.message) for entry in recovered]
        table(("ID", "WAS", "NOW", "WHY"), rows)
