"""What runs now and how fast calls have been: kept in memory, bounded, fed by steps and calls."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from msgspec.structs import replace

from ..host.results import CallRecord, Step
from .status import CallStats, Running

#: calls of one script and verb whose times are kept
_KEPT = 1024
_SCRIPT = "script "
#: verbs that begin a step as soon as they have the VIF's lock
_STEPPED = frozenset({"plug", "update", "unplug", "repair", "activate"})


class _Calls:
    """The calls of one script for one verb."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.last = 0.0
        self.seconds: deque[float] = deque(maxlen=_KEPT)


class Activity:
    """Steps are told apart by the thread that tells them: a verb and its steps are one thread's work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Running] = {}
        self._calls: dict[tuple[str, str], _Calls] = {}

    @contextmanager
    def verb(self, verb: str, vif_id: str | None = None) -> Iterator[None]:
        """A block in which this thread carries out a verb."""
        me = threading.get_ident()
        before = self._running.get(me)
        self._put(me, Running(verb=verb, vif_id=vif_id, since=time.time(), waiting=verb in _STEPPED))
        try:
            yield
        finally:
            self._put(me, before)

    def on_step(self, step: Step) -> None:
        me = threading.get_ident()
        running = self._running.get(me)
        if step.phase != "begin":
            done = None
            if running is not None and running.verb is not None:
                done = replace(running, step=None, step_since=None, script=None, script_verb=None)
            self._put(me, done)
            return
        now = time.time()
        if running is None:  # nobody said which verb: what the host does by itself
            running = Running(verb=None, vif_id=step.vif_id, since=now)
        _, _, script_verb = step.name.partition(_SCRIPT)
        self._put(
            me,
            replace(
                running,
                vif_id=step.vif_id,
                waiting=False,
                step=step.name,
                step_since=now,
                script=PurePath(step.text).name if script_verb else None,
                script_verb=script_verb or None,
            ),
        )

    def on_call(self, call: CallRecord) -> None:
        with self._lock:
            calls = self._calls.setdefault((call.script, call.verb), _Calls())
            calls.calls += 1
            calls.failures += call.outcome != "done"
            calls.last = call.started + call.seconds
            calls.seconds.append(call.seconds)

    def running(self) -> list[Running]:
        """What runs now, oldest first."""
        with self._lock:
            return sorted(self._running.values(), key=lambda running: running.since)

    def calls(self) -> list[CallStats]:
        """Every script and verb that was called since the start, in alphabetical order."""
        with self._lock:
            kept = [
                (key, calls.calls, calls.failures, calls.last, list(calls.seconds))
                for key, calls in sorted(self._calls.items())
            ]
        return [
            _stats(script, verb, calls, failures, last, sorted(seconds))
            for (script, verb), calls, failures, last, seconds in kept
        ]

    def _put(self, thread: int, running: Running | None) -> None:
        with self._lock:
            if running is None:
                self._running.pop(thread, None)
            else:
                self._running[thread] = running


def _stats(  # noqa: PLR0917
    script: str, verb: str, calls: int, failures: int, last: float, seconds: list[float]
) -> CallStats:
    return CallStats(
        script=script,
        verb=verb,
        calls=calls,
        failures=failures,
        mean=sum(seconds) / len(seconds),
        p50=_quantile(seconds, 0.50),
        p95=_quantile(seconds, 0.95),
        p99=_quantile(seconds, 0.99),
        last=last,
    )


def _quantile(ordered: list[float], part: float) -> float:
    """The smallest value that at least ``part`` of all do not exceed (the nearest rank)."""
    return ordered[math.ceil(part * len(ordered)) - 1]
