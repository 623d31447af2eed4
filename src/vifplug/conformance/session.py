"""A run of the kit, seen from outside: starts the kit's process in namespaces of its own, and asks it for cases."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .. import errors
from ..errors import HostError, InvalidInput, NoPermission, VifplugError
from .case import Result
from .cases import CASES
from .report import Report, Speed
from .subject import Subject

_UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]


class Session:
    """The kit's process for one subject; started when first needed, and anew after a case that failed."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.path = ""
        self.notes: list[str] = []
        self.speed: list[tuple[str, float]] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and with it all that it made."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, name: str) -> Result:
        """Run one case. Raises VifplugError when the place, or the subject's setup, cannot be made."""
        if self._process is None:
            self._start()
        answer = self._ask(name.encode())
        result = msgspec.convert(answer["result"], Result)
        self.speed += [(verb, seconds) for verb, seconds in answer["speed"]]
        if result.verdict == "failed":  # who knows what it left
            self.close()
        return result

    def _start(self) -> None:
        command = [*_UNSHARE, *([] if os.geteuid() == 0 else ["--map-root-user"])]
        try:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", "vifplug.conformance.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        except OSError as error:
            raise HostError(f"unshare cannot be run: {error.strerror}: install util-linux") from error
        answer = self._ask(msgspec.json.encode(self.subject))
        self.path, self.notes = answer["path"], answer["notes"]

    def _ask(self, line: bytes) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise HostError("the kit's process is not there")
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            status = process.wait()
            self.close()
            raise NoPermission(
                f"the kit's process ended with exit status {status}: it needs namespaces of its own (network, mount, "
                "process ids): run as root, or let this user make them (sysctl user.max_user_namespaces, "
                "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            )
        said: dict[str, Any] = msgspec.json.decode(answer)
        if "error" in said:
            self.close()
            raise _error(said["error"])
        return said


def _error(said: dict[str, Any]) -> VifplugError:
    """The error that the kit's process met, as it was there."""
    code, message = said.pop("code"), said.pop("message")
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VifplugError)
    ]
    kind = next((kind for kind in kinds if kind.code == code and kind is not VifplugError), HostError)
    return kind(message, **said)


def chosen(only: Sequence[str]) -> list[str]:
    """The names of the cases that ``only`` (names or topics) stands for; all for none. Raises InvalidInput."""
    if not only:
        return list(CASES)
    for word in only:
        if word not in CASES and word not in {case.topic for case in CASES.values()}:
            from difflib import get_close_matches

            near = get_close_matches(word, CASES, 1)
            hint = f"did you mean {near[0]}?" if near else "--list shows them"
            raise InvalidInput(f"there is no case {word!r}; {hint}", field="only", value=word)
    return [name for name, case in CASES.items() if name in only or case.topic in only]


def conform(
    subject: Subject, *, only: Sequence[str] = (), on_result: Callable[[Result], None] | None = None
) -> Report:
    """Run the kit over a script, in namespaces of its own.

    ``only`` names cases or topics; ``on_result`` gets each result as it comes. Raises VifplugError when the script is
    not there, the place cannot be made or a setup command fails; whatever the script does is in the report.
    """
    begun = time.monotonic()
    results = []
    with Session(subject) as session:
        for name in chosen(only):
            results.append(result := session.run(name))
            if on_result is not None:
                on_result(result)
    speed = {
        verb: Speed(calls=len(seconds), median=statistics.median(seconds))
        for verb in ("plug", "unplug")
        if (seconds := [taken for name, taken in session.speed if name == verb])
    }
    return Report(
        script=subject.script, path=session.path, ok=all(result.verdict != "failed" for result in results),
        results=results,
        speed=speed, notes=session.notes, seconds=time.monotonic() - begun,
    )  # fmt: skip
