"""What the structs check beyond their types, and the one sentence that every wrong value gets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from vifplug.errors import InvalidInput

#: what a message calls the whole input, whose field is ""
INPUT = "the input"
#: characters of a value that a message shows
_SHOWN = 80


class Wrong(InvalidInput, ValueError):
    """One wrong value: ``field``, ``value`` and ``allowed`` make the sentence and the context.

    It is a ValueError too, so that msgspec tells where in the input the struct that raised it
    was.
    """

    def __init__(self, field: str, value: Any, allowed: str, hint: str = "") -> None:
        super().__init__(
            f"{field or INPUT}: {shown(value)} is not allowed; it must be {allowed}{hint}",
            field=field,
            value=portable(value),
            allowed=allowed,
        )


def moved(error: InvalidInput, place: str) -> InvalidInput:
    """The same error, of a value that stands deeper: its field now begins with ``place``."""
    field = error.context.get("field", "")
    whole = f"{place}.{field}".rstrip(".") if place else field
    return renamed(error, whole)


def renamed(error: InvalidInput, field: str) -> InvalidInput:
    """The same error, told of ``field``: the message of an InvalidInput begins with its field."""
    rest = error.message.removeprefix(error.context.get("field", "") or INPUT)
    error.message = (field or INPUT) + rest
    error.args = (error.message,)
    error.context["field"] = field
    return error


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, printable, about 80 characters at most."""
    quote = '"' if isinstance(value, str) else ""
    return quote + printable(value if isinstance(value, str) else _as_json(value)) + quote


def printable(text: str) -> str:
    """A text on one line, control characters escaped, about 80 characters at most."""
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def portable(value: Any) -> Any:
    """The value for a program to read: itself where JSON carries it and it is short."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return printable(value if isinstance(value, str) else _as_json(value))


def nearest(word: str, words: Iterable[str]) -> str:
    """`` (did you mean "…"?)`` where one of ``words`` is close, else nothing."""
    from difflib import get_close_matches

    close = get_close_matches(word[:_SHOWN].lower(), list(words), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def one_of(words: Iterable[str]) -> str:
    """``one of "a", "b"``."""
    return "one of " + ", ".join(f'"{word}"' for word in words)


def check_ip(field: str, value: str | None) -> None:
    """Raise Wrong unless ``value`` is an IPv4 or IPv6 address (without a scope) or None."""
    from socket import AF_INET, AF_INET6, inet_pton

    if value is None:
        return
    try:
        inet_pton(AF_INET6 if ":" in value else AF_INET, value)
    except (OSError, ValueError):
        raise Wrong(field, value, "an IPv4 or IPv6 address") from None


def check_network(field: str, value: str | None) -> None:
    """Raise Wrong unless ``value`` is an IPv4 or IPv6 network such as 192.0.2.0/24, or None."""
    import ipaddress

    if value is None:
        return
    try:
        ipaddress.ip_network(value)
    except ValueError:
        valid = False
    else:
        valid = "/" in value and "%" not in value
    if not valid:
        raise Wrong(field, value, "a network as address/prefix length, such as 192.0.2.0/24")


def _as_json(value: Any) -> str:
    import json

    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__
