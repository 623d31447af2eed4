"""``vifplug scripts``."""

from __future__ import annotations

from ._frame import pass_session, verb
from ._output import emit, say, table
from ._session import Session


@verb("scripts", example="vifplug scripts")
@pass_session
def command(session: Session) -> None:
    """List the plug scripts that would run.

    From where, with which digest; and for a refused one the exact reason.
    """
    entries = session.host.scripts()
    if session.json:
        emit(entries)
        return
    if not entries:
        say("no plug script is installed in the trusted directories: see 'vifplug config'", err=True)
        return
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        info = entry.info or {}
        digest = (entry.digest or "").removeprefix("sha256:")[:12]
        rows.append(
            (entry.name, "trusted" if entry.trusted else "refused", info.get("version"), digest, entry.path)
        )
    table(("NAME", "TRUST", "VERSION", "SHA-256", "PATH"), rows)
    for entry in entries:
        if not entry.trusted:
            say(f"{entry.path}: {entry.reason}", err=True)
