"""Details that a schema allows or forbids, derived from the schema itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NOT_OF_TYPE: dict[str, Any] = {
    "integer": "twelve", "number": "twelve", "boolean": "perhaps", "array": "no list", "object": "no object",
}  # fmt: skip
_NO_MATCH = ("", "?", "\u2260 what is wanted", "0", "x" * 300)


def wrong(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values that this schema of one detail forbids, and that a script can tell from good ones.

    In the environment all is text, so a number in the place of a text is not among them.
    """
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _NOT_OF_TYPE:
        yield _NOT_OF_TYPE[kind]
    if kind == "integer" and "enum" not in schema:
        yield 1.5
    if "minimum" in schema:
        yield int(schema["minimum"]) - 1
    if "maximum" in schema:
        yield int(schema["maximum"]) + 1
    if kind == "string" and "enum" in schema:
        yield "none-of-these"
    if kind == "string" and isinstance(schema.get("pattern"), str):
        yield from (text for text in _NO_MATCH if text and not re.search(schema["pattern"], text))


def another(schema: Mapping[str, Any], present: Any) -> Any:
    """A value that the schema allows and that is not ``present``; None if that cannot be told."""
    kind = schema.get("type")
    if isinstance(schema.get("enum"), list):
        return next((value for value in schema["enum"] if value != present), None)
    if kind == "boolean":
        return present is not True
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 1), schema.get("maximum", 2**31 - 1)
        return next(
            (value for value in (low, low + 1, high) if value != present and low <= value <= high), None
        )
    return None


def properties(schema: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """The details that a schema describes."""
    found = (schema or {}).get("properties")
    return (
        {name: each for name, each in found.items() if isinstance(each, Mapping)}
        if isinstance(found, Mapping)
        else {}
    )


def required(schema: Mapping[str, Any] | None) -> list[str]:
    """The details that a schema asks for."""
    found = (schema or {}).get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
