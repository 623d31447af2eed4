"""Stand between a script and the commands that it runs, to kill it, or fail one, at an exact place.

A directory in front of the script's PATH has, under the name of every command, a few lines of sh that write down
the call and then do as planned. Commands that a script names by their path, and work that it does by itself,
are not seen: the kit then falls back on moments in time.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

from msgspec import Struct

Plan = Literal["watch", "kill", "fail", "fail all", "hang"]
#: interpreters are how scripts start, not what they do
_NOT_SEEN = ("env", "sh", "bash", "dash", "busybox", "perl", "ruby", "lua")

_FRONT = """\
#!/bin/sh
PATH={path}
printf '%s %s\\n' "${{0##*/}}" "$*" >>{folder}/commands
set -C # a file is made by one alone: commands may run side by side
at=1
until true >"{folder}/numbers/$at"; do at=$((at + 1)); done 2>/dev/null
set +C
read -r what where <{folder}/plan
case $what,$where in
kill,$at)
    "${{0##*/}}" "$@" && :
    kill -KILL $PPID 0
    ;;
fail,$at | fail-all,*)
    echo "${{0##*/}}: made to fail" >&2
    exit 1
    ;;
hang,$at) exec sleep 1000 ;;
esac
exec "${{0##*/}}" "$@"
"""


class Interposed(Struct, frozen=True):
    """The directory, and the PATH that has it in front."""

    folder: Path
    path: str

    @classmethod
    def make(cls, folder: Path, path: str) -> Interposed:
        """Put a front before every command that ``path`` leads to."""
        fronts = folder / "commands.d"
        fronts.mkdir(parents=True)
        (folder / "numbers").mkdir()
        front = folder / "front"
        front.write_text(_FRONT.format(path=shlex.quote(path), folder=folder))
        front.chmod(0o755)
        for directory in path.split(":"):
            for name in os.listdir(directory) if os.path.isdir(directory) else ():  # noqa: PTH112, PTH208
                if (
                    not name.startswith(("python", *(f"{each}." for each in _NOT_SEEN)))
                    and name not in _NOT_SEEN
                ):
                    place = fronts / name
                    if not place.is_symlink():
                        place.symlink_to(front)
        return cls(folder, f"{fronts}:{path}")

    def plan(self, what: Plan, at: int = 0) -> None:
        """What happens to the ``at``-th command of the next call, counted from 1."""
        (self.folder / "plan").write_text(f"{what.replace(' ', '-')} {at}\n")
        (self.folder / "commands").write_text("")
        for number in (self.folder / "numbers").iterdir():
            number.unlink()

    def commands(self) -> list[str]:
        """What the script ran since the last plan."""
        return (self.folder / "commands").read_text(errors="replace").splitlines()
