"""What is wrong with a configuration document: every mistake, with what is allowed instead."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from . import Config, Deadlines, ScriptSettings

Path = tuple[str, ...]


class Problem(NamedTuple):
    """One mistake: the key's parts, and a sentence."""

    path: Path
    message: str


def problems_in(document: dict[str, Any]) -> list[Problem]:
    """Every mistake in a parsed document; empty when `Config` can be built from it."""
    return list(_section(Config, document, ())) or list(_meaning(msgspec.convert(document, Config)))


def dotted(path: Path) -> str:
    """The key as TOML writes it: ``script."x.sh".sha256``."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in path)


def is_section(hint: Any) -> bool:
    """Whether a field is a table with keys of its own."""
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


# --- keys and types ------------------------------------------------------------------------------


def _section(struct: type[msgspec.Struct], table: Any, path: Path) -> Iterator[Problem]:
    if not isinstance(table, dict):
        yield _wrong(path, table, f"a table: [{dotted(path)}]")
        return
    known = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in table.items():
        here = (*path, key)
        if key not in known:
            yield Problem(here, _unknown_key(here, value, list(known)))
        elif is_section(known[key]):
            yield from _section(known[key], value, here)
        elif here == ("script",) and isinstance(value, dict):
            for name, settings in value.items():
                yield from _section(ScriptSettings, settings, (*here, name))
        else:
            yield from _value(known[key], value, here)


def _unknown_key(path: Path, value: Any, known: list[str]) -> str:
    from difflib import get_close_matches

    message = f"unknown key {dotted(path)}"
    if near := get_close_matches(path[-1], known, 1):
        message += f"; did you mean {near[0]}?"
    elif path[0] == "script" and isinstance(value, dict):
        message += f'; a script\'s name with a dot needs quotes: [script."{".".join(path[1:])}"]'
    return f"{message} (known here: {', '.join(known)})"


def _value(hint: Any, value: Any, path: Path) -> Iterator[Problem]:
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(bare) is list and isinstance(value, list):
        for item in value:
            yield from _value(get_args(bare)[0], item, path)
    elif get_origin(bare) is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _value(get_args(bare)[1], item, (*path, key))
    else:
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError:
            yield _wrong(path, value, allowed(hint))


def _wrong(path: Path, value: Any, must_be: str) -> Problem:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return Problem(path, f"{dotted(path)} = {shown}: must be {must_be}")


def allowed(hint: Any) -> str:
    """What a value of this type may be, for people."""
    if get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
        for meta in metas:
            if meta.extra:
                return str(meta.extra["allowed"])
    if get_origin(hint) is list:
        return f"a list, each entry {allowed(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"a table, each value {allowed(get_args(hint)[1])}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(allowed(choice) for choice in get_args(hint) if choice is not type(None))
    words = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
    return words.get(hint, "a table")


# --- meaning -------------------------------------------------------------------------------------


def _meaning(config: Config) -> Iterator[Problem]:
    """What no type can say: names that this host must know."""
    import grp
    import pwd

    for key, value, find in (
        ("owner", config.device.owner, pwd.getpwnam),
        ("group", config.device.group, grp.getgrnam),
    ):
        if value is not None and not _resolves(value, find):
            word = "user" if key == "owner" else key
            yield _wrong(("device", key), value, f"the name of a {word} on this host, or a number")
    for name, settings in config.script.items():
        yield from _script(("script", name), name, settings)


def _resolves(name: str, find: Callable[[str], object]) -> bool:
    if re.fullmatch(r"[0-9]{1,10}", name):
        return int(name) < 2**32 - 1
    try:
        find(name)
    except (KeyError, ValueError):
        return False
    return True


def _script(path: Path, script: str, settings: ScriptSettings) -> Iterator[Problem]:
    if not re.fullmatch(r"/[^\x00-\x1f\x7f]+|[^/\x00-\x1f\x7f]+", script):
        yield Problem(path, f"{dotted(path)}: a script is named by a bare name or an absolute path")
    from difflib import get_close_matches

    from ..script.capabilities import NAMES

    verbs = [verb for verb in Deadlines.__struct_fields__ if verb != "grace"]
    for verb in settings.deadlines:
        if verb not in verbs:
            yield Problem(
                (*path, "deadlines", verb),
                f"{dotted((*path, 'deadlines'))}: {json.dumps(verb)} is no verb (verbs: {', '.join(verbs)})",
            )
    for name in settings.capabilities:
        if name not in NAMES:
            near = get_close_matches(f"CAP_{name.upper().removeprefix('CAP_')}", NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else "capabilities(7) lists them"
            yield Problem(
                (*path, "capabilities"),
                f"{dotted(path)}.capabilities: {json.dumps(name)} is no capability; {hint}",
            )
    for variable in settings.environment:
        here = (*path, "environment", variable)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            yield Problem(here, f"{dotted(here)}: not a name that a variable can have (letters, digits, _)")
        elif re.match(r"VIF_|VIFPLUG_|TRACEPARENT\Z", variable):
            yield Problem(
                here, f"{dotted(here)}: vifplug itself sets the variables VIF_*, VIFPLUG_* and TRACEPARENT"
            )
        elif "\0" in settings.environment[variable]:
            yield Problem(here, f"{dotted(here)}: a variable cannot hold a NUL")
