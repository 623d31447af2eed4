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
#: users whose rate is remembered; beyond that, those who have been quiet are forgotten
_USERS = 1024


class Admission:
    """Bounds on verbs: in all, of any one script, and in a second for any one user."""

    def __init__(self, limits: Daemon, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._at_work = 0
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
    def work(self, script: str | None = None, verbs: int = 1) -> Iterator[None]:
        """Room for this many verbs of a script, or TooBusy; Stopping once the daemon drains."""
        with self._changed:
            if self._stopping:
                raise Stopping(
                    "vifplugd is being stopped and begins nothing more: try again in a moment", retry_after=2
                )
            if self._at_work + verbs > self._limits.requests:
                self._refuse(
                    "requests",
                    f"vifplugd has {self._at_work} verbs at work or waiting, and takes {self._limits.requests}"
                    " (daemon.requests): try again in a moment",
                )
            if script and self._of_script[script] + verbs > self._limits.requests_per_script:
                self._refuse(
                    "script",
                    f"{self._of_script[script]} verbs of the plug script {script} are at work or waiting, and"
                    f" vifplugd takes {self._limits.requests_per_script} of one script"
                    " (daemon.requests_per_script): look with 'vifplug top' what it is stuck at",
                    script=script,
                )
            self._at_work += verbs
            if script:
                self._of_script[script] += verbs
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= verbs
                if script:
                    self._of_script[script] -= verbs
                    if not self._of_script[script]:
                        del self._of_script[script]
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

    def drained(self, seconds: float) -> bool:
        """Wait until nothing is at work, at most ``seconds``; whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._at_work, seconds)

    def _refuse(self, bound: str, message: str, **context: str) -> None:
        self._refused[bound] += 1
        raise TooBusy(message, retry_after=1, **context)
