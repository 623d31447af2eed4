"""``vifplug unplug``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id, seconds_option
from ._many import carry_out
from ._output import complain, duration, emit, say
from ._session import Session


@verb("unplug", example="vifplug unplug 4c1b1b0a")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete_id)
@click.option("--all", "everything", is_flag=True, help="Unplug every VIF on record.")
@click.option("--generation", type=click.IntRange(1), help="Only if this plug of it is the present one.")
@seconds_option("Deadline of the plug script.")
@pass_session
def command(
    session: Session, ids: tuple[str, ...], everything: bool, generation: int | None, seconds: float | None
) -> None:
    """Disconnect VIFs.

    Each by the request that it was plugged with. An ID may be shortened, or be a device's name. A VIF
    that is not plugged is no error.
    """
    context = click.get_current_context()
    if bool(ids) == everything:
        raise click.UsageError("name one ID or more, or --all", context)
    if (everything or len(ids) > 1) and (generation is not None or seconds is not None):
        raise click.UsageError("--generation and --seconds go with one ID", context)
    named = [find_id(session, text) for text in ids]
    host = session.host
    found = [record.id for record in host.list()] if everything else named
    found = list(dict.fromkeys(found))
    if everything or len(ids) > 1:
        carry_out(session, found, lambda on_done: host.unplug_all(found, on_done=on_done), done="unplugged")
        return
    unplugged = host.unplug(found[0], generation=generation, seconds=seconds)
    if session.json:
        emit(unplugged)
        return
    for note in unplugged.notes:
        complain(note)
    if unplugged.changed:
        say(f"{unplugged.id} unplugged in {duration(unplugged.seconds)}")
    elif generation is not None:
        say(f"{unplugged.id} has no plug of generation {generation}; nothing to do")
    else:
        say(f"{unplugged.id} is not plugged; nothing to do")
