"""Processes of scripts that stay up, on record while they live: one that outlives its owner is ended."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import LedgerError
from ..script.marks import Mark, kill_marked
from .ledger import Ledger


class Residents:
    """Tells the ledger which resident processes this process has (script.runner.Registry)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def started(self, mark: Mark) -> None:
        self._ledger.keep_resident(mark.to_text(), _name(os.getpid()) or "")

    def ended(self, mark: Mark) -> None:
        # A disk may be full, or a ledger gone, while nobody asks for anything. The row names no process any more,
        # and once this one has ended, ``end_ownerless`` drops it.
        with contextlib.suppress(LedgerError):
            self._ledger.drop_resident(mark.to_text())


def end_ownerless(ledger: Ledger) -> None:
    """End the resident processes whose owner was killed: they may be in the middle of a verb."""
    for mark, owner in ledger.residents():
        if owner != _name(int(owner.partition(" ")[0] or 0)):
            kill_marked(Mark.from_text(mark))
            ledger.drop_resident(mark)


def _name(pid: int) -> str | None:
    """A process id with the time it started at (proc_pid_stat(5)), which no later process shares."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return f"{pid} {rest[18]}" if state not in "ZX" else None
