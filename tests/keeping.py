"""A keeper at work on a world, and what it says."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vifplug.config import Daemon
from vifplug.daemon.events import Event, Events
from vifplug.daemon.keeper import Keeper
from vifplug.host import Host
from world import World

#: seconds that anything may take on a busy machine
PATIENCE = 20.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Kept:
    """A keeper with its host, and the events as they come."""

    def __init__(self, host: Host, keeper: Keeper, events: Events) -> None:
        self.host = host
        self.keeper = keeper
        self.events = events
        self._heard = events.subscribe()
        #: all that was said so far
        self.said: list[Event] = []

    def hear(self, *kinds: str, vif_id: str | None = None) -> Event:
        """Wait for the next event of one of these kinds, of that VIF or of any."""
        until = time.monotonic() + PATIENCE
        while (event := self._heard.next(until - time.monotonic())) is not None:
            self.said.append(event)
            if event.kind in kinds and vif_id in (None, event.vif_id):
                return event
        raise AssertionError(f"no {' or '.join(kinds)} but {self.said}")

    def round(self) -> None:
        """Let it do once, from beginning to end, what it does every so often."""
        for _ in range(2):  # the first may be a round under way, near its end
            ip("tuntap", "add", "orphan0", "mode", "tap")
            owner = f"vifplug:{self.host._ledger.id}:00000000-0000-4000-8000-000000000000"
            ip("link", "set", "orphan0", "alias", owner)
            self.keeper.poke()
            self.said.remove(self.hear("orphan-removed"))  # the last thing of a round

    def kinds(self) -> list[str]:
        """What was said until now."""
        while (event := self._heard.next(0)) is not None:
            self.said.append(event)
        return [event.kind for event in self.said]


@contextmanager
def kept(
    world: World, settings: Daemon | None = None, *, boot_id: str | None = None, **keywords: Any
) -> Iterator[Kept]:
    """A keeper that has been started. Its chores are done at its start, and after that only when poked."""
    events = Events()
    with world.host(boot_id=boot_id) as host:
        keeper = Keeper(host, events, settings or Daemon(interval=86400), **keywords)
        together = Kept(host, keeper, events)
        keeper.start()
        try:
            yield together
        finally:
            assert keeper.stop(PATIENCE)
            assert not keeper.alive
            events.close()
