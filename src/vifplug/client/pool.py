"""The connections of one client, kept open between its requests."""

from __future__ import annotations

import os
import threading

from .transport import Connection

#: connections kept open while nobody uses them
_KEPT = 16
#: seconds to wait for a connection at most: vifplugd takes one as it comes, or says that it has too many
_CONNECT = 30.0


class Pool:
    """Connections to one socket, kept open between requests; safe to use from many threads."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self.path = path
        self._timeout = _CONNECT if timeout is None else min(timeout, _CONNECT)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._streams: set[Connection] = set()
        self._process = os.getpid()
        self.closed = False

    def take(self, *, fresh: bool = False) -> Connection:
        """One that was used before and still stands, else a new one."""
        self._check_process()
        while not fresh:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if not connection.gone():
                return connection
            connection.close()
        return Connection(self.path, self._timeout)

    def open(self) -> None:
        """Have one at hand. Raises what says why there can be none."""
        self.give_back(self.take())

    def give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self.closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def streams(self, connection: Connection) -> None:
        """It carries a stream without end until `done`: closing the pool ends it."""
        with self._lock:
            self._streams.add(connection)

    def done(self, connection: Connection) -> None:
        with self._lock:
            self._streams.discard(connection)
        connection.close()

    def close(self) -> None:
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
            for connection in self._streams:
                connection.abort()
        for connection in idle:
            connection.close()

    def _check_process(self) -> None:
        """After a fork the parent's connections stay the parent's: two must not ask over one."""
        if self._process != os.getpid():
            for connection in self._idle:
                connection.close()
            self._lock, self._idle, self._streams = threading.Lock(), [], set()
            self._process = os.getpid()
