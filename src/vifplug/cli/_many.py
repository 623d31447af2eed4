"""Many VIFs in one command: a progress bar, one line for each that failed, one summary."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeVar

import click

from ..errors import VifplugError
from ._output import complain, duration, emit, say
from ._session import Session

Answer = TypeVar("Answer")


def carry_out(
    session: Session,
    ids: Sequence[str],
    work: Callable[[Callable[[object], None]], list[Answer | VifplugError]],
    *,
    done: str,
) -> None:
    """Call *work* with a function that it calls as each VIF is done; show its answers, in the order of *ids*.

    With any failure the command ends with status 1.
    """
    began = time.monotonic()
    wanted = sys.stderr.isatty() and not session.json and not session.verbose
    bar = click.progressbar(length=len(ids), file=sys.stderr, label=done, show_pos=True) if wanted else None
    turn = threading.Lock()  # the answers come from many threads

    def advance(_: object) -> None:
        if bar is not None:
            with turn:
                bar.update(1)

    with bar or nullcontext():
        answers = work(advance)
    failed = {
        vif_id: answer
        for vif_id, answer in zip(ids, answers, strict=True)
        if isinstance(answer, VifplugError)
    }
    session.exit_status = 1 if failed else 0
    for vif_id, error in failed.items():
        complain(error.message if vif_id in error.message else f"{vif_id}: {error.message}")
    if session.json:
        emit(
            [
                {"id": vif_id, "error": answer.as_dict()} if isinstance(answer, VifplugError) else answer
                for vif_id, answer in zip(ids, answers, strict=True)
            ]
        )
    else:
        for answer in answers:
            for note in getattr(answer, "notes", ()):
                complain(note)
        count = f"{len(ids) - len(failed)} of {len(ids)}" if failed else str(len(ids))
        say(f"{done} {count} VIFs in {duration(time.monotonic() - began)}")
