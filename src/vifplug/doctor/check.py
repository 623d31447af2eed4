"""A check, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from .place import Place


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    #: worth knowing, and no fault: something optional that is not there
    NOTE = "note"
    #: VIFs work, but not as well as they should, or not for long
    WARNING = "warning"
    #: VIFs do not work, or something is lost
    PROBLEM = "problem"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that a check found."""

    level: Level
    #: a sentence with the value that was found
    found: str
    #: why it matters for VIFs; empty for what is ok
    why: str = ""
    #: what to do about it, a command where there is one; empty where there is nothing to do
    do: str = ""
    #: the names of all that it is about (devices, VIFs, scripts, ports), where ``found`` tells a few
    items: list[str] = []
    #: False when it could not be looked at (for want of root, as a rule)
    seen: bool = True
    family: str = ""
    check: str = ""


Findings = Iterator[Finding]


class Check(Struct, frozen=True, kw_only=True):
    family: str
    name: str
    #: what it looks at, in a few words
    title: str
    look: Callable[[Place], Iterable[Finding]]


#: every check by its name, in the order of the report
CHECKS: dict[str, Check] = {}

#: families in the order of the report, and how they are headed
FAMILIES = {
    "vifplug": "vifplug itself",
    "state": "State directory",
    "scripts": "Plug scripts",
    "vifs": "VIFs and their devices",
    "kernel": "Kernel",
    "sysctl": "Kernel settings",
    "firewall": "Firewalls",
    "managers": "Network managers",
    "guests": "libvirt and QEMU",
    "openvswitch": "Open vSwitch",
}


def check(
    family: str, name: str, title: str
) -> Callable[[Callable[[Place], Findings]], Callable[[Place], Findings]]:
    """Make a function a check of this family."""

    def register(look: Callable[[Place], Findings]) -> Callable[[Place], Findings]:
        assert family in FAMILIES and name not in CHECKS, name  # noqa: S101 (a slip of ours, seen at once)
        CHECKS[name] = Check(family=family, name=name, title=title, look=look)
        return look

    return register


def ok(found: str, items: Iterable[str] = ()) -> Finding:
    return Finding(level=Level.OK, found=found, items=list(items))


def note(found: str, *, why: str = "", do: str = "", items: Iterable[str] = ()) -> Finding:
    return Finding(level=Level.NOTE, found=found, why=why, do=do, items=list(items))


def warning(found: str, *, why: str, do: str, items: Iterable[str] = ()) -> Finding:
    return Finding(level=Level.WARNING, found=found, why=why, do=do, items=list(items))


def problem(found: str, *, why: str, do: str, items: Iterable[str] = ()) -> Finding:
    return Finding(level=Level.PROBLEM, found=found, why=why, do=do, items=list(items))


class Unseen(Exception):
    """What a check needs cannot be looked at; the message says what, ``do`` what would help."""

    def __init__(self, what: str, do: str = "run it as root: sudo vifplug doctor") -> None:
        super().__init__(what)
        self.do = do


def few(names: Sequence[str], most: int = 4) -> str:
    """The first of many names: "tap1, tap2, tap3, tap4 and 12 more"."""
    told = ", ".join(names[:most])
    return f"{told} and {len(names) - most} more" if len(names) > most else told


def many(count: int, what: str) -> str:
    """A number of things: "1 tap", "12 taps"."""
    return f"{count} {what}{'' if count == 1 else 's'}"
