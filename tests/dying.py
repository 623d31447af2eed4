"""Processes that die between two things that they do to the disk: each SQL statement, sync and rename is a moment."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crashing import ends


def dies_at(moment: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed at its n-th moment, counted from 1; False when it ended before."""
    status = ends(lambda: _doomed(moment, work))
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def every_moment(work: Callable[[], object], before: Callable[[], object], step: int = 1) -> Iterator[int]:
    """The moments of ``work``, one after another: it has been killed there when this yields. ``before`` prepares
    for each. ``step``: only every so manieth."""

    def killed(moment: int) -> bool:
        before()
        return dies_at(moment, work)

    return itertools.takewhile(killed, itertools.count(1, step))


def _doomed(moment: int, work: Callable[[], object]) -> None:
    """For a process of its own: what is patched here stays so."""
    count = itertools.count(1)

    def passed(*_: object) -> None:
        if next(count) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def patched(*arguments: Any, **keywords: Any) -> Any:
            passed()
            answer = function(*arguments, **keywords)
            passed()
            return answer

        return patched

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def traced(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **keywords)
        connection.set_trace_callback(passed)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    os.fsync = around(os.fsync)
    for name in ("rename", "replace", "mkdir", "unlink"):
        setattr(Path, name, around(getattr(Path, name)))
    work()
