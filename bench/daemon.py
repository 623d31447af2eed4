"""Through vifplugd's socket, against the same in one's own process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from .figures import Aim, Figure, figure
from .place import Place, binding, vif_id
from .turns import difference_ms, take_turns
from .vifplugd import Served

PART = "daemon"
SOCKET, HOST, ECHO = "through the socket", "in process", "bare echo"


def measure(place: Place, rounds: int) -> list[Figure]:
    """The round trip of a question without work, and plug, plug again and unplug of one VIF without a script."""
    with (
        _echo(place.folder / "echo.sock") as echo,
        Served(place).client() as client,
        place.host() as host,
    ):
        asked = take_turns(5 * rounds, {"health": {"ask": client.health}, ECHO: {"ask": echo}}, warm_up=20)
        request, other = binding(1), binding(2)
        done = take_turns(
            rounds,
            {
                SOCKET: {
                    "plug": partial(client.plug, request),
                    "plug again": partial(client.plug, request),
                    "unplug": partial(client.unplug, vif_id(1)),
                },
                HOST: {
                    "plug": partial(host.plug, other),
                    "plug again": partial(host.plug, other),
                    "unplug": partial(host.unplug, vif_id(2)),
                },
            },
        )
    return [
        figure(PART, "round trip of a no-op", asked["ask"]),
        *(
            figure(
                PART,
                verb,
                samples,
                [Aim.at_most(1, difference_ms(samples, SOCKET, HOST), f"ms more than {HOST}")],
            )
            for verb, samples in done.items()
        ),
    ]


@contextmanager
def _echo(path: Path) -> Iterator[Callable[[], bytes]]:
    """A process that sends back what it gets; and one turn with as many bytes as a question and its answer have."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        pid = os.fork()
        if pid == 0:
            _send_back(listener)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))

                def ask() -> bytes:
                    connection.sendall(b"x" * 160)
                    return connection.recv(4096)

                yield ask
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _send_back(listener: socket.socket) -> NoReturn:
    try:
        connection, _ = listener.accept()
        while data := connection.recv(4096):
            connection.sendall(data)
    finally:
        os._exit(0)
