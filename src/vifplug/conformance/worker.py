"""The kit's process: alone in its namespaces, it makes the place and runs the cases that it is told by name."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

import msgspec

from ..errors import VifplugError
from .case import Broken, Case, NotApplicable, Result
from .cases import CASES
from .kit import Kit
from .place import enter
from .subject import Subject


def main() -> None:
    """Speak with the session: a Subject in, then names of cases; for each a line of JSON out."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything else prints is no answer
    lines = sys.stdin.buffer
    try:
        subject = msgspec.json.decode(lines.readline(), type=Subject)
        place = enter(subject)
        kit = Kit(subject, place)
        kit.make()  # asks for info too: what no host would take is no fault of the script
        kit.look()  # nor is a watch that fails
    except VifplugError as error:
        _say(answers, {"error": error.as_dict()})
        return
    _say(answers, {"path": kit.script.path, "notes": place.notes})
    for line in lines:
        result = run(CASES[line.decode().strip()], kit)
        speed = [
            (came.verb, came.seconds) for came in kit.calls if came.done and came.verb in ("plug", "unplug")
        ]
        kit.calls.clear()
        _say(answers, {"result": result, "speed": speed})
        _reap()


def run(case: Case, kit: Kit) -> Result:
    """One case over the script."""
    begun = time.monotonic()
    try:
        case.run(kit)
    except NotApplicable as reason:
        return case.result("not applicable", str(reason), seconds=time.monotonic() - begun)
    except (Broken, VifplugError) as broken:
        came = broken.came if isinstance(broken, Broken) else None
        last = came or (kit.calls[-1] if kit.calls else None)
        return case.result(
            "failed", str(broken), asked=last.asked if last else "", came=str(last) if last else "",
            seconds=time.monotonic() - begun,
        )  # fmt: skip
    return case.result("ok", seconds=time.monotonic() - begun)


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(msgspec.json.encode(message) + b"\n")
    answers.flush()


def _reap() -> None:
    """What scripts left behind is ours when its parents are gone: this is process 1 here."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


if __name__ == "__main__":
    main()
