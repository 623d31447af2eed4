"""Threads for work that may hang: so many at once in all, and so many for one cause."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

from ..script.tracecontext import TraceContext, within

_log = logging.getLogger("vifplug.keeper")


class Lanes:
    """Work of one lane waits for its lane alone, as long as there are threads for all lanes.

    ``total`` and ``each``: how much is at work at once in all and in one lane. Threads come with the
    work and go with it.
    """

    def __init__(self, name: str, total: int, each: int) -> None:
        self._name = name
        self._total = total
        self._each = each
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[tuple[Hashable, Callable[[], object]]]] = {}
        self._busy: dict[str, int] = {}
        self._keys: set[Hashable] = set()
        self._threads = 0
        self._stopped = False

    def submit(self, lane: str, key: Hashable, work: Callable[[], object]) -> bool:
        """Do ``work``, which must not raise, unless that of the same ``key`` waits or is at work already.

        False when it does, or when this has been stopped. Raises RuntimeError when there can be no thread.
        """
        with self._changed:
            if self._stopped or key in self._keys:
                return False
            self._waiting.setdefault(lane, deque()).append((key, work))
            self._keys.add(key)
            if self._threads < self._total and self._busy.get(lane, 0) < self._each:
                thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    if self._threads == 0:  # nobody is there who would come to it
                        self._waiting.clear()
                        self._keys.clear()
                        raise
                else:
                    self._threads += 1
            return True

    def stop(self, seconds: float) -> bool:
        """Begin nothing more; wait at most so long for what is at work. Whether all of it has ended."""
        until = time.monotonic() + seconds
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            return self._changed.wait_for(lambda: self._threads == 0, max(0.0, until - time.monotonic()))

    def _serve(self) -> None:
        while True:
            with self._changed:
                taken = self._take()
                if taken is None:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
            lane, key, work = taken
            try:
                with within(TraceContext.new()):  # its scripts and its events are one trace
                    work()
            except Exception:
                _log.exception("a bug: work of %s was not to raise", key)
            finally:
                with self._changed:
                    self._keys.discard(key)
                    self._busy[lane] -= 1
                    if not self._busy[lane]:
                        del self._busy[lane]

    def _take(self) -> tuple[str, Hashable, Callable[[], object]] | None:
        """The next work of a lane that has room; lanes take turns."""
        lane = next((lane for lane in self._waiting if self._busy.get(lane, 0) < self._each), None)
        if lane is None:
            return None
        waiting = self._waiting.pop(lane)
        key, work = waiting.popleft()
        if waiting:
            self._waiting[lane] = waiting  # behind the others
        self._busy[lane] = self._busy.get(lane, 0) + 1
        return lane, key, work
