"""Run the checks: whatever happens to one of them is a finding, and no other notices."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from ..errors import InvalidInput
from .check import CHECKS, FAMILIES, Check, Finding, Level, Unseen
from .checks import load
from .place import Place


class Report(Struct, frozen=True, kw_only=True):
    """What the checks found, in their order."""

    findings: list[Finding]
    #: how long it took
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no finding is a problem."""
        return self.counted(Level.PROBLEM) == 0

    def counted(self, level: Level) -> int:
        return sum(finding.level is level for finding in self.findings)


def examine(place: Place, only: Sequence[str] = ()) -> Report:
    """Look at ``place`` with the checks and families that ``only`` names; with all of them for none.

    Raises InvalidInput for a name that is neither.
    """
    started = time.monotonic()
    findings = [finding for check in chosen(only) for finding in _findings(check, place)]
    return Report(findings=findings, seconds=time.monotonic() - started)


def chosen(only: Sequence[str]) -> list[Check]:
    """The checks that ``only`` (names of checks or families) stands for, family by family."""
    load()
    known = [*FAMILIES, *CHECKS]
    for name in only:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "see 'vifplug doctor --list'"
            raise InvalidInput(f"there is no check {name!r}; {hint}", field="only", value=name)
    return [
        check
        for family in FAMILIES
        for check in CHECKS.values()
        if check.family == family and (not only or check.name in only or family in only)
    ]


def _findings(check: Check, place: Place) -> Iterator[Finding]:
    try:
        for finding in check.look(place):
            yield msgspec.structs.replace(finding, family=check.family, check=check.name)
    except (Unseen, PermissionError) as unseen:
        yield Finding(
            level=Level.NOTE, found=_told(unseen), seen=False, family=check.family, check=check.name,
            do=unseen.do if isinstance(unseen, Unseen) else Unseen("").do,
        )  # fmt: skip
    except Exception as error:
        yield Finding(
            level=Level.WARNING,
            found=f"the check {check.name} could not be made: {type(error).__name__}: {error}",
            why="what it looks at may be as it should or not",
            do="look at it by hand, and report this, for a check should understand whatever it meets",
            seen=False,
            family=check.family,
            check=check.name,
        )


def _told(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error.filename or 'a file'} ({error.strerror or error})"
    return str(error)
