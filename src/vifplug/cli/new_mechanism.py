"""``vifplug new-mechanism``."""

from __future__ import annotations

from pathlib import Path

import click

from ._frame import pass_session, verb
from ._output import emit, say
from ._session import Session


@verb("new-mechanism", example="vifplug new-mechanism blue-fabric")
@click.argument("name")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where to make it, in place of ./NAME. It must not be there yet.",
)
@click.option("--shell", is_flag=True, help="Write the plug script in POSIX sh, in place of Python.")
@pass_session
def command(session: Session, *, name: str, directory: Path | None, shell: bool) -> None:
    """Make a package for a network mechanism of your own.

    A plug script and a Neutron mechanism driver that work, their tests, a Debian package, a wheel and a
    README: all pass as made, and install the script where vifplug trusts it.
    """
    from ..scaffold import new_mechanism

    place = directory or Path(name)
    files = new_mechanism(name, place, shell=shell)
    if session.json:
        emit({"name": name, "directory": str(place), "files": [str(file) for file in files]})
        return
    say(f"made {place}:")
    for file in files:
        say(f"  {file.relative_to(place)}")
    say(f"\nnext: cd {place} && sudo python3 -m pytest")
