"""``vifplug schema``."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InvalidInput
from ._frame import pass_session, verb
from ._output import emit, say
from ._session import Session

_FOLDER = Path(__file__).parent.parent / "schemas"


def _names() -> list[str]:
    return sorted(file.name.removesuffix(".json") for file in _FOLDER.glob("*.json"))


def _complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    return [name for name in _names() if name.startswith(incomplete)]


@verb("schema", example="vifplug schema binding")
@click.argument("name", required=False, shell_complete=_complete)
@pass_session
def command(session: Session, name: str | None) -> None:
    """Print a JSON Schema, or the names of all."""
    names = _names()
    if name is None:
        if session.json:
            emit(names)
        else:
            say("\n".join(names))
        return
    if name not in names:
        from difflib import get_close_matches

        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
        raise InvalidInput(f"there is no schema {name!r}; {hint}", field="name", value=name)
    say((_FOLDER / f"{name}.json").read_text().rstrip("\n"))
