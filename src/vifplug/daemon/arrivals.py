"""The guests that live migrations are to bring: waited for, and given up when they do not come.

A platform unplugs the destination of a migration that failed, as a rule. Some do not, or die before they can.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..config import Daemon
from ..host import Host, Record
from ..host.recovery import Arrival
from ..host.results import Cleared
from .events import Events

_log = logging.getLogger("vifplug.keeper")

#: why a VIF is given up
NOBODY_CAME = "no guest came to it"
LET_GO = "its guest came and let go of it again"
REBOOTED = "the host was rebooted before its guest was known to be here"

#: seconds until a VIF is tried again that a call is at work on, or whose unplug is under way
_SOON = 2.0

#: carries out what asks a backend: for a record, under a name, what is done, and who is told of the answer
Carry = Callable[[Record, str, Callable[[], Cleared], Callable[[Cleared], Any]], None]


class _Lease:
    """What is remembered of one arrival. Times are those of a monotonic clock."""

    def __init__(self, changed: float, ends: float) -> None:
        #: when it was last asked for, in seconds since 1970: with another it begins anew
        self.changed = changed
        self.ends = ends
        #: whether a guest was seen to have the device
        self.taken = False
        #: when it was first seen to have let go of it
        self.let_go: float | None = None


class Leases:
    """How much longer each arrival is waited for. Any thread may ask.

    ``clock``: seconds since 1970, by which what a ledger says of former daemons' time is understood.
    """

    def __init__(self, settings: Daemon, clock: Callable[[], float]) -> None:
        self._patience = settings.arrival_patience
        self._grace = settings.arrival_grace
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        self._guard = threading.Lock()

    def left(self, arrival: Arrival) -> tuple[float, str]:
        """Seconds until the VIF is to be given up, and why; infinite while a guest has it, or may have it."""
        record, now = arrival.record, time.monotonic()
        if record.lost:
            return 0.0, REBOOTED
        with self._guard:
            lease = self._leases.get(record.id)
            if lease is None or lease.changed != record.changed:
                since = self._clock() - record.changed
                ends = now + min(max(self._patience - since, 0.0), self._patience)
                lease = self._leases[record.id] = _Lease(record.changed, ends)
            if arrival.held is None:
                return math.inf, NOBODY_CAME
            if arrival.held:
                lease.taken, lease.let_go = True, None
                return math.inf, LET_GO
            if not lease.taken:
                return max(lease.ends - now, 0.0), NOBODY_CAME
            lease.let_go = now if lease.let_go is None else lease.let_go
            return max(lease.let_go + self._grace - now, 0.0), LET_GO

    def keep(self, vif_ids: Iterable[str]) -> None:
        """Forget all but these."""
        kept = set(vif_ids)
        with self._guard:
            self._leases = {vif_id: lease for vif_id, lease in self._leases.items() if vif_id in kept}


class Arrivals:
    """Sees to the arrivals of ``host``. ``carry`` does it beside all else, ``again`` asks for ``all`` in so many
    seconds."""

    def __init__(
        self, host: Host, events: Events, leases: Leases, carry: Carry, again: Callable[[float], None]
    ) -> None:
        self._host = host
        self._events = events
        self._leases = leases
        self._carry = carry
        self._again = again

    def look(self, vif_id: str) -> None:
        """Something became of a VIF's device."""
        arrival = self._host.recovery.arrival(vif_id)
        if arrival is not None and (wait := self._leases.left(arrival)[0]) < math.inf:
            self._again(wait)

    def all(self, interval: float) -> float:
        """Give up what is overdue; in how many seconds to do that again, ``interval`` at most."""
        found = self._host.recovery.arrivals()
        self._leases.keep(arrival.record.id for arrival in found)
        return min([interval, *map(self._see_to, found)])

    def _see_to(self, arrival: Arrival) -> float:
        wait, why = self._leases.left(arrival)
        if wait > 0:
            return wait
        record = arrival.record
        work = partial(self._host.recovery.give_up, record)
        self._carry(record, "give up", work, partial(self._given_up, record, why))
        return _SOON

    def _given_up(self, record: Record, why: str, answer: Cleared) -> None:
        if answer.now in ("done", "owing"):
            _log.warning("VIF %s, plugged for a live migration, is given up: %s", record.id, why)
            self._events.publish(
                "arrival-given-up",
                record.id,
                generation=record.generation,
                reason=why,
                message=answer.message,
            )
