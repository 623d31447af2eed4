"""Read the configuration file, and say for each mistake in it where it is and what is allowed."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..errors import ConfigError
from . import Config, ScriptSettings
from .check import Problem, dotted, is_section, problems_in
from .owners import owners_outside

DEFAULT_PATH = "/etc/vifplug/vifplug.toml"
_MAX_BYTES = 1 << 20
_Lines = dict[tuple[str, ...], int]


class Loaded(NamedTuple):
    """The configuration in force and where it comes from."""

    config: Config
    #: the file that was read; None when there is none and the defaults hold
    path: str | None
    #: for each key ("trust.allow"): "default", "FILE:LINE", or the environment variable's name
    origins: dict[str, str]


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read *path*, else what ``VIFPLUG_CONFIG`` names, else the default file if it exists.

    ``VIFPLUG_STATE_DIR`` in *environ* (default: this process's) goes before the file. Raises
    `ConfigError` that lists every mistake with its line; ``context["problems"]`` has them apart.
    """
    environ = os.environ if environ is None else environ
    found = path if path is not None else environ.get("VIFPLUG_CONFIG") or None
    if found is None and os.path.lexists(DEFAULT_PATH):
        found = DEFAULT_PATH
    document: dict[str, Any] = {}
    lines: _Lines = {}
    if found is not None:
        text = _read(found)
        document = _parse(found, text)
        lines = _lines(text)
        _refuse(found, lines, problems_in(document))
    origins = {dotted(key): f"{found}:{lines[key]}" if key in lines else "default" for key in _keys(document)}
    if state_dir := environ.get("VIFPLUG_STATE_DIR"):
        document["state_dir"] = state_dir
        _refuse("VIFPLUG_STATE_DIR", {}, problems_in({"state_dir": state_dir}))
        origins["state_dir"] = "VIFPLUG_STATE_DIR"
    return Loaded(msgspec.convert(document, Config), found, origins)


def _refuse(source: str, lines: _Lines, problems: list[Problem]) -> None:
    if not problems:
        return
    told = []
    for problem in problems:
        line = next(
            (lines[problem.path[:n]] for n in range(len(problem.path), 0, -1) if problem.path[:n] in lines),
            None,
        )
        where = source if line is None else f"{source}:{line}"
        told.append({"line": line, "key": dotted(problem.path), "message": f"{where}: {problem.message}"})
    told.sort(key=lambda entry: entry["line"] or 0)
    raise ConfigError("\n".join(str(entry["message"]) for entry in told), file=source, problems=told)


# --- the file ----------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        # no waiting for the writer of a pipe: what is not a regular file is refused below
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"the configuration {path!r} cannot be read: {error.strerror}", file=path) from None
    except ValueError:
        raise ConfigError(
            f"the configuration {path!r} cannot be read: a NUL in its name", file=path
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"the configuration {path} is not a regular file", file=path)
        if os.geteuid() == 0:
            _check_owners(path, status)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"the configuration {path} is larger than {_MAX_BYTES} bytes", file=path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text", file=path, line=line) from None


def _check_owners(path: str, opened: os.stat_result) -> None:
    """Refuse a file that another user could have written: it grants capabilities to scripts."""
    trusted = {0} | owners_outside()
    where = Path(path).absolute()
    places = [(where, opened)]
    for directory in {*where.parents, *where.resolve().parents}:
        places.append((directory, directory.stat()))
    for place, status in places:
        mode = status.st_mode
        shared = stat.S_ISDIR(mode) and mode & stat.S_ISVTX  # as /tmp: nobody can replace root's entries
        if status.st_uid not in trusted:
            wrong = f"belongs to user {status.st_uid}, not to root"
            remedy = f"chown root {place}"
        elif mode & 0o022 and not shared:
            wrong = f"can be written by others than root (mode {stat.S_IMODE(mode):04o})"
            remedy = f"chmod go-w {place}"
        else:
            continue
        raise ConfigError(
            f"the configuration {path} is not trusted: {place} {wrong}; put it right with: {remedy}",
            file=path,
        )


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", reason)
        if place is None:
            raise ConfigError(f"{path}: not valid TOML: {reason}", file=path) from None
        line = int(place[1] or text.rstrip("\n").count("\n") + 1)
        column = f" (column {place[2]})" if place[2] else ", at the end of the file"
        message = f"{path}:{line}: not valid TOML: {reason[: place.start()]}{column}"
        raise ConfigError(message, file=path, line=line) from None


def _lines(text: str) -> _Lines:
    """The line of each key of a valid document.

    tomllib tells no positions, so it is fed one statement at a time: lines are gathered until they
    parse by themselves.
    """
    found: _Lines = {}
    table: tuple[str, ...] = ()
    begin, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_header = statement.lstrip().startswith("[")
        for path in _paths(parsed):
            whole = path if is_header else table + path
            table = whole if is_header else table
            for length in range(1, len(whole) + 1):
                found.setdefault(whole[:length], begin)
        begin, statement = number + 1, ""
    return found


def _paths(parsed: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in parsed.items():
        if isinstance(value, dict) and value:
            for rest in _paths(value):
                yield key, *rest
        else:
            yield (key,)


def _keys(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Every key that holds a value, by its parts; of scripts, those that the file names."""
    for entry in msgspec.structs.fields(Config):
        if is_section(entry.type):
            for key in entry.type.__struct_fields__:
                yield entry.name, key
        elif entry.name == "script":
            for script in document.get("script", {}):
                for key in ScriptSettings.__struct_fields__:
                    yield "script", script, key
        else:
            yield (entry.name,)
