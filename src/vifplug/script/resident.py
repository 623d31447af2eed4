"""Scripts that stay up: one JSON request a line in, one JSON reply a line out, no start to pay for.

A resident script is started as ``SCRIPT serve``, trusted and confined like any other. One process
answers one request at a time; when several VIFs are busy, several run. What hangs is killed with its
call, what breaks the protocol is not used again, and what idles, ages or swells is replaced.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from ..model.learn import learn
from . import confine
from .environment import resident_environment
from .marks import Mark, kill_marked
from .process import Ended, Kept, Why, pipe, poll_ms

if TYPE_CHECKING:
    from .runner import Registry

_READ = 65536
#: a process ends after so many calls, idle seconds, or bytes of memory: a leak has no time to matter
_MOST_CALLS, _LONGEST_IDLE, _MOST_MEMORY = 10_000, 60.0, 512 * 1024 * 1024
#: processes of one script that are started at once; beyond, a call first waits a moment for one to be free
_AT_ONCE = 2 * (os.cpu_count() or 1)
_PATIENCE = 0.05


class Kind(Struct, frozen=True):
    """What makes two resident processes interchangeable: another digest or grant is another process."""

    path: str
    digest: str
    #: the operator's variables
    environment: tuple[tuple[str, str], ...]
    granted: int


class Residents:
    """The resident processes of one host process. Any number of threads may share it.

    ``registry`` learns a process's mark before it starts and when it has ended, so that what outlives a
    host process that was killed can be found.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._free: dict[Kind, list[_Resident]] = {}
        self._count: dict[Kind, int] = {}
        self._changed = threading.Condition()
        self._tidier: threading.Thread | None = None
        self._closed = False

    def call(
        self,
        kind: Kind,
        request: bytes,
        *,
        seconds: float,
        grace: float,
        stdout_limit: int,
        stderr_limit: int,
    ) -> Ended:
        """One request to a process of this kind. Raises OSError or NoPermission when none can be started."""
        with self._borrowed(kind) as resident:
            return resident.call(request, seconds, grace, stdout_limit, stderr_limit)

    def close(self) -> None:
        """End them all; what is at work ends after its call."""
        with self._changed:
            self._closed = True
            idle = [resident for free in self._free.values() for resident in free]
            self._free.clear()
            self._changed.notify_all()
            tidier = self._tidier
        for resident in idle:
            self._end(resident)
        if tidier is not None:
            tidier.join()

    @contextlib.contextmanager
    def _borrowed(self, kind: Kind) -> Iterator[_Resident]:
        resident = self._take(kind)
        try:
            yield resident
        finally:
            if resident.usable and not self._closed:
                self._give_back(resident)
            else:
                self._end(resident)

    def _take(self, kind: Kind) -> _Resident:
        until = time.monotonic() + _PATIENCE
        while True:
            with self._changed:
                free = self._free.get(kind)
                resident = free.pop() if free else None
                if resident is None:
                    left = until - time.monotonic()
                    if self._count.get(kind, 0) >= _AT_ONCE and left > 0:
                        self._changed.wait(left)
                        continue
                    self._count[kind] = self._count.get(kind, 0) + 1
            if resident is None:
                return self._start(kind)
            if resident.alive():
                return resident
            self._end(resident)  # it ended while nobody used it

    def _start(self, kind: Kind) -> _Resident:
        resident = _Resident(kind)
        try:
            self._registry.started(resident.mark)
            resident.start()
        except BaseException:
            self._end(resident)
            raise
        return resident

    def _give_back(self, resident: _Resident) -> None:
        with self._changed:
            self._free.setdefault(resident.kind, []).append(resident)
            self._changed.notify()
            if self._tidier is None:
                self._tidier = threading.Thread(target=self._tidy, name="vifplug-residents", daemon=True)
                self._tidier.start()

    def _end(self, resident: _Resident) -> None:
        with self._changed:
            self._count[resident.kind] -= 1
            self._changed.notify()
        resident.end()
        self._registry.ended(resident.mark)

    def _tidy(self) -> None:
        """End what has idled too long, or died idle; runs while anything is idle, and ``close`` waits for it."""
        while True:
            with self._changed:
                if not any(self._free.values()):
                    self._tidier = None
                    return
                self._changed.wait(_LONGEST_IDLE / 4)
                now = time.monotonic()
                idle = [
                    one
                    for free in self._free.values()
                    for one in free
                    if now - one.used > _LONGEST_IDLE or not one.alive()
                ]
                for resident in idle:
                    self._free[resident.kind].remove(resident)
            for resident in idle:
                self._end(resident)


