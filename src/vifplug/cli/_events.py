"""One event of the daemon in one line for people."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from ._output import duration

#: what an event means for whoever reads along; what is not here is plain
_COLOURS = {
    **dict.fromkeys(
        ("plugged", "updated", "unplugged", "activated", "repaired", "debt-paid", "started"), "green"
    ),
    **dict.fromkeys(
        (
            "drift",
            "recovered",
            "forgotten",
            "reboot",
            "device-gone",
            "orphan-removed",
            "arrival-given-up",
            "stopping",
            "overloaded",
        ),
        "yellow",
    ),
    **dict.fromkeys(
        (
            "plug-failed",
            "update-failed",
            "unplug-failed",
            "repair-failed",
            "activate-failed",
            "debt-owing",
            "ledger-rebuilt",
            "ledger-backup-failed",
            "ledger-failed",
            "keeper-failed",
        ),
        "red",
    ),
}
#: what belongs to programs, and what has a place of its own
_LEFT_OUT = frozenset({"trace", "traceparent", "digest", "seconds", "attempt", "generation"})


def colour(kind: str, data: Mapping[str, Any]) -> str | None:
    """The colour of an event's kind, as click names it."""
    if kind == "call" and data.get("outcome", "done") != "done":
        return "red"
    return _COLOURS.get(kind)


def clock(moment: float) -> str:
    """A time in seconds since 1970 as local time of day, to the millisecond."""
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03d}"


def text(kind: str, data: Mapping[str, Any]) -> str:
    """What happened, without its kind, its VIF and its time."""
    data = dict(data)
    took = f" in {duration(float(data['seconds']))}" if isinstance(data.get("seconds"), int | float) else ""
    if kind == "call":
        attempt = f", attempt {data['attempt']}" if data.get("attempt", 1) != 1 else ""
        return f"{data.get('script')} {data.get('verb')}: {data.get('outcome')}{took}{attempt}"
    words = [_drift(found) for found in data.pop("drift", None) or ()]
    if kind == "recovered":
        words.append(f"was {data.pop('was', '?')}, now {data.pop('now', '?')}")
    error = data.pop("error", None)
    if isinstance(error, Mapping):
        return _joined(data.get("doing"), error.get("message") or error.get("code"))
    words += [str(data.pop(name)) for name in ("type", "message", "reason") if data.get(name)]
    words += [
        f"{name} {_short(value)}"
        for name, value in data.items()
        if name not in _LEFT_OUT and value is not None
    ]
    if kind == "drift" and not words:
        return "as it was plugged again"
    return "; ".join(words) + took


def _drift(found: Mapping[str, Any]) -> str:
    expected, actual = found.get("expected"), found.get("found")
    return f"{found.get('what')}: {_short(actual)} in place of {_short(expected)}"


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value, default=dict)


def _joined(*parts: object) -> str:
    return ": ".join(str(part) for part in parts if part)
