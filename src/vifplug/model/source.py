"""From bytes to plain values: JSON within limits, and nothing that XML or a ledger could not carry."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from vifplug.errors import InvalidInput
from vifplug.model.checks import INPUT, Wrong, portable, printable, shown

#: bytes of one binding
ONE = 1024 * 1024
#: bytes of many bindings, and how many they may be
MANY = 64 * 1024 * 1024
MOST = 10_000
_DEEPEST = 64
_LONGEST_KEY = 128
_CHARACTERS = "text without NUL, control characters, lone surrogates, U+FFFE and U+FFFF"


def check_size(value: Any) -> None:
    """Raise InvalidInput where a binding, written as JSON, is longer than one may be."""
    import msgspec

    _check_length(len(msgspec.json.encode(value)), ONE)


def parse(source: bytes | bytearray | str, *, limit: int = ONE) -> Any:
    """JSON text as Python values. Raises InvalidInput; broken JSON is named with line and column."""
    return loads(as_text(source, limit=limit))


def as_text(source: bytes | bytearray | str, *, limit: int) -> str:
    """UTF-8 as text, at most ``limit`` bytes of it."""
    _check_length(len(source), limit)
    if isinstance(source, str):
        return source
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(f"byte {error.start} is not UTF-8") from None


def loads(text: str, *, line: int = 0) -> Any:
    """One JSON value; ``line`` is the number of lines before it, for the message."""
    import json

    try:
        return json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _broken(f"line {line + error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _too_deep("") from None
    except InvalidInput:
        raise
    except ValueError:
        # int() takes 4300 digits at most
        raise _broken("a number has too many digits") from None


def plain(value: Any, field: str = "", depth: int = 0) -> Any:
    """A copy in dicts, lists and scalars alone, each of them checked. Raises InvalidInput with the path."""
    if isinstance(value, str):
        if bad := _beyond_xml(value):
            raise Wrong(field, value, _CHARACTERS, f" (U+{ord(bad):04X} is in it)")
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise Wrong(field, value, "an integer of 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Wrong(field, value, "a finite number")
        return float(value)
    if depth == _DEEPEST:
        raise _too_deep(field)
    if isinstance(value, Mapping):
        return {
            _key(key, field): plain(item, f"{field}.{printable(key)}".lstrip("."), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise Wrong(field, value, "a value that JSON has (object, list, text, number, true, false, null)")


def _beyond_xml(text: str) -> str | None:
    """The first character that XML 1.0 cannot carry (its production 2, Char)."""
    if text.isprintable():
        return None
    found = re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return found[0] if found else None


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise InvalidInput(
            f"{INPUT} is {length} bytes long; it must be at most {limit} bytes",
            field="",
            value=length,
            allowed=f"at most {limit} bytes",
        )


def _key(key: Any, field: str) -> str:
    if not isinstance(key, str):
        raise Wrong(field, key, "an object whose keys are text")
    if len(key) > _LONGEST_KEY or _beyond_xml(key):
        raise Wrong(
            field, key, f"an object with keys of at most {_LONGEST_KEY} characters, each {_CHARACTERS}"
        )
    return str(key)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, value in pairs:
            if key in seen:
                raise InvalidInput(
                    f"{shown(key)} is twice in one object; it must be given once",
                    field=portable(key),
                    value=portable(value),
                    allowed="given once",
                )
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise _broken(f"{name} is no JSON number")


def _broken(reason: str) -> InvalidInput:
    return InvalidInput(f"{INPUT} is not JSON: {reason}", field="", allowed="JSON in UTF-8")


def _too_deep(field: str) -> InvalidInput:
    return InvalidInput(
        f"{field or INPUT} is nested too deeply; it must be at most {_DEEPEST} levels deep",
        field=field,
        allowed=f"at most {_DEEPEST} levels",
    )
