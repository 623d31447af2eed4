"""One process of a script, from start to end: its input, its output, its deadline."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from ..errors import HostError
from . import confine
from .marks import Mark, kill_marked

_MFD_NOEXEC_SEAL = 0x0008
_READ = 65536
#: a script may enlarge its pipes up to this (fs.pipe-max-size), and no further
_LONGEST_PIPE = 1024 * 1024

Why = Literal["exited", "deadline", "too much output", "lost", "no answer"]


class Ended(Struct, frozen=True, kw_only=True):
    """How a process ended."""

    #: "lost": somebody else in this process reaped it, so nobody knows its status; "no answer": it was
    #: resident, and what it sent is no reply, or it ended instead
    why: Why
    exit_status: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes


class Kept:
    """What is kept of an endless stream: its first and its last bytes."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._first = b""
        self._last = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        if (room := self._half - len(self._first)) > 0:
            self._first += data[:room]
            data = data[room:]
        self._last += data
        if len(self._last) > self._half + _READ:
            self._trim()

    def _trim(self) -> None:
        if (surplus := len(self._last) - self._half) > 0:
            del self._last[:surplus]
            self._dropped += surplus

    def bytes(self) -> bytes:
        self._trim()
        gap = f"\n[… {self._dropped} bytes left out …]\n".encode() if self._dropped else b""
        return self._first + gap + bytes(self._last)


def run(
    path: str,
    argv: list[str],
    environment: Mapping[bytes, bytes],
    request: bytes,
    *,
    granted: int,
    mark: Mark,
    seconds: float,
    grace: float,
    stdout_limit: int,
    stderr_limit: int,
    on_start: Callable[[], None] = lambda: None,
) -> Ended:
    """Run ``path`` to its end, or to its deadline (``seconds``), or until it prints too much.

    It gets ``request`` on standard input; ``on_start`` is called once it runs. Past the deadline its
    process group gets SIGTERM and, ``grace`` seconds later, everything that it started SIGKILL.
    Raises OSError if it cannot be started or watched, NoPermission if it cannot be confined,
    HostError if something of it cannot be ended.
    """
    deadline = time.monotonic() + seconds
    process = _Process(mark, stdout_limit, stderr_limit)
    try:
        process.start(path, argv, environment, request, granted)
        on_start()
        process.watch()
        return process.wait(deadline, grace)
    except HostError:
        raise  # not started, or ended as far as we can
    except OSError:
        process.abandon()
        raise
    except BaseException:
        process.kill()  # an interrupt, say: nothing of the script outlives the call
        raise
    finally:
        process.close()


