"""When to try again: what failed, and what somebody else keeps undoing."""

from __future__ import annotations

from collections import deque

from ..host import Record
from ..host.results import Drift

#: seconds before the second attempt, and the most there may be between two
FIRST, MOST = 10.0, 3600.0
#: repairs of one VIF in so many seconds, after which somebody is taken to fight us
_REPAIRS, _SPAN = 5, 60.0


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures: 10, 20, 40, … up to an hour."""
    return min(FIRST * 2.0 ** min(max(failures, 1) - 1, 16), MOST)


def debt_wait(debt: Record, now: float) -> float:
    """Seconds until a debt is to be tried again; ``now`` in seconds since 1970."""
    if debt.changed > now:  # the clock was set back since
        return 0.0
    return max(0.0, debt.changed + back_off(debt.attempts) - now)


class Trouble:
    """What is remembered of a VIF that was found not as on record. Times are those of a monotonic clock."""

    def __init__(self) -> None:
        #: what was last said of it; None when that is over
        self.told: list[Drift] | None = None
        #: seconds since the last of a row of repairs that did not last; 0 while nobody fights us
        self.pause = 0.0
        self._until = 0.0
        self._failures = 0
        self._repairs: deque[float] = deque(maxlen=_REPAIRS)

    def wait(self, now: float) -> float:
        """Seconds for which it is not to be repaired."""
        return max(0.0, self._until - now)

    def repaired(self, now: float) -> None:
        self.told, self._failures = None, 0
        self._repairs.append(now)
        if self.pause and now - self._until > max(self.pause, _SPAN):
            self.pause = 0.0
        if self.pause:
            self.pause = min(self.pause * 2, MOST)
        elif len(self._repairs) == _REPAIRS and now - self._repairs[0] < _SPAN:
            self.pause = _SPAN
        self._until = now + self.pause

    def failed(self, now: float) -> float:
        """Seconds until it is tried again."""
        self._failures += 1
        self._until = now + back_off(self._failures)
        return self.wait(now)

    def is_over(self, now: float) -> bool:
        """Whether there is nothing to remember any more."""
        return (
            self.told is None
            and now - self._until > max(self.pause, _SPAN)
            and (not self._repairs or now - self._repairs[-1] > _SPAN)
        )
