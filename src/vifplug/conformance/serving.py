"""A script that stays up, talked to line by line."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ..model import Vif
from ..script import confine
from ..script.environment import resident_environment
from ..script.marks import Mark, kill_marked
from ..script.process import pipe
from ..script.replies import CODES, EXITS, printable
from .case import Broken

if TYPE_CHECKING:
    from .kit import Came, Kit


class Serving:
    """``SCRIPT serve``, used within a ``with``."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._mark = Mark.new()
        self._pid = self._in = self._out = self._err = self._pidfd = -1
        self._left = b""

    def __enter__(self) -> Serving:
        stdin, self._in = pipe()
        self._out, stdout = pipe()
        self._err, stderr = pipe()
        variables = resident_environment(self._kit.subject.environment, self._mark.call)
        path = self._kit.script.path
        self._pid = confine.spawn(
            path, [path, "serve"], {k.encode(): v.encode() for k, v in variables.items()}, (stdin, stdout, stderr),
            granted=self._kit.granted, groups=self._mark.groups,
        )  # fmt: skip
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        self._pidfd = os.pidfd_open(self._pid)
        os.set_blocking(self._err, False)
        return self

    def __exit__(self, *_: object) -> None:
        self.close_input()
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        kill_marked(self._mark)
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        for fd in (self._out, self._err, self._pidfd):
            os.close(fd)

    def call(self, verb: str, vif: Vif, **fields: Any) -> Came:
        """One request, and its answer. Raises Broken for an answer that is none."""
        return self.send(self._kit.request(verb, vif, **fields).to_json(), verb, vif)

    def send(self, line: bytes, verb: str, vif: Vif | None = None) -> Came:
        """One line, and what it brings."""
        from .kit import Came

        begun = time.monotonic()
        asked = f"{self._kit.script.path} serve <<< {printable(line.decode(errors='replace').strip(), 1500)}"
        came = Came(
            verb=verb,
            asked=asked,
            status=None,
            signal=None,
            outcome="bad_reply",
            message="",
            reply={},
            stderr="",
            seconds=0.0,
        )
        with suppress(BrokenPipeError):
            os.write(self._in, line)
        answer = self._line(self._kit.subject.seconds)
        came = msgspec.structs.replace(came, seconds=time.monotonic() - begun, stderr=self._log())
        if answer is None:
            return msgspec.structs.replace(came, outcome="no answer", message="it gave no answer, or ended")
        try:
            said = msgspec.json.decode(answer, type=dict[str, Any])
            status, reply, error = int(said["exit"]), said.get("reply", {}), said.get("error", {})
            extra = set(said) - {"exit", "reply", "error"}
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as problem:
            text = f"answered with a line that is none: {printable(answer.decode(errors='replace').strip(), 200)}"
            raise Broken(text, msgspec.structs.replace(came, message=text)) from problem
        if extra or not isinstance(reply, dict) or not isinstance(error, dict):
            raise Broken(
                f"answered with {sorted(said)}, and an answer has exit and reply, or exit and error", came
            )
        outcome = "done"
        if status:
            code = error.get("code", EXITS[status].code if status in EXITS else "failed")
            outcome = code if code in CODES else "failed"
        came = msgspec.structs.replace(
            came, status=status, outcome=outcome, message=str(error.get("message", "")), reply=reply
        )
        return self._kit.keep(came, vif)

    def more(self) -> bytes:
        """What it sent beyond its answers, so far."""
        if select.select([self._out], [], [], 0.05)[0]:
            self._left += os.read(self._out, 65536)
        return self._left

    def ends(self, seconds: float) -> tuple[int | None, float] | None:
        """Exit status and how long it took to end when its input ended; None if it did not within ``seconds``."""
        begun = time.monotonic()
        self.close_input()
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return None
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        status = result.si_status if result is not None and result.si_code == os.CLD_EXITED else None
        return status, time.monotonic() - begun

    def close_input(self) -> None:
        if self._in >= 0:
            os.close(self._in)
            self._in = -1

    def _line(self, seconds: float) -> bytes | None:
        until = time.monotonic() + seconds
        while b"\n" not in self._left:
            if not select.select([self._out], [], [], max(until - time.monotonic(), 0))[0]:
                return None
            if not (data := os.read(self._out, 65536)):
                return None
            self._left += data
        line, _, self._left = self._left.partition(b"\n")
        return line

    def _log(self) -> str:
        try:
            return os.read(self._err, 65536).decode(errors="replace")
        except BlockingIOError:
            return ""
