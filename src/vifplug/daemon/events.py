"""What happened on this host, told to whoever listens: the last of it is kept for who comes late."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from ..model.learn import learn
from ..script import tracecontext

#: events kept for a subscriber that comes back
_KEPT = 4096


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    #: counts up, over restarts of the daemon too
    number: int
    #: seconds since 1970
    time: float
    #: "plugged", "unplugged", "call", "drift", … (docs/observing.md lists them)
    kind: str
    vif_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Events:
    """Publishing never waits for anybody: a subscriber too slow for the ring misses what left it, and is told.

    ``before``: the number before that of the first event. With the time as that, in microseconds since 1970, the
    numbers go on counting up over restarts of the daemon, and a JSON number still holds them.
    """

    def __init__(self, kept: int = _KEPT, *, before: int = 0) -> None:
        self._ring: deque[Event] = deque(maxlen=kept)
        self._before = self._number = before
        self._changed = threading.Condition()
        self._closed = False
        #: events that some reader was too slow for
        self.missed = 0
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with every event from now on, in the thread that publishes it."""
        self._listeners.append(listener)

    def publish(self, kind: str, vif_id: str | None = None, **data: Any) -> Event:
        """Tell everybody; ``data`` has the id of the trace that the publishing thread works in, if any."""
        if (work := tracecontext.current()) is not None:
            data.setdefault("trace", work.trace)
        with self._changed:
            self._number += 1
            event = Event(number=self._number, time=time.time(), kind=kind, vif_id=vif_id, data=data)
            self._ring.append(event)
            self._changed.notify_all()
        for listener in self._listeners:
            listener(event)
        return event

    def subscribe(self, after: int | None = None) -> Subscription:
        """From now on; with ``after``, from the event that followed that number, as far as it is kept.

        A number that we did not give out is of a daemon before this one: then from our first event.
        """
        with self._changed:
            if after is None:
                after = self._number
            ours = self._before <= after <= self._number
            return Subscription(self, after if ours else self._before)

    def close(self) -> None:
        """End every subscription."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, after: int, timeout: float) -> tuple[Event | None, int]:
        """The first event after this number, and how many before it are no longer kept."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > after, timeout)
            if self._number <= after:
                return None, 0
            first = self._ring[0].number
            event = self._ring[max(after + 1, first) - first]
            self.missed += event.number - after - 1
            return event, event.number - after - 1

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def number(self) -> int:
        """That of the last event, or the one before our first."""
        return self._number


class Subscription:
    """One reader's place in the stream; used by one thread."""

    def __init__(self, events: Events, after: int) -> None:
        self._events = events
        self._after = after
        #: events that were dropped before this reader came to them
        self.missed = 0

    @property
    def after(self) -> int:
        """The number of the event that it has come to."""
        return self._after

    def next(self, timeout: float) -> Event | None:
        """The next event; None when there was none for ``timeout`` seconds, or the stream is closed."""
        event, missed = self._events._wait(self._after, timeout)
        if event is not None:
            self._after = event.number
            self.missed += missed
        return event

    @property
    def closed(self) -> bool:
        """Whether nothing more comes: the stream is closed, and all of it was read."""
        return self._events.closed and self._after >= self._events.number


learn(Event)