class _Process:
    """A process with its pipes. ``wait`` ends it in every case."""

    def __init__(self, mark: Mark, stdout_limit: int, stderr_limit: int) -> None:
        self._mark = mark
        self._stdout_limit = stdout_limit
        self._stdout = bytearray()
        self._stderr = Kept(stderr_limit)
        self._pid = self._pidfd = self._out = self._err = -1
        self._open: set[int] = set()
        self._streams: set[int] = set()
        self._poll = select.poll()

    def start(
        self, path: str, argv: list[str], environment: Mapping[bytes, bytes], request: bytes, granted: int
    ) -> None:
        stdin = self._own(_above_stdio(_file_of(request)))
        self._out, stdout = self._pipe()
        self._err, stderr = self._pipe()
        self._pid = confine.spawn(
            path, argv, environment, (stdin, stdout, stderr), granted=granted, groups=self._mark.groups
        )
        for fd in (stdin, stdout, stderr):
            self._close(fd)
        self._streams = {self._out, self._err}
        for fd in self._streams:
            self._poll.register(fd, select.POLLIN)

    def watch(self) -> None:
        """Be told when it ends. Raises OSError when this process has too many files open."""
        with suppress(ProcessLookupError):  # reaped behind our back: wait() says so
            self._pidfd = self._own(_above_stdio(os.pidfd_open(self._pid)))
            self._poll.register(self._pidfd, select.POLLIN)

    def wait(self, deadline: float, grace: float) -> Ended:
        why: Why = "exited"
        if self._pidfd >= 0 and not self._pump(deadline):
            why = "deadline"
            self._signal_group(signal.SIGTERM)
            self._signal_group(signal.SIGCONT)  # a stopped process acts on SIGTERM only when continued
            until = time.monotonic() + grace
            self._pump(until)
            self.kill(max(0.0, until - time.monotonic()))
        self._drain()
        if len(self._stdout) > self._stdout_limit:
            why = "too much output"
            self.kill()
        try:
            # Looked at, but not reaped: until all is ended, nobody else can get its process id.
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        except OSError:
            result = None
        if result is None:
            kill_marked(self._mark)
            return self._ended("lost", None, None)
        status, exited = result.si_status, result.si_code == os.CLD_EXITED
        if why == "exited" and (not exited or status != 0):
            self._end_rest(all_of_it=not exited)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        return self._ended(why, status if exited else None, None if exited else status)

    def kill(self, grace: float = 0.0) -> None:
        """End the process and everything that it started."""
        if self._pid > 0 and grace <= 0:
            self._signal_group(signal.SIGKILL)
        kill_marked(self._mark, grace)
        if self._pid > 0:
            self._signal_group(signal.SIGKILL)

    def abandon(self) -> None:
        """End it, if it was started, with what needs no further descriptor: there may be none left."""
        if self._pid > 0:
            self._signal_group(signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def close(self) -> None:
        for fd in tuple(self._open):
            self._close(fd)

    def _end_rest(self, *, all_of_it: bool) -> None:
        """End what a failed script left running.

        Searching all processes costs milliseconds on a busy host, so a script that failed in good
        order is searched for only if something still holds its output; a daemon that it detached
        with care is for its ``unplug`` to end.
        """
        self._signal_group(signal.SIGKILL)
        if all_of_it or self._streams:
            self.kill()

    def _pump(self, until: float) -> bool:
        """Read what it prints until it ends or prints too much; False if ``until`` came first."""
        while (left := until - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(poll_ms(left)):
                if fd == self._pidfd:
                    return True
                self._read(fd)
                if len(self._stdout) > self._stdout_limit:
                    return True
        return False

    def _drain(self) -> None:
        """Read what is in the pipes now. Who still writes into them is not waited for."""
        for fd in tuple(self._streams):
            room = _LONGEST_PIPE
            while fd in self._streams and room > 0 and (count := self._read(fd)):
                room -= count

    def _read(self, fd: int) -> int:
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:  # nothing there, or the script read its own pipe
            return 0
        if not data:
            self._streams.discard(fd)
            self._poll.unregister(fd)
        elif fd == self._out:
            self._stdout += data
        else:
            self._stderr.add(data)
        return len(data)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # kill_marked finds and names what is left
            os.killpg(self._pid, number)

    def _ended(self, why: Why, status: int | None, number: int | None) -> Ended:
        return Ended(
            why=why,
            exit_status=status,
            signal=number,
            stdout=bytes(self._stdout),
            stderr=self._stderr.bytes(),
        )

    def _pipe(self) -> tuple[int, int]:
        reader, writer = pipe()
        self._open |= {reader, writer}
        # Not blocking: a script can open its own pipe and read away what poll() has promised us.
        os.set_blocking(reader, False)
        return reader, writer

    def _own(self, fd: int) -> int:
        """Remember to close ``fd``."""
        self._open.add(fd)
        return fd

    def _close(self, fd: int) -> None:
        self._open.discard(fd)
        os.close(fd)


def poll_ms(left: float) -> float:
    """Milliseconds for one poll(2) where ``left`` seconds remain: never long.

    Python notes a signal that comes just before the system call, and acts on it after: a Ctrl-C in
    that moment would wait for the script's deadline.
    """
    return min(left, 0.5) * 1000 + 1


def pipe() -> tuple[int, int]:
    """Both ends of a pipe, the reader first; neither survives an exec, neither is 0, 1 or 2."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return _above_stdio(reader), _above_stdio(writer)


def _above_stdio(fd: int) -> int:
    """``fd``, out of the way of 0, 1, 2, which are free in a process that closed them."""
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _file_of(request: bytes) -> int:
    """A file in memory that holds the request: nothing to feed, nothing that a script can block."""
    try:
        fd = os.memfd_create("request", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError:  # before Linux 6.3 the flag is unknown
        fd = os.memfd_create("request", os.MFD_CLOEXEC)
    view = memoryview(request)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
