"""``vifplug config``."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ._frame import pass_session, verb
from ._output import emit, say, table
from ._session import Session


@verb("config", example="vifplug config --example > /etc/vifplug/vifplug.toml")
@click.option("--example", is_flag=True, help="Print a commented file with every key and its default.")
@pass_session
def command(session: Session, example: bool) -> None:
    """Show the configuration, and where it comes from."""
    from ..config import example as text

    if example:
        say(text.example().rstrip("\n"))
        return
    config, path, origins = session.loaded
    values = dict(_flat(msgspec.to_builtins(config)))
    if session.json:
        entries = [{"key": key, "value": values[key], "origin": origin} for key, origin in origins.items()]
        emit({"file": path, "keys": entries})
        return
    rows = [(key, None if values[key] is None else text.toml(values[key]), origins[key]) for key in origins]
    table(("KEY", "VALUE", "FROM"), rows)


def _flat(config: dict[str, Any]) -> list[tuple[str, Any]]:
    """Each value by its dotted key; what hangs below a script's settings is one value."""
    from ..config.check import dotted

    flat: list[tuple[str, Any]] = []
    for name, value in config.items():
        if not isinstance(value, dict):
            flat.append((name, value))
            continue
        for key, item in value.items():
            if name == "script":
                flat += [(dotted((name, key, setting)), each) for setting, each in item.items()]
            else:
                flat.append((dotted((name, key)), item))
    return flat
