"""The daemon's events, followed over broken connections and restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import DaemonUnreachable, Stopping, TooBusy
from .answers import Event
from .asking import Asking
from .transport import Connection

#: seconds without a word, of which there is one every 15, until a stream is taken for dead
_SILENCE = 45.0
#: seconds between attempts to follow again: the first, and at most
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Following:
    """Events from the moment it is made, or those after the one of a number; used by one thread.

    Ends when ``closing`` is set and its asking's pool is closed, and with ``close``.
    """

    def __init__(
        self,
        asking: Asking,
        made: Callable[[type[Event], Any], Event],
        closing: threading.Event,
        after: int | None,
    ) -> None:
        self._asking = asking
        self._made = made
        self._closing = closing
        self._after = after
        self._connection: Connection | None = None
        self._lines: Iterator[bytes] = iter(())
        #: events that were dropped before this reader came to them
        self.missed = 0
        self._subscribe()

    def __iter__(self) -> Following:
        return self

    def __next__(self) -> Event:
        while True:
            try:
                event = self._read()
            except DaemonUnreachable:
                event = None
            if event is not None:
                return event
            if self._connection is None or not self._subscribe_again():
                raise StopIteration

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._asking.pool.done(self._connection)
            self._connection = None

    def _read(self) -> Event | None:
        """The next event of this connection; None at its end."""
        data = number = b""
        for line in self._lines:
            if line.startswith(b"id:"):  # at the beginning alone: from where on we listen
                number = line[3:]
            elif line.startswith(b"data:"):
                data += line[5:].strip()
            elif not line.rstrip(b"\r") and number:
                self._after, number = int(number), b""
                if not data:
                    continue
                return self._made(Event, self._asking.object(data))
            elif line.startswith(b":") and b"missed" in line:
                self.missed += int(line.split()[1])
        return None

    def _subscribe(self) -> None:
        self.close()
        since = "" if self._after is None else f"Last-Event-ID: {self._after}\r\n"
        request = self._asking.request("GET", "/v1/events", None, f"Accept: text/event-stream\r\n{since}")
        self._connection = self._asking.pool.take(fresh=True)
        try:
            self._asking.pool.streams(self._connection)
            response = self._connection.ask(request, _SILENCE)
            self._asking.check(response)
        except BaseException:
            self.close()
            raise
        self._lines = response.lines()

    def _subscribe_again(self) -> bool:
        """False when the client was closed meanwhile."""
        timeout = self._asking.timeout
        until = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while not self._closing.wait(pause):
            try:
                self._subscribe()
            except (DaemonUnreachable, Stopping, TooBusy):
                if until is not None and time.monotonic() > until:
                    raise
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return True
        self.close()
        return False
