"""``vifplug top``."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import click

from ._daemon import client as client_of
from ._daemon import say_json
from ._frame import Stopped, pass_session, verb
from ._output import say
from ._session import Session

if TYPE_CHECKING:
    from ..client import Client
    from ..client.answers import Answer, Event

#: events kept for the picture, and shown where nothing limits them
_KEPT, _SHOWN = 200, 10


@verb("top", example="vifplug top")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds from one picture to the next.",
)
@click.option("--once", is_flag=True, help="One picture, as where there is no terminal.")
@pass_session
def command(session: Session, interval: float, once: bool) -> None:
    """Watch this host at work: what runs, how fast scripts are, what happens.

    q or Ctrl-C ends it. With --json what vifplugd knows of itself, once.
    """
    from ._screen import Screen

    with client_of(session, timeout=30.0) as client:
        if session.json:
            say_json(client.status(), indent=2)
        elif once or not Screen.possible():
            _once(client)
        else:
            try:
                _live(client, session, interval)
            except Stopped as stopped:
                session.exit_status = 0 if stopped.number == 2 else 128 + stopped.number


def _once(client: Client) -> None:
    from ._picture import painted, picture

    status = client.status()
    events: list[Event] = []
    if status.events:
        for event in client.events(max(status.events - _SHOWN, 0)):
            events.append(event)
            if event.number >= status.events:
                break
    width = int(os.environ.get("COLUMNS") or 0) or 80
    for line in picture(status, None, events, width=width):
        say(painted(line, width, colours=True).rstrip())


def _live(client: Client, session: Session, interval: float) -> None:
    from ..errors import DaemonError
    from ._picture import painted, picture
    from ._screen import Screen

    status: Answer = client.status()
    before: Answer | None = None
    notice: str | None = None
    colours = not os.environ.get("NO_COLOR")
    with _Events(session, max(status.events - _KEPT, 0)) as events, Screen() as screen:
        due = time.monotonic() + interval
        while True:
            width, height = screen.size
            lines = picture(status, before, list(events.last), width=width, height=height, notice=notice)
            screen.draw([painted(line, width, colours) for line in lines])
            key = screen.wait(due - time.monotonic())
            if key in ("q", "Q", "\x03", "\x04"):
                return
            if time.monotonic() < due:
                continue
            due = max(due + interval, time.monotonic())
            try:
                before, status, notice = status, client.status(), None
            except DaemonError as error:  # it may be back in a moment
                notice = error.message


class _Events:
    """The latest events, followed by a thread of their own."""

    def __init__(self, session: Session, after: int) -> None:
        self.last: deque[Event] = deque(maxlen=_KEPT)
        self._client = client_of(session, timeout=None)
        self._after = after
        self._thread = threading.Thread(target=self._follow, name="vifplug-events", daemon=True)

    def __enter__(self) -> _Events:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._thread.join(1.0)

    def _follow(self) -> None:
        from ..errors import VifplugError

        try:
            for event in self._client.events(self._after):
                self.last.append(event)
        except VifplugError:  # the picture says what is wrong with the daemon
            return
