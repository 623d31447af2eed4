"""What people and programs read: tables, times, colours, JSON, errors."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import click

#: how a state or verdict is coloured; what is not here is plain
_COLOURS = {
    "plugged": "green",
    "ok": "green",
    "trusted": "green",
    "done": "green",
    "plugging": "yellow",
    "updating": "yellow",
    "unplugging": "yellow",
    "lost": "yellow",
    "note": "cyan",
    "warning": "yellow",
    "problem": "red",
    "debt": "red",
    "drift": "red",
    "refused": "red",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class OutputError(Exception):
    """Standard output took no more (a full disk, say)."""


def visible(text: str) -> str:
    """*text* with control characters written out: what a script printed must not steer a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def coloured(word: str) -> str:
    """A state or verdict in its colour; "plugged (lost)" takes the colour of what is in brackets."""
    key = word.rpartition("(")[2].rstrip(")")
    return click.style(word, fg=_COLOURS[key]) if key in _COLOURS else word


def say(text: str = "", *, err: bool = False) -> None:
    """One line for people; colours are left out where it is no terminal or NO_COLOR is set."""
    try:
        click.echo(text, err=err, color=False if os.environ.get("NO_COLOR") else None)
    except OSError as error:
        give_up(sys.stderr if err else sys.stdout)
        if err:
            return  # nobody is left to tell, and what is under way must not fail for it
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"cannot write to standard output: {error.strerror}") from None


def give_up(stream: TextIO) -> None:
    """What is still in the stream's buffer must not fail once more when the interpreter ends."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def complain(message: str) -> None:
    """An error for people: every line of it begins with the program's name."""
    for line in visible(message).splitlines() or [""]:
        say(f"{click.style('vifplug:', fg='red')} {line}", err=True)


def emit(document: Any) -> None:
    """The one JSON document of ``--json``, on standard output."""
    import msgspec

    say(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def emit_error(error: dict[str, Any]) -> None:
    """``{"error": …}`` in place of the answer; file names that are no text keep their escapes."""
    import json

    text = json.dumps({"error": error}, indent=2, ensure_ascii=False, default=str)
    say(text.encode(errors="backslashreplace").decode())


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns; numbers to the right; states coloured; nothing at all for no rows."""
    if not rows:
        return
    texts = [list(headings), *([_cell(value) for value in row] for row in rows)]
    columns = range(len(headings))
    widths = [max(len(line[at]) for line in texts) for at in columns]
    numeric = [all(isinstance(row[at], int | float) for row in rows) for at in columns]
    lines = []
    for line in texts:
        cells = []
        for at in columns:
            shown = click.style(line[at], bold=True) if line is texts[0] else coloured(line[at])
            padding = " " * (widths[at] - len(line[at]))
            cells.append(padding + shown if numeric[at] else shown + padding)
        lines.append("  ".join(cells).rstrip())
    say("\n".join(lines))


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else visible(str(value)).replace("\n", " ")


def pairs(entries: Sequence[tuple[str, object]]) -> None:
    """Aligned ``key  value`` lines; a value of None is left out."""
    shown = [(key, value) for key, value in entries if value is not None]
    width = max(len(key) for key, _ in shown)
    for key, value in shown:
        say(f"{key:<{width}}  {coloured(_cell(value))}")


def duration(seconds: float) -> str:
    """0.0123 -> "12.3 ms", 4.2 -> "4.20 s"."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def ago(moment: float, now: float | None = None) -> str:
    """A time in seconds since 1970, as people say it: "5 min ago"."""
    passed = (time.time() if now is None else now) - moment
    for size, unit in _UNITS:
        if passed >= size:
            return f"{int(passed // size)} {unit} ago"
    return "now"


def stamp(moment: float) -> str:
    """A time in seconds since 1970 as local date and time, to the millisecond."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03d}"