class _Resident:
    """One process that stays up."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.mark = Mark.new()
        self.usable = True
        self.used = time.monotonic()
        self._calls = 0
        self._pid = self._pidfd = self._in = self._out = self._err = -1

    def start(self) -> None:
        stdin, self._in = pipe()
        self._out, stdout = pipe()
        self._err, stderr = pipe()
        try:
            variables = resident_environment(dict(self.kind.environment), self.mark.call)
            environment = {name.encode(): value.encode() for name, value in variables.items()}
            self._pid = confine.spawn(
                self.kind.path, [self.kind.path, "serve"], environment, (stdin, stdout, stderr),
                granted=self.kind.granted, groups=self.mark.groups,
            )  # fmt: skip
            self._pidfd = os.pidfd_open(self._pid)
        finally:
            for fd in (stdin, stdout, stderr):
                os.close(fd)
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)

    @property
    def fds(self) -> tuple[int, int, int, int]:
        """Its standard input, output and error, and its pidfd."""
        return self._in, self._out, self._err, self._pidfd

    def alive(self) -> bool:
        """Whether it runs and is silent, as it has to be between two calls."""
        poll = select.poll()
        for fd in (self._pidfd, self._out):
            poll.register(fd, select.POLLIN)
        return not poll.poll(0)

    def call(
        self, request: bytes, seconds: float, grace: float, stdout_limit: int, stderr_limit: int
    ) -> Ended:
        """Send one request, wait for its reply; a process that gives none in time is ended."""
        self._calls += 1
        self.usable = False  # until it has answered in order
        exchange = _Exchange(self, request, stdout_limit, stderr_limit)
        try:
            why = exchange.run(time.monotonic() + seconds)
            if why != "answered":
                self._stop(grace if why == "deadline" else 0.0)
                exchange.drain()
                return exchange.ended(why, self._status())
        except BaseException:
            self._stop(0.0)
            raise
        ended = exchange.answer()
        self.used = time.monotonic()
        swollen = self._calls % 64 == 0 and self._memory() > _MOST_MEMORY
        in_order = ended.why == "exited" and exchange.in_order
        self.usable = in_order and self._calls < _MOST_CALLS and not swollen
        return ended

    def end(self) -> None:
        """Close its input, which tells it to end; what then does not is killed."""
        if self._in >= 0:
            os.close(self._in)
            self._in = -1
        if self._pidfd >= 0:
            if self.usable:
                poll = select.poll()
                poll.register(self._pidfd, select.POLLIN)
                poll.poll(1000)
            self._stop(0.0)
            self._status()
        for fd in (self._out, self._err, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._out = self._err = self._pidfd = -1

    def _stop(self, grace: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL if grace <= 0 else signal.SIGTERM)
        kill_marked(self.mark, grace)

    def _status(self) -> tuple[int | None, int | None]:
        """Exit status or signal, once it has ended; (None, None) when that is not known."""
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except OSError:
            return None, None
        if result is None:
            return None, None
        return (result.si_status, None) if result.si_code == os.CLD_EXITED else (None, result.si_status)

    def _memory(self) -> int:
        with open(f"/proc/{self._pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Exchange:
    """One request and its reply."""

    def __init__(self, resident: _Resident, request: bytes, stdout_limit: int, stderr_limit: int) -> None:
        self._in, self._out, self._err, self._pidfd = resident.fds
        self._left = memoryview(request)
        self._line = bytearray()
        self._limit = stdout_limit
        self._log = Kept(stderr_limit)
        #: False when it sent more than its one line
        self.in_order = True

    def run(self, deadline: float) -> Why | Literal["answered"]:
        """Until there is a whole line, or why there is none."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        poll.register(self._err, select.POLLIN)
        poll.register(self._pidfd, select.POLLIN)
        poll.register(self._in, select.POLLOUT)
        while (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(poll_ms(left)):
                if fd == self._in:
                    if not self._write():
                        poll.unregister(self._in)
                elif fd == self._err:
                    if not self._read_log():
                        poll.unregister(self._err)
                elif fd == self._out:
                    if not self._read_line():
                        poll.unregister(self._out)
                    if b"\n" in self._line:
                        self._read_log()
                        return "answered"
                    if len(self._line) > self._limit:
                        return "too much output"
                elif self._read_line() and b"\n" in self._line:
                    self._read_log()
                    return "answered"
                else:
                    return "exited"
        return "deadline"

    def drain(self) -> None:
        self._read_log()

    def ended(self, why: Why, status: tuple[int | None, int | None]) -> Ended:
        """For a process that did not answer: what became of it."""
        if why == "exited" and not status[0] and status[1] is None:
            why = "no answer"
        return Ended(
            why=why,
            exit_status=status[0],
            signal=status[1],
            stdout=bytes(self._line),
            stderr=self._log.bytes(),
        )

    def answer(self) -> Ended:
        """The reply, in the form in which a process that answers once leaves it."""
        line, _, more = bytes(self._line).partition(b"\n")
        self.in_order = not more
        stderr = self._log.bytes()
        try:
            reply = msgspec.json.decode(line, type=_Reply)
        except msgspec.MsgspecError:
            return Ended(why="no answer", exit_status=None, signal=None, stdout=line, stderr=stderr)
        body: Mapping[str, Any] = {"error": reply.error} if reply.error is not None else reply.reply
        stdout = msgspec.json.encode(body)
        return Ended(why="exited", exit_status=reply.exit, signal=None, stdout=stdout, stderr=stderr)

    def _write(self) -> bool:
        """Write what the pipe takes; whether anything is left."""
        try:
            self._left = self._left[os.write(self._in, self._left[:_READ]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it ended, or reads no more: its reply or the deadline tells
            return False
        return bool(self._left)

    def _read_line(self) -> bool:
        data = self._read(self._out)
        self._line += data or b""
        return data != b""

    def _read_log(self) -> bool:
        while data := self._read(self._err):
            self._log.add(data)
            if len(data) < _READ:
                return True
        return data is None

    def _read(self, fd: int) -> bytes | None:
        """What is there; None when nothing is, b"" at the end."""
        try:
            return os.read(fd, _READ)
        except BlockingIOError:
            return None


class _Reply(Struct, frozen=True):
    """One line of a resident script's answer."""

    exit: int
    reply: dict[str, Any] = {}
    error: dict[str, Any] | None = None


learn(_Reply)
