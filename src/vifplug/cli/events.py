"""``vifplug events``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ._daemon import client as client_of
from ._daemon import say_json
from ._events import clock, colour, text
from ._frame import Stopped, pass_session, verb
from ._output import say, visible
from ._session import Session

if TYPE_CHECKING:
    from ..client import Client
    from ..client.answers import Event

#: events shown before those to come
_BEFORE = 10
_WIDTH = len("ledger-backup-failed")


@verb("events", example="vifplug events -f")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what happens from now on, also when vifplugd restarts."
)
@click.option(
    "--after", type=click.IntRange(min=0), metavar="N", help="Begin after the event with this number."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="Only such events, say plugged; may be given again.",
)
@click.option(
    "--vif", default="", metavar="ID", help="Only the events of this VIF; the beginning of its id will do."
)
@pass_session
def command(session: Session, follow: bool, after: int | None, kinds: tuple[str, ...], vif: str) -> None:
    """Show what happened on this host, as vifplugd tells it.

    All that it remembers, which is the last few thousand events since its start; with -f the last ten
    and what comes. With --json each event is one JSON object on a line of its own.
    """
    with client_of(session, timeout=None if follow else 30.0) as client:
        try:
            for event in _all(client, follow, after):
                if (kinds and event.kind not in kinds) or not (event.vif_id or "").startswith(vif.lower()):
                    continue
                _show(session, event)
        except Stopped as stopped:  # the way to end it
            session.exit_status = 128 + stopped.number


def _all(client: Client, follow: bool, after: int | None) -> Iterator[Event]:
    """The events asked for; without ``follow`` up to the last one that there is now."""
    last = int(client.status().events)
    if after is None:
        after = max(last - _BEFORE, 0) if follow else 0
    if follow:
        yield from client.events(after)
    elif after < last:
        for event in client.events(after):
            yield event
            if event.number >= last:
                return


def _show(session: Session, event: Event) -> None:
    if session.json:
        say_json(event)
        return
    kind = click.style(f"{event.kind:<{_WIDTH}}", fg=colour(event.kind, event.data))
    vif = event.vif_id[:8] if event.vif_id else ""
    say(f"{clock(event.time)}  {kind}  {vif:<8}  {visible(text(event.kind, event.data))}".rstrip())
