"""``vifplug version``."""

from __future__ import annotations

from .._version import CONTRACT_VERSION, __version__
from ..errors import ConfigError, DaemonError
from ._frame import pass_session, verb
from ._output import complain, emit, say
from ._session import Session


@verb("version", example="vifplug version --json")
@pass_session
def command(session: Session) -> None:
    """Print the versions of vifplug and its contract.

    And that of vifplugd, when it runs.
    """
    daemon = _daemon(session)
    if session.json:
        emit({"vifplug": __version__, "contract": CONTRACT_VERSION, **({"daemon": daemon} if daemon else {})})
        return
    say(f"vifplug {__version__} (plug-script contract {CONTRACT_VERSION})")
    if daemon:
        say(f"vifplugd {daemon['vifplug']} at {daemon['socket']}")


def _daemon(session: Session) -> dict[str, str] | None:
    """The version of the daemon in force. Whoever asks for versions may be looking for what is broken."""
    try:
        if session.daemon is not None:
            return {"vifplug": session.daemon.status().version, "socket": session.daemon.socket}
    except (ConfigError, DaemonError) as error:
        complain(error.message)
    return None
