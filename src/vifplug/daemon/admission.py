"""How much the daemon takes on: what is over a bound is refused at once, and told when to come back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from ..config import Daemon
from ..errors import Stopping, TooBusy
from .status import Queue

#: seconds' worth of requests that a user may make at once
_BURST = 10
#: of the connections, those that requests may take that last: 1 in 4; and of these, those of one user: 1 in 2
_LASTING, _SHARE = 4, 2
#: requests for many VIFs at work at once, and of each the VIFs that are at work or wait for room
_BATCHES, _AT_ONCE = 16, 128
#: users whose rate is remembered; beyond that, those who have been quiet are forgotten
_USERS = 1024


class Admission:
    """Bounds on verbs: in all, of any one script, and in a second for any one user.

    ``on_refused`` is called with the name of the bound that was reached.
    """

    def __init__(
        self,
        limits: Daemon,
        on_refused: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._on_refused = on_refused
        self._clock = clock
        self._changed = threading.Condition()
        self._at_work = 0
        self._batches = 0
        self._of_script: Counter[str] = Counter()
        self._lasting: Counter[int] = Counter()
        self._buckets: dict[int, tuple[float, float]] = {}
        self._stopping = False
        self._refused: Counter[str] = Counter()

    def queue(self) -> Queue:
        """How full it is now."""
        with self._changed:
            return Queue(at_work=self._at_work, rejected=dict(self._refused))

    @contextlib.contextmanager
    def work(self, script: str | None = None, *, patient: bool = False) -> Iterator[None]:
        """Room for a verb of a script, or TooBusy; Stopping once the daemon drains.

        ``patient``: one of a batch, which waits until there is room and leaves half of it to others.
        """
        with self._changed:
            if patient:
                self._changed.wait_for(lambda: self._stopping or self._has_room(script, 2))
            if self._stopping:
                raise Stopping(
                    "vifplugd is being stopped and begins nothing more: try again in a moment", retry_after=2
                )
            if not patient and self._at_work >= self._limits.requests:
                self._refuse(
                    "requests",
                    f"vifplugd has {self._at_work} verbs at work or waiting, and takes {self._limits.requests}"
                    " (daemon.requests): try again in a moment",
                )
            if not patient and script and self._of_script[script] >= self._limits.requests_per_script:
                self._refuse(
                    "script",
                    f"{self._of_script[script]} verbs of the plug script {script} are at work or waiting, and"
                    f" vifplugd takes {self._limits.requests_per_script} of one script"
                    " (daemon.requests_per_script): look with 'vifplug top' what it is stuck at",
                    script=script,
                )
            self._at_work += 1
            if script:
                self._of_script[script] += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                if script:
                    self._of_script[script] -= 1
                    if not self._of_script[script]:
                        del self._of_script[script]
                self._changed.notify_all()

    def _has_room(self, script: str | None, share: int) -> bool:
        """Whether a verb has room in one part of so many."""
        limits = self._limits
        return self._at_work < max(1, limits.requests // share) and (
            not script or self._of_script[script] < max(1, limits.requests_per_script // share)
        )

    @contextlib.contextmanager
    def batch(self) -> Iterator[int]:
        """Room for a request of many verbs, or TooBusy: how many of them may wait for room of their own at once."""
        with self._changed:
            if self._batches >= _BATCHES:
                self._refuse(
                    "batches",
                    f"vifplugd has {self._batches} requests for many VIFs at work, and takes no more: try again",
                )
            self._batches += 1
        try:
            yield max(1, min(_AT_ONCE, self._limits.requests // 2))
        finally:
            with self._changed:
                self._batches -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def lasting(self, uid: int, *, admin: bool) -> Iterator[None]:
        """Room for a request that lasts for as long as this user likes, or TooBusy."""
        most = max(1, self._limits.connections // _LASTING)
        with self._changed:
            full = self._lasting.total() >= most
            if full or (not admin and self._lasting[uid] >= max(1, most // _SHARE)):
                whose = "" if full else f" of user {uid}"
                self._refuse(
                    "lasting",
                    f"vifplugd has as many readers of events and waiting callers{whose} as it takes, which goes by"
                    " daemon.connections: come back when some have gone",
                )
            self._lasting[uid] += 1
        try:
            yield
        finally:
            with self._changed:
                self._lasting[uid] -= 1
                if not self._lasting[uid]:
                    del self._lasting[uid]

    def pace(self, uid: int) -> None:
        """Count a request of this user; TooBusy when they come faster than the operator allows."""
        now = self._clock()
        rate = self._limits.rate
        with self._changed:
            tokens, since = self._buckets.pop(uid, (rate * _BURST, now))
            tokens = min(rate * _BURST, tokens + (now - since) * rate)
            self._buckets[uid] = (tokens - 1 if tokens >= 1 else tokens, now)  # and the latest stand last
            if len(self._buckets) > _USERS:
                del self._buckets[next(iter(self._buckets))]
            if tokens < 1:
                self._refuse(
                    "rate", f"user {uid} makes more than {rate} requests a second (daemon.rate): slow down"
                )

    def stop(self) -> None:
        """From now on nothing begins."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def drained(self, seconds: float) -> bool:
        """Wait until nothing is at work, at most ``seconds``; whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._at_work and not self._batches, seconds)

    def _refuse(self, bound: str, message: str, **context: str) -> None:
        self._refused[bound] += 1
        self._on_refused(bound)
        raise TooBusy(message, retry_after=1, **context)
