"""What a script prints, and what it leaves running."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...script import trace
from ...script.marks import Mark
from ..case import Broken, NotApplicable, case
from ..kit import Came, Kit
from ..snapshot import processes

TOPIC = "output"
_LOG = 32 * 1024


def _life(kit: Kit) -> list[Came]:
    """The calls of a VIF's whole life."""
    with kit.vif() as vif:
        verbs = ["plug", *(["check"] if "check" in kit.verbs() else []), "unplug"]
        return [kit.call(verb, vif) for verb in verbs]


@case(TOPIC, "reply-alone", "nothing but the reply on standard output", anchor="one-call",
      says="nothing, or the reply: one JSON object of at most 1 MiB. Nothing else may be printed there")  # fmt: skip
def reply_alone(kit: Kit) -> None:
    for came in _life(kit):
        if came.outcome == "bad_reply":
            raise Broken(came.message, came)


@case(TOPIC, "short-log", "standard error is not flooded", anchor="one-call",
      says="log lines, for people. They are kept with the call, the first and the last half of 64 KiB")  # fmt: skip
def short_log(kit: Kit) -> None:
    for came in _life(kit):
        if len(came.stderr.encode()) > _LOG:
            raise Broken(
                f"{came.verb} wrote {len(came.stderr.encode())} bytes on standard error, of which part is lost",
                came,
            )


@case(TOPIC, "readable-log", "standard error is text, in UTF-8 and without control characters", anchor="one-call",
      says="log lines, for people.")  # fmt: skip
def readable_log(kit: Kit) -> None:
    for came in _life(kit):
        if found := re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]", came.stderr):
            raise Broken(f"{came.verb} wrote {found[0]!r} on standard error", came)


@case(TOPIC, "trace-lines", "lines that begin with #vifplug are what the contract says", anchor="dry-run-and-what-was-run",
      says="A line on standard error that begins with #vifplug is one command that the script ran, as JSON")  # fmt: skip
def trace_lines(kit: Kit) -> None:
    seen = 0
    for came in _life(kit):
        for line in trace.lines(came.stderr):
            seen += isinstance(line, trace.Ran) or line.startswith("#vifplug")
            if isinstance(line, str) and line.startswith("#vifplug"):
                raise Broken(f"{came.verb} wrote a line that no host understands: {line}", came)
    if not seen:
        raise NotApplicable("it writes no such line")


def _daemons(kit: Kit, mark: Mark) -> tuple[list[int], Came]:
    """What runs after plug and did not before."""
    with kit.vif() as vif:
        before = set(processes())
        came = kit.done("plug", vif, mark=mark)
        left = [pid for pid in processes() if pid not in before]
        if not left:
            raise NotApplicable("it leaves nothing running")
        wrong = [pid for pid in left if not _detached(pid)]
        unmarked = [pid for pid in left if not _carries(pid, mark)]
        kit.call("unplug", vif)
        if wrong:
            raise Broken(
                f"what plug left running is in its session, or holds its standard descriptors: {wrong}", came
            )
    return unmarked, came


def _detached(pid: int) -> bool:
    try:
        held = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.name in ("0", "1", "2")]
        session = os.getsid(pid)
    except OSError:
        return True  # it has ended meanwhile
    inherited = session == os.getsid(0) or not Path(f"/proc/{session}").exists()
    return not inherited and not any(place.startswith(("pipe:", "/memfd:request")) for place in held)


def _carries(pid: int, mark: Mark) -> bool:
    try:
        with Path(f"/proc/{pid}/status").open() as file:
            groups = next(line for line in file if line.startswith("Groups:")).split()[1:]
    except (OSError, StopIteration):
        return True
    return {str(group) for group in mark.groups} <= set(groups)


@case(TOPIC, "daemons-are-detached", "what plug leaves running is on its own", anchor="deadlines",
      says="To start a daemon for a VIF: own session (setsid), and all three standard descriptors on /dev/null or a file.")  # fmt: skip
def daemons_are_detached(kit: Kit) -> None:
    _daemons(kit, Mark.new())


@case(TOPIC, "daemons-are-known", "what plug leaves running keeps the groups that the host knows it by", anchor="one-call",
      says="two supplementary groups that belong to nobody: leave them alone")  # fmt: skip
def daemons_are_known(kit: Kit) -> None:
    if Path("/proc/self/setgroups").read_text().strip() == "deny":
        raise NotApplicable("an ordinary user's namespace has no such groups: run as root")
    unmarked, came = _daemons(kit, Mark.new())
    if unmarked:
        raise Broken(f"these processes have shed the host's groups: {unmarked}", came)
