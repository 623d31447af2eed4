"""Whoever uses the ledger's files holds the gate with others; who puts other files in their place, alone.

A database that is moved while a process has it open goes on being written to, and nobody ever reads that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import Busy
from .locks import acquire

_NAME = "ledger files"


class Gate:
    """The gate of one state directory, in the file that its locks are in."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "locks"

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
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield acquire(file, _NAME, time.monotonic() + wait, kind)
        finally:
            os.close(file)
