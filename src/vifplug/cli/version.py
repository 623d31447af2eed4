"""``vifplug version``."""

from __future__ import annotations

from .._version import CONTRACT_VERSION, __version__
from ._frame import pass_session, verb
from ._output import emit, say
from ._session import Session


@verb("version", example="vifplug version --json")
@pass_session
def command(session: Session) -> None:
    """Print the versions of vifplug and its contract."""
    if session.json:
        emit({"vifplug": __version__, "contract": CONTRACT_VERSION})
    else:
        say(f"vifplug {__version__} (plug-script contract {CONTRACT_VERSION})")
