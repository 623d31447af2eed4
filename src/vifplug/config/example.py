"""The configuration as text: a commented example, written from the definitions themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec

from . import Config, ScriptSettings
from .check import dotted, is_section

_SCRIPT_EXAMPLE: dict[str, Any] = {
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "capabilities": ["CAP_SYS_ADMIN"],
    "environment": {"OVS_RUNDIR": "/run/openvswitch"},
    "deadlines": {"plug": 60.0},
    "locks": ["iptables", "bridge-{bridge}"],
    "info": True,
    "at_once": 256,
    "details": {"bridge": "br-int"},
}


def example() -> str:
    """A TOML document in which every key stands at its default, as a comment, with what it is."""
    return "\n".join(_lines())


def toml(value: Any) -> str:
    """One value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{dotted((key,))} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _lines() -> Iterator[str]:
    yield "# The configuration of vifplug. Every key is shown with its default; remove the # to change one."
    yield ""
    default = Config()
    fields = msgspec.structs.fields(Config)
    for field in fields:
        if get_origin(field.type) is Annotated:
            yield from _key(field, getattr(default, field.name))
    for field in fields:
        if is_section(field.type):
            yield f"# {field.type.__doc__}"
            yield f"[{field.name}]"
            section = getattr(default, field.name)
            for entry in msgspec.structs.fields(field.type):
                yield from _key(entry, getattr(section, entry.name))
    yield f"# {ScriptSettings.__doc__}"
    yield '#[script."neutron-example-vif-plug"]'
    for entry in msgspec.structs.fields(ScriptSettings):
        yield from _key(entry, _SCRIPT_EXAMPLE[entry.name])


def _key(field: msgspec.structs.FieldInfo, value: Any) -> Iterator[str]:
    description = next(meta.description for meta in reversed(get_args(field.type)[1:]) if meta.description)
    yield f"# {description}"
    # TOML knows no null; the keys that are not set by default name a user and a group
    yield f"#{field.name} = {toml('root' if value is None else value)}"
    yield ""
