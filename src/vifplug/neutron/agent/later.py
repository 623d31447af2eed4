"""Things to do at a later time, in one thread that is never long at any of them."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Hashable

_LOG = logging.getLogger(__name__)


class Later:
    """Calls functions when their time has come. They must be quick: what may take long they hand on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Hashable, Callable[[], object]]] = []
        self._due: dict[Hashable, float] = {}
        self._count = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="vifplug-later", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def call(self, seconds: float, key: Hashable, what: Callable[[], object]) -> None:
        """In so many seconds, unless something of the same key is to be done sooner."""
        due = time.monotonic() + seconds
        with self._changed:
            if self._due.get(key, due + 1) <= due:
                return
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._count), key, what))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and (not self._heap or self._heap[0][0] > time.monotonic()):
                    wait = self._heap[0][0] - time.monotonic() if self._heap else None
                    self._changed.wait(wait)
                if self._stopped:
                    return
                due, _, key, what = heapq.heappop(self._heap)
                if self._due.get(key) != due:  # it was done sooner
                    continue
                del self._due[key]
            try:
                what()
            except Exception:
                _LOG.exception("a bug: %s was not to raise", key)
