"""A stand-in for vifplugd at a Unix socket: it says just the bytes it was told to, as a right server never would."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def json_answer(body: str, status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n{more}\r\n"
    return (head + body).encode()


class StandIn:
    """Each connection is handed to the next of ``behaviours``, the last of them again and again."""

    def __init__(self, path: Path, behaviours: list[Callable[[socket.socket], None]]) -> None:
        self.path = str(path)
        self.requests: list[bytes] = []
        self._behaviours = behaviours
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        count = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            self._open.append(connection)
            behaviour = self._behaviours[min(count, len(self._behaviours) - 1)]
            count += 1
            behaviour(connection)

    def read_request(self, connection: socket.socket) -> bytes:
        """One whole request, or what came before the client went."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        while lengths and len(body) < int(lengths[0]):
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


@contextmanager
def stand_in(folder: Path, *scripts: bytes | Callable[[StandIn, socket.socket], None]) -> Iterator[StandIn]:
    """A stand-in that answers each connection's first request with these bytes, and closes it."""
    made: list[StandIn] = []

    def behaviour(
        script: bytes | Callable[[StandIn, socket.socket], None],
    ) -> Callable[[socket.socket], None]:
        def behave(connection: socket.socket) -> None:
            if callable(script):
                script(made[0], connection)
                return
            made[0].read_request(connection)
            with suppress(BrokenPipeError):  # the client may have had enough of it
                connection.sendall(script)
            connection.close()

        return behave

    behaviours = [behaviour(script) for script in scripts]
    made.append(StandIn(folder / "vifplugd.sock", behaviours))
    try:
        yield made[0]
    finally:
        made[0].close()
