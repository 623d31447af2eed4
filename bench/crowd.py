"""How many plugs a second, by how many clients at once."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

from vifplug.client import Client

from .figures import Figure, figure
from .place import Place, binding, vif_id
from .turns import Steps, take_turns
from .vifplugd import Served

PART, ALONE = "daemon: many clients", "one after the other, in process"
#: what is written to a client process, and what it answers
_WORK, _END = b"w", b"e"
#: VIFs that the contender plugs and unplugs in a round
_ALONE = 16
#: client processes at most; beyond that, each has several threads
_PROCESSES = 8


def measure(place: Place, rounds: int, verbs: int, counts: tuple[int, ...]) -> list[Figure]:
    """So many VIFs plugged and unplugged by 1, 16 and 256 clients; each timing is of one VIF's plug and unplug."""
    figures = []
    with Served(place).client() as client, place.host() as host:
        alone, first = binding(1), vif_id(1)

        def one_by_one() -> None:
            for _ in range(_ALONE):
                host.plug(alone)
                host.unplug(first)

        for count in counts:
            each = max(1, verbs // count)
            with _crowd(count, each, partial(Client, client.socket)) as run:
                contenders: dict[str, Steps] = {
                    f"{count} clients": {"work": run},
                    ALONE: {"work": one_by_one},
                }
                samples = take_turns(rounds, contenders)["work"]
            ours, others = samples.values()
            per_vif = {
                f"{count} clients": [seconds / (count * each) for seconds in ours],
                ALONE: [seconds / _ALONE for seconds in others],
            }
            figures.append(figure(PART, f"plug and unplug of a VIF by {count}", per_vif))
    return figures


@contextmanager
def _crowd(count: int, each: int, connect: Callable[[], Client]) -> Iterator[Callable[[], None]]:
    """Clients that wait, and a function that lets each plug and unplug its VIF ``each`` times."""
    processes = min(count, _PROCESSES)
    workers = [_Worker(range(number, count, processes), each, connect) for number in range(processes)]

    def run() -> None:
        for worker in workers:
            worker.begin()
        for worker in workers:
            worker.wait()

    try:
        yield run
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process of several clients, that works when it is sent a byte and says when it is done."""

    def __init__(self, numbers: range, each: int, connect: Callable[[], Client]) -> None:
        go, self._go = os.pipe()
        self._done, done = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._go)
            os.close(self._done)
            _work(go, done, numbers, each, connect)
        os.close(go)
        os.close(done)

    def begin(self) -> None:
        os.write(self._go, _WORK)

    def wait(self) -> None:
        if os.read(self._done, 1) != _WORK:
            raise RuntimeError("a client failed; what it said stands above")

    def end(self) -> None:
        os.write(self._go, _END)
        os.close(self._go)
        os.close(self._done)
        os.waitpid(self._pid, 0)


def _work(go: int, done: int, numbers: range, each: int, connect: Callable[[], Client]) -> NoReturn:
    failed: list[str] = []

    def plug_and_unplug(client: Client, number: int) -> None:
        request, mine = binding(100 + number), vif_id(100 + number)
        try:
            for _ in range(each):
                client.plug(request)
                client.unplug(mine)
        except Exception:
            failed.append(traceback.format_exc())

    try:
        clients = {number: connect() for number in numbers}
        for client in clients.values():
            client.connect()
        while os.read(go, 1) == _WORK:
            threads = [
                threading.Thread(target=plug_and_unplug, args=(clients[number], number)) for number in numbers
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if failed:
                os.write(2, failed[0].encode())
                os.write(done, _END)
                failed.clear()
                continue
            os.write(done, _WORK)
    finally:
        os._exit(0)
