"""What ``vifplug top`` shows: one picture of the host, made of lines of a width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

from ._events import clock, colour, text
from ._output import visible

#: a bar shows from a tenth of a millisecond to a minute, each step the same factor longer
_FASTEST, _SLOWEST = 1e-4, 60.0
#: numbers' columns in the table of scripts, and the narrowest name and bar beside them
_NUMBERS = 55
_NAME, _BAR = 12, 10
_FEWEST = 3


class Part(NamedTuple):
    """Text in one style."""

    text: str
    style: Mapping[str, Any] = {}


Line = list[Part]

_BOLD: Mapping[str, Any] = {"bold": True}
_DIM: Mapping[str, Any] = {"dim": True}
_STATES = {"plugged": "green", "debt": "red"}


def painted(line: Line, width: int, colours: bool) -> str:
    """A line cut to ``width`` characters, with its styles."""
    done: list[str] = []
    for part in line:
        piece = visible(part.text).replace("\n", " ").replace("\t", " ")[:width]
        width -= len(piece)
        done.append(click.style(piece, **part.style) if colours and part.style else piece)
    return "".join(done).rstrip() if not colours else "".join(done)


def picture(
    status: Any,
    before: Any | None,
    events: Sequence[Any],
    *,
    width: int,
    height: int | None = None,
    notice: str | None = None,
) -> list[Line]:
    """The lines. ``before`` is an earlier status, to tell rates by; without ``height`` as many as it takes."""
    rates = _rates(status, before)
    head = _head(status, sum(rates.values()), width, notice)
    calls = list(status.calls)
    running = [_running(one, status.now) for one in status.running]
    told = [_event(one) for one in events]
    areas = (len(calls), len(running), len(told))
    if height is not None:
        areas = _areas(height - len(head), len(calls))
        calls = _busiest(calls, rates, areas[0])
    scripts = [_script(one, rates[one.script, one.verb], width) for one in calls]
    hidden = len(status.calls) - len(calls)
    if hidden:
        scripts.append([Part(f"… {hidden} more", _DIM)])
    lines = [*head, [], _scripts_title(width), *_fitted(scripts, areas[0], "no script was called yet")]
    lines += [[], _RUNNING_TITLE, *_fitted(running, areas[1], "nothing runs")]
    if told:
        lines += [[], [Part("EVENTS", _BOLD)], *(told[-areas[2] :] if areas[2] > 0 else [])]
    return lines if height is None else lines[:height]


def _areas(height: int, scripts: int) -> tuple[int, int, int]:
    """Lines for scripts, for what runs, and for events; what runs changes all the time and its area does not."""
    room = max(height - 6, 0)  # a title and an empty line each
    running = max(_FEWEST, room // 4)
    shown = min(max(scripts, 1), max(_FEWEST, room // 2))
    return shown, running, max(room - running - shown, 0)


def _fitted(lines: list[Line], room: int, none: str) -> list[Line]:
    """So many lines, or with a word about the rest; empty ones below."""
    if not lines:
        lines = [[Part(none, _DIM)]]
    elif len(lines) > room:
        lines = [*lines[: max(room - 1, 0)], [Part(f"… {len(lines) - max(room - 1, 0)} more", _DIM)]]
    return lines + [[] for _ in range(room - len(lines))]


# --- the head ------------------------------------------------------------------------------------


def _head(status: Any, rate: float, width: int, notice: str | None) -> list[Line]:
    left = f"{status.hostname}"
    about = f"  vifplugd {status.version}, up {span(status.now - status.started)}"
    now = clock(status.now)[:8]
    gap = " " * max(width - len(left) - len(about) - len(now), 2)
    states: dict[str, int] = {}
    types: dict[str, int] = {}
    for count in status.vifs:
        states[count.state] = states.get(count.state, 0) + count.vifs
        types[count.type or "?"] = types.get(count.type or "?", 0) + count.vifs
    vifs: Line = [Part("VIFs  ", _BOLD)]
    for state, number in states.items() or [("plugged", 0)]:
        vifs += [Part(f"{number} {state}", {"fg": _STATES.get(state, "yellow")}), Part("  ")]
    if types:
        vifs.append(Part("(" + ", ".join(f"{number} {kind}" for kind, number in types.items()) + ")", _DIM))
    waiting = sum(1 for one in status.running if one.waiting)
    rejected = sum(status.queue.rejected.values())
    work: Line = [
        Part("Work  ", _BOLD),
        Part(f"{status.queue.at_work} at work, {waiting} waiting  {rate:.1f} calls/s  "),
        Part(f"{status.connections} connections  "),
        Part(f"{rejected} turned away", {"fg": "yellow"} if rejected else {}),
    ]
    head: list[Line] = [[Part(left, _BOLD), Part(about), Part(gap + now)], vifs, work]
    return [*head, [Part(notice, {"fg": "red"})]] if notice else head


# --- scripts -------------------------------------------------------------------------------------


def _rates(status: Any, before: Any | None) -> dict[tuple[str, str], float]:
    """Calls a second by script and verb: since ``before``, else since the daemon's start."""
    earlier: dict[tuple[str, str], int] = {}
    since = status.started
    if before is not None and before.started == status.started and before.now < status.now:
        earlier = {(one.script, one.verb): one.calls for one in before.calls}
        since = before.now
    passed = max(status.now - since, 1e-3)
    return {
        (one.script, one.verb): (one.calls - earlier.get((one.script, one.verb), 0)) / passed
        for one in status.calls
    }


