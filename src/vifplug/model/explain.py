"""msgspec's refusals in vifplug's words: which field, which value, what is allowed instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import ValidationError, inspect

from vifplug.errors import InvalidInput
from vifplug.model.checks import Wrong, moved, nearest, one_of, portable, printable, renamed

_MISSING = object()


def convert(value: Any, expected: Any, field: str = "") -> Any:
    """``value`` as the type ``expected``. Raises InvalidInput; its field begins with ``field``."""
    try:
        return msgspec.convert(value, expected)
    except ValidationError as error:
        raise moved(explain(error, value, expected), field) from None


def explain(
    error: ValidationError,
    source: Any,
    expected: Any,
    written: Callable[[str], str] = lambda field: field,
) -> InvalidInput:
    """The error to raise for ``error``, which ``expected`` (a type) met while reading ``source``.

    ``written`` turns a field's dotted path into the one that the user wrote.
    """
    reason, path = _split(str(error))
    value, type_ = source, _reveal(inspect.type_info(expected), source)
    for step in path:
        type_ = _descend(type_, step)
        value = _get(value, step)
        type_ = _reveal(type_, value)
    field = _dotted(path)

    if isinstance(error.__cause__, Wrong):
        inside = error.__cause__.context["field"]
        return renamed(error.__cause__, written(f"{field}.{inside}".lstrip(".")))
    if unknown := re.search(r"unknown field `(.*)`", reason, re.DOTALL):
        return _unknown_key(unknown[1], written(f"{field}.{unknown[1]}".lstrip(".")), type_)
    if missing := re.search(r"missing required field `(.*)`", reason, re.DOTALL):
        allowed = describe(_descend(type_, missing[1]))
        place = written(f"{field}.{missing[1]}".lstrip("."))
        return InvalidInput(
            f"{place} is missing; it must be {allowed}", field=place, value=None, allowed=allowed
        )
    if value is _MISSING:
        return InvalidInput(f"{written(field)}: {reason}", field=written(field), allowed=reason)
    words = _words(type_)
    hint = nearest(value, words) if isinstance(value, str) else ""
    return Wrong(written(field), value, describe(type_), hint)


def describe(type_: inspect.Type) -> str:
    """What a type allows, as the end of the sentence "it must be …"."""
    if isinstance(type_, inspect.Metadata):
        text = (type_.extra_json_schema or {}).get("description")
        return str(text) if text else describe(type_.type)
    match type_:
        case inspect.UnionType():
            return _describe_union(type_)
        case inspect.IntType(ge=low, le=high) if low is not None and high is not None:
            return f"an integer, {low} to {high}"
        case inspect.LiteralType() | inspect.EnumType():
            words = _words(type_)
            return one_of(words) if words else "one of " + ", ".join(str(v) for v in _values(type_))
        case inspect.StructType():
            return f"an object with the keys {', '.join(_keys(type_))}"
    plain: dict[type[inspect.Type], str] = {
        inspect.IntType: "an integer",
        inspect.FloatType: "a number",
        inspect.BoolType: "true or false",
        inspect.StrType: "text",
        inspect.DictType: "an object",
        inspect.ListType: "a list",
        inspect.NoneType: "null",
    }
    return plain.get(type(type_), "another value")


def _describe_union(type_: inspect.UnionType) -> str:
    members = [t for t in type_.types if not isinstance(t, inspect.NoneType)]
    tags = [str(t.tag) for t in members if isinstance(t, inspect.StructType) and t.tag is not None]
    if len(tags) > 1:
        return f'an object whose "type" is {one_of(tags)}'
    return " or ".join(describe(t) for t in members)


def _unknown_key(key: str, place: str, type_: inspect.Type) -> InvalidInput:
    struct = _bare(type_)
    keys = _keys(struct) if isinstance(struct, inspect.StructType) else []
    allowed = f"one of the keys {', '.join(keys)}" if keys else "left out"
    return InvalidInput(
        f"{printable(place)}: there is no such key{nearest(key, keys)}; it must be {allowed}",
        field=printable(place),
        value=portable(key),
        allowed=allowed,
    )


def _split(text: str) -> tuple[str, list[str | int]]:
    """msgspec's message and the path at its end: ``Expected `int` - at `$.vlan.tags[0]```."""
    reason, at, path = text.rpartition(" - at `$")
    if not at:
        return text, []
    steps = re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path.rstrip("`"))
    return reason, [int(index) if index else name for name, index in steps]


def _dotted(path: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _get(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return _MISSING


def _bare(type_: inspect.Type) -> inspect.Type:
    return _bare(type_.type) if isinstance(type_, inspect.Metadata) else type_


def _reveal(type_: inspect.Type, value: Any) -> inspect.Type:
    """Of a union of structs, the one that the value's tag names; of ``X | None``, X."""
    union = _bare(type_)
    if not isinstance(union, inspect.UnionType):
        return type_
    members = [t for t in union.types if not isinstance(t, inspect.NoneType)]
    if isinstance(value, dict):
        for member in members:
            struct = _bare(member)
            if isinstance(struct, inspect.StructType) and value.get(struct.tag_field) == struct.tag:
                return member
    return members[0] if len(members) == 1 else type_


def _descend(type_: inspect.Type, step: str | int) -> inspect.Type:
    bare = _bare(type_)
    if isinstance(bare, inspect.ListType):
        return bare.item_type
    if isinstance(bare, inspect.StructType):
        for known in bare.fields:
            if known.encode_name == step:
                return known.type
        if step == bare.tag_field:
            return inspect.LiteralType((bare.tag,))
    if isinstance(bare, inspect.UnionType):
        tagged = [t for t in bare.types if isinstance(t, inspect.StructType) and t.tag_field == step]
        if tagged:
            return inspect.LiteralType(tuple(str(t.tag) for t in tagged))
    return inspect.AnyType()


def _keys(type_: inspect.StructType) -> list[str]:
    tag = [type_.tag_field] if type_.tag_field else []
    return tag + [known.encode_name for known in type_.fields]


def _values(type_: inspect.Type) -> tuple[Any, ...]:
    match _bare(type_):
        case inspect.LiteralType(values=values):
            return tuple(values)
        case inspect.EnumType(cls=cls):
            return tuple(member.value for member in cls)
    return ()


def _words(type_: inspect.Type) -> list[str]:
    """The values of an enumeration of strings."""
    return [value for value in _values(type_) if isinstance(value, str)]
