"""What a script ran: the lines that the SDKs write on standard error among its own log."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from ..model.learn import learn

#: a line that begins with this is one command as JSON; the rest of stderr is the script's own words
_SIGN = "#vifplug "


class Ran(Struct, frozen=True):
    """One command that a script ran, or in a dry run would have run."""

    run: list[str]
    seconds: float | None = None
    #: None when it was still running at the end of the call
    exit: int | None = None
    dry: bool = False


def lines(stderr: str) -> list[Ran | str]:
    """A call's standard error in its order: commands as Ran, the script's own words as text."""
    return [_line(line) for line in stderr.splitlines()]


def _line(line: str) -> Ran | str:
    if not line.startswith(_SIGN):
        return line
    try:
        return msgspec.json.decode(line[len(_SIGN) :], type=Ran)
    except msgspec.MsgspecError:
        return line


learn(Ran)
