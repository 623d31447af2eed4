"""Whoever uses the ledger's files holds the gate with others; who puts other files in their place, alone.

A database that is moved while a process has it open goes on being written to, and nobody ever reads that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from ..errors import Busy
from .locks import acquire, release

_NAME = "ledger files"


class Gate:
    """The gate of one state directory, in the file that its locks are in. One thread at a time uses a Gate.

    The file is opened once and stays open: a process that may open no more files can still record what it did.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "locks"
        self._file: int | None = None

    def open(self) -> int:
        """Be ready: for who may find that no more files can be opened when it is time."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._closing = weakref.finalize(self, os.close, self._file)
        return self._file

    def close(self) -> None:
        if self._file is not None:
            self._file = None
            self._closing()

    @contextlib.contextmanager
    def shared(self, wait: float) -> Iterator[None]:
        """Use the files, as they are. Raises Busy when they are being replaced for more than ``wait`` seconds."""
        with self._held(fcntl.F_RDLCK, wait) as held:
            if not held:
                raise Busy(
                    f"the ledger in {self._path.parent} is being rebuilt by another process, for more than {wait:g} s"
                    " now: try again when it is done"
                )
            yield

    @contextlib.contextmanager
    def alone(self, wait: float) -> Iterator[None]:
        """Replace the files. Raises Busy when others have not let go of them within ``wait`` seconds."""
        with self._held(fcntl.F_WRLCK, wait) as held:
            if not held:
                raise Busy(
                    f"the ledger in {self._path.parent} is being rebuilt by another process already, for more than"
                    f" {wait:g} s now: wait until it is done"
                )
            yield

    @contextlib.contextmanager
    def _held(self, kind: int, wait: float) -> Iterator[bool]:
        file = self.open()
        held = acquire(file, _NAME, time.monotonic() + wait, kind)
        try:
            yield held
        finally:
            if held:
                release(file, _NAME)
