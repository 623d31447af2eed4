"""What was done, or would be, as a tree: steps, and under them the commands that a script ran."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import click

from ._output import duration, say, visible

if TYPE_CHECKING:
    from ..host.results import CallRecord, Step
    from ..script.trace import Ran
    from ._session import Session

#: what, more about it, and what is under it
Branch: TypeAlias = "tuple[str, str, list[Branch]]"


def quoted(word: str) -> str:
    """A word as one would type it in a shell."""
    return visible(shlex.quote(word))


def ran(command: Ran) -> str:
    """A command, and how it ended where that is worth saying."""
    said = [] if command.seconds is None else [duration(command.seconds)]
    if command.exit is None and not command.dry:
        said.append("was still running")
    elif command.exit:
        said.append(f"exit {command.exit}")
    words = " ".join(map(quoted, command.run))
    return f"{words}  ({', '.join(said)})" if said else words


def tree(root: str, branches: Sequence[Branch], *, err: bool = False) -> None:
    """Print a tree."""
    say(root, err=err)
    _grow(branches, "", err)


def _grow(branches: Sequence[Branch], indent: str, err: bool) -> None:
    width = max((len(name) for name, more, _ in branches if more), default=0)
    for place, (name, more, under) in enumerate(branches, 1):
        last = place == len(branches)
        text = f"{name:<{width}}  {more}" if more else name
        say(f"{indent}{'└─' if last else '├─'} {text}", err=err)
        _grow(under, indent + ("   " if last else "│  "), err)


@contextlib.contextmanager
def tracing(session: Session, vif_id: str, wanted: bool) -> Iterator[None]:
    """When ``wanted``, print at the end what was done within, also when it failed, on standard error."""
    if not wanted:
        yield
        return
    session.steps, began = [], time.time()
    try:
        yield
    finally:
        _show(session, vif_id, session.steps, began)
        session.steps = None


def _show(session: Session, vif_id: str, steps: Sequence[Step], began: float) -> None:
    from ..errors import NotPlugged

    try:
        calls = [call for call in session.host.calls(vif_id) if call.started >= began]
    except NotPlugged:
        calls = []
    branches: list[Branch] = []
    for step in steps:
        verb = step.name.rpartition("script ")[2] if "script " in step.name else None
        under: list[Branch] = []
        while verb is not None and calls and calls[0].verb == verb:
            call = calls.pop(0)
            under += _commands(call)
            if call.outcome == "done":
                break
        end = click.style("  failed", fg="red") if step.phase == "failed" else ""
        branches.append(
            (step.name, f"{duration(step.seconds):>9}  {visible(step.text)}".rstrip() + end, under)
        )
    tree(f"{vif_id}: {duration(sum(step.seconds for step in steps))}", branches, err=True)


def _commands(call: CallRecord) -> list[Branch]:
    from ..script.trace import lines

    return [
        (f"| {visible(line)}", "", []) if isinstance(line, str) else (ran(line), "", [])
        for line in lines(call.stderr)
    ]
