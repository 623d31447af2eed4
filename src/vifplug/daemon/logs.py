"""The daemon's log: one line for each thing said, as JSON or as text, on the standard library's logging.

What is said within `about` carries its fields (the verb, its VIF, its trace) on every line. Sizes are
bounded, control characters are written out, and what may be a secret is not let through.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Literal, TextIO

#: characters of one field, entries of one list or object, levels of them, characters of one line
_FIELD, _ENTRIES, _DEPTH, _LINE = 2048, 32, 4, 16384
#: fields that hold what a network service or an operator may have put a secret into
_SECRET = frozenset({"details", "vif_details", "environment", "profile", "request", "previous", "reply"})
#: sd-daemon(3): syslog's severities
_SEVERITY = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
#: what steers a terminal or ends a line elsewhere, beside what JSON escapes by itself
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN = re.compile(r"[\w.:/@%+-]+\Z", re.ASCII)

_encode = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes one for each call
_about: ContextVar[Mapping[str, Any]] = ContextVar("vifplug_about", default=MappingProxyType({}))


def setup(form: Literal["json", "text"], *, debug: bool = False, stream: TextIO | None = None) -> None:
    """Send all that is logged in this process to ``stream`` (standard error); our own from "info" on."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines(form, journal=_is_journal(stream)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("vifplug").setLevel(logging.DEBUG if debug else logging.INFO)
    logging.raiseExceptions = False  # nobody is left to tell when standard error is gone


def fields(**values: Any) -> dict[str, Any]:
    """For the ``extra`` of a logging call: ``log.info("plugged", extra=fields(vif_id=…, seconds=…))``."""
    return {"vifplug": values}


@contextmanager
def about(**values: Any) -> Iterator[None]:
    """A block whose every log line carries these fields; those of blocks around it too."""
    token = _about.set({**_about.get(), **values})
    try:
        yield
    finally:
        _about.reset(token)


def error_fields(error: Mapping[str, Any]) -> dict[str, Any]:
    """What may be logged of ``VifplugError.as_dict()``: no values, and no message that quotes details."""
    quotes = error.get("code") in ("invalid_input", "bad_details", "bad_reply")
    kept = ("code", "field", "script", "verb") if quotes else ("code", "message", "field", "script", "verb")
    return {"error": {name: error[name] for name in kept if name in error}}


class _Lines(logging.Formatter):
    def __init__(self, form: Literal["json", "text"], *, journal: bool) -> None:
        super().__init__()
        self._line = _as_json if form == "json" else _as_text
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        said = {**_about.get(), **getattr(record, "vifplug", {})}
        entry = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _bounded(record.getMessage()),
            **{name: "(not logged)" if name in _SECRET else _bounded(said[name]) for name in said},
        }
        if record.exc_info:
            entry["traceback"] = _bounded(self.formatException(record.exc_info)[-_FIELD:])
        line = self._line(entry)
        if len(line) >= _LINE:
            line = self._line(_fitting(entry))
        return f"<{_severity(record.levelno)}>{line}" if self._journal else line


def _fitting(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry without its longest fields, where all are too much for a line; what every line has stays."""
    sizes = {name: len(_as_json({name: value})) for name, value in entry.items()}
    size = sum(sizes.values())
    for name in sorted(list(entry)[4:], key=lambda name: -sizes[name]):
        if size <= _LINE:
            break
        entry[name] = "(too long)"
        size -= sizes[name] - len(name) - len("(too long)")
    return entry


def _as_json(entry: Mapping[str, Any]) -> str:
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", _encode(entry))


def _as_text(entry: Mapping[str, Any]) -> str:
    entry = dict(entry)
    head = f"{entry.pop('time')} {entry.pop('level'):<8} {entry.pop('logger')}: {entry.pop('message')}"
    more = [f"{name}={_value(value)}" for name, value in _flat(entry) if value is not None]
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", " ".join([head, *more]))[:_LINE]


def _flat(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields, and those of an object among them as ``error.code`` and the like."""
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{part}", value[part]) for part in value)
        else:
            yield name, value


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else _encode(value)
    return text if _PLAIN.match(text) else _encode(text)


def _bounded(value: Any, depth: int = _DEPTH) -> Any:
    """The value, JSON-able and no larger than a log line bears."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth:
        kept = {
            str(name)[:64]: "(not logged)" if name in _SECRET else _bounded(part, depth - 1)
            for name, part in list(value.items())[:_ENTRIES]
        }
        return kept if len(value) <= _ENTRIES else {**kept, "…": f"{len(value) - _ENTRIES} more"}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        parts = [_bounded(part, depth - 1) for part in list(value)[:_ENTRIES]]
        return parts if len(value) <= _ENTRIES else [*parts, f"… {len(value) - _ENTRIES} more"]
    text = str(value)
    return text if len(text) <= _FIELD else f"{text[:_FIELD]}… {len(text) - _FIELD} more"


def _stamp(moment: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def _severity(level: int) -> int:
    return next((severity for at_least, severity in _SEVERITY if level >= at_least), 7)


def _is_journal(stream: TextIO) -> bool:
    """Whether the stream leads to systemd's journal: JOURNAL_STREAM in systemd.exec(5)."""
    said = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return said == f"{found.st_dev}:{found.st_ino}"