def _busiest(calls: list[Any], rates: Mapping[tuple[str, str], float], room: int) -> list[Any]:
    """Those that there is room for, in the order that they had."""
    if len(calls) <= room:
        return calls
    ranked = sorted(calls, key=lambda one: (rates[one.script, one.verb], one.calls), reverse=True)
    kept = {(one.script, one.verb) for one in ranked[: max(room - 1, 0)]}
    return [one for one in calls if (one.script, one.verb) in kept]


def _widths(width: int) -> tuple[int, int]:
    """Of the name and of the bar."""
    spare = width - _NUMBERS - 1
    bar = min(max(spare // 3, _BAR), 30)
    return max(spare - bar, _NAME), bar


def _scripts_title(width: int) -> Line:
    name, _ = _widths(width)
    return [
        Part(
            f"{'SCRIPT':<{name}} {'VERB':<8} {'CALLS':>8} {'FAILED':>6} {'/S':>6} {'P50':>7} {'P95':>7} {'P99':>7} ",
            _BOLD,
        ),
        Part("0.1 ms … 1 min" if _widths(width)[1] > 14 else "", _DIM),
    ]


def _script(one: Any, rate: float, width: int) -> Line:
    name, bar = _widths(width)
    return [
        Part(f"{_cut(one.script, name):<{name}} {_cut(one.verb, 8):<8} {one.calls:>8} "),
        Part(f"{one.failures:>6}", {"fg": "red"} if one.failures else {}),
        Part(f" {rate:>6.1f} {brief(one.p50):>7} {brief(one.p95):>7} {brief(one.p99):>7} "),
        *_bar(one.p50, one.p95, one.p99, bar),
    ]


def _bar(p50: float, p95: float, p99: float, width: int) -> Line:
    """Where the three lie between the fastest and the slowest, on a logarithmic scale."""
    middle, high, highest = (_place(seconds, width) for seconds in (p50, p95, p99))
    return [
        Part("─" * middle, _DIM),
        Part("━" * max(high - middle, 1), {"fg": "green"}),
        Part("━" * (highest - high), {"fg": "yellow"}),
    ]


def _place(seconds: float, width: int) -> int:
    part = math.log(max(seconds, _FASTEST) / _FASTEST) / math.log(_SLOWEST / _FASTEST)
    return min(int(part * width), width - 1)


# --- what runs, and what happened ----------------------------------------------------------------

_RUNNING_TITLE: Line = [Part(f"{'RUNNING':<8} {'VERB':<8} {'FOR':>7}  {'STEP':<20} SCRIPT", _BOLD)]


def _running(one: Any, now: float) -> Line:
    long = now - one.since
    step = "waiting for the VIF" if one.waiting else one.step or ""
    return [
        Part(f"{(one.vif_id or '')[:8]:<8} {_cut(one.verb or '-', 8):<8} "),
        Part(f"{brief(long):>7}", {"fg": "red"} if long > 30 else {"fg": "yellow"} if long > 5 else {}),
        Part(f"  {_cut(step, 20):<20} {one.script or ''}"),
    ]


def _event(one: Any) -> Line:
    return [
        Part(f"{clock(one.time)[:8]}  ", _DIM),
        Part(f"{one.kind:<14}", {"fg": colour(one.kind, one.data)}),
        Part(f"  {(one.vif_id or '')[:8]:<8}  {text(one.kind, one.data)}"),
    ]


# --- numbers for people --------------------------------------------------------------------------


def brief(seconds: float) -> str:
    """At most seven characters: 0.8ms, 120ms, 1.20s, 59.9s, 2m05s, 3h07m, 4d02h."""
    seconds = max(seconds, 0.0)
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes}m{int(seconds % 60):02d}s"
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02d}m" if hours < 100 else f"{hours // 24}d{hours % 24:02d}h"


def span(seconds: float) -> str:
    """A long time: 45 s, 12 min, 3 h 5 min, 4 d 2 h."""
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"))
    for size, unit, next_size, next_unit in units:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // next_size)} {next_unit}"
    return f"{int(seconds // 60)} min" if seconds >= 60 else f"{int(max(seconds, 0))} s"


def _cut(word: str, width: int) -> str:
    return word if len(word) <= width else word[: width - 1] + "…"
