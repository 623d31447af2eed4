"""One lock per VIF, and named locks, held across threads and processes.

All are bytes of one file, at a place that the lock's name hashes to: nothing is made per VIF, so
nothing is left behind, and the kernel frees the locks of a process that dies. Open file
description locks (fcntl(2), F_OFD_SETLK) exclude threads of one process from each other too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from ..errors import Busy

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


class Locks:
    """The locks of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "locks"
        self._guard = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    @contextlib.contextmanager
    def vif(self, vif_id: str, wait: float) -> Iterator[None]:
        """Hold the VIF, waiting at most ``wait`` seconds; raises Busy after that."""
        with self._hold([f"vif {vif_id}"], wait) as missing:
            if missing:
                raise Busy(
                    f"VIF {vif_id} is busy: another call has been at work on it for more than {wait:g} s;"
                    " try again, or look with 'vifplug show'",
                    vif_id=vif_id,
                )
            yield

    @contextlib.contextmanager
    def try_vif(self, vif_id: str) -> Iterator[bool]:
        """True inside when nobody else held the VIF."""
        with self._hold([f"vif {vif_id}"], 0) as missing:
            yield missing is None

    @contextlib.contextmanager
    def named(self, names: Sequence[str], wait: float) -> Iterator[None]:
        """Hold every lock that a script asks for, in one order for all, so that none waits in a circle."""
        with self._hold([f"named {name}" for name in sorted(set(names))], wait) as missing:
            if missing:
                raise Busy(
                    f"the lock {missing.removeprefix('named ')!r} that the script asks for was held by others"
                    f" for more than {wait:g} s"
                )
            yield

    @contextlib.contextmanager
    def _hold(self, names: list[str], wait: float) -> Iterator[str | None]:
        """Hold all; yields the first that could not be had in time, or None."""
        until = time.monotonic() + wait
        with contextlib.ExitStack() as held:
            for name in names:
                if not held.enter_context(self._turn(name, until)):
                    yield name
                    return
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            held.callback(os.close, file)  # and with it go the locks
            yield next((name for name in names if not acquire(file, name, until)), None)

    @contextlib.contextmanager
    def _turn(self, name: str, until: float) -> Iterator[bool]:
        """Whether this thread's turn came in time. Threads of one process pass a lock on at once, and
        only the one whose turn it is looks for other processes, which takes polling."""
        with self._guard:
            turn = self._turns.setdefault(name, _Turn())
            turn.wanted += 1
        came = turn.lock.acquire(timeout=max(0.0, until - time.monotonic()))
        try:
            yield came
        finally:
            if came:
                turn.lock.release()
            with self._guard:
                turn.wanted -= 1
                if turn.wanted == 0:
                    del self._turns[name]


class _Turn:
    """Who of this process's threads has a lock, and how many want it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wanted = 0


def acquire(file: int, name: str, until: float, kind: int = fcntl.F_WRLCK) -> bool:
    """Lock the place of ``name`` in an open file, for oneself or (F_RDLCK) with others; False when it was too late."""
    wanted = _place(name, kind)
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            return True


def release(file: int, name: str) -> None:
    """Let go of what ``acquire`` locked, while the file stays open."""
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, _place(name, fcntl.F_UNLCK))


def _place(name: str, kind: int) -> bytes:
    place = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> 2
    return _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0)
