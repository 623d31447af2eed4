"""What keeps record, kernel and backends in agreement, without being asked.

One thread hears of devices as the kernel tells it, looks at the VIFs they belong to, and never
waits for a script. What may take long is done beside it: repairs in one set of lanes, what backends
have to be told in another, a lane for each script, so that one that hangs delays its own VIFs alone.
Every VIF is looked at and mended under its lock, so that several keepers, and anybody who uses the
library meanwhile, do not meet.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from ..config import Daemon
from ..errors import Busy, HostError, NotPlugged, VifplugError
from ..host import Host, Record, Recovered
from ..host.devices import CALLERS_DEVICE
from ..host.pool import affordable
from ..host.results import Cleared, Drift
from ..host.watch import LinkChange, LinkWatch
from .arrivals import Arrivals, Leases
from .events import Events
from .lanes import Lanes
from .patience import FIRST, Trouble, back_off, debt_wait

_log = logging.getLogger("vifplug.keeper")

#: seconds in which messages gather: a plug is half a dozen, and each turn takes time from it
_PACE = 0.02
#: seconds from the first word of a change to the look at it: a burst is one look
_SETTLE = 0.05
#: seconds between looks at a VIF that was found in trouble
_SPACING = 0.25
#: seconds to the next look at a VIF that a call is at work on: doubled each time, up to the second
_BUSY, _BUSY_MOST = 0.2, 2.0
#: VIFs looked at in one go, before the kernel is heard again
_LOOKS = 256
#: seconds that the loop may wait; and the age of its last turn that tells a watchdog that it is stuck
_IDLE, _STUCK = 5.0, 60.0
#: what is to be mended by who plugs the VIF, or unplugs it
_FOR_OTHERS = ("record", CALLERS_DEVICE)
#: calls at work at once, in each set of lanes and of those for one script
_AT_WORK, _PER_SCRIPT = 32, 8


class Keeper:
    """Keeps the VIFs of ``host`` as they were plugged, and says in ``events`` what it found and did.

    ``clock``: seconds since 1970, by which debts fall due.
    """

    def __init__(
        self, host: Host, events: Events, settings: Daemon, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._host = host
        self._events = events
        self._settings = settings
        self._clock = clock
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._turned = 0.0
        self._watch: LinkWatch | None = None
        self._looks: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._troubles: dict[str, Trouble] = {}
        self._failures: dict[str, str] = {}
        self._reboot_told = False
        self._arrivals = Arrivals(
            host, events, Leases(settings, clock), self._tell, partial(self._again, "arrivals")
        )
        #: what is done every so often, and when it is next: each says how many seconds later
        self._chores: dict[str, Callable[[], float]] = {
            "recover": self._recover,
            "reboot": self._reboot,
            "debts": self._debts,
            "arrivals": lambda: self._arrivals.all(settings.interval),
            "compare": self._compare,
            "tidy": self._tidy,
            "backup": self._backup,
        }
        self._chore_due = dict.fromkeys(self._chores, 0.0)
        at_work = affordable(_AT_WORK)
        self._upkeep = Lanes("keeper-upkeep", 1, 1)
        self._repairs = Lanes("keeper-repair", at_work, _PER_SCRIPT)
        self._backends = Lanes("keeper-backend", at_work, _PER_SCRIPT)

    def start(self) -> None:
        """Begin, in threads that live in the network namespace of the caller's; returns at once."""
        self._turned = time.monotonic()
        self._thread.start()

    def stop(self, seconds: float = 0.0) -> bool:
        """End at once, but for script calls at work: those are waited for so long. Whether all have ended."""
        self._stopping.set()
        self._wake()
        until = time.monotonic() + seconds
        ended = [lanes.stop(until - time.monotonic()) for lanes in (self._repairs, self._backends)]
        if self._thread.ident is not None:
            self._thread.join(_IDLE)
        return all(ended) and self._upkeep.stop(_IDLE) and not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether it goes on: what a watchdog wants to know."""
        return self._thread.is_alive() and time.monotonic() - self._turned < _STUCK

    def poke(self) -> None:
        """Do now what is done every so often."""
        with self._guard:
            self._chore_due = dict.fromkeys(self._chores, 0.0)
        self._wake()

    # --- the loop ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._noting("watch"), LinkWatch() as watch:
                with self._guard:
                    self._watch = watch
                    self._chore_due["compare"] = 0.0  # what happened before nobody told us
                try:
                    while not self._stopping.is_set():
                        self._turn(watch.next(self._idle()))
                        self._stopping.wait(_PACE)
                finally:
                    with self._guard:
                        self._watch = None
            if not self._stopping.is_set():
                self._turn([])  # deaf, but not idle
                self._stopping.wait(1.0)

    def _idle(self) -> float:
        """Seconds until something is due."""
        with self._guard:
            soonest = min([*self._chore_due.values(), *(due for due, _ in self._looks[:1])])
        return min(_IDLE, max(0.0, soonest - time.monotonic()))

    def _turn(self, changes: list[LinkChange]) -> None:
        self._turned = time.monotonic()
        if changes:
            with self._noting("changes"):
                self._heard(changes)
        for vif_id in self._looks_due():
            with self._noting("look"):
                self._look(vif_id)
        for name in self._chores_due():
            begun = False
            with self._noting(name):
                begun = self._upkeep.submit("", name, partial(self._chore, name))
            if not begun:  # asked for while it is being done, say
                self._again(name, _SPACING)

    def _wake(self) -> None:
        with self._guard:
            if self._watch is not None:
                self._watch.wake()

    @contextlib.contextmanager
    def _noting(self, doing: str) -> Iterator[None]:
        """Whatever goes wrong in the block is said, once, and does not end the keeper."""
        try:
            yield
        except Exception as error:
            kind = _as_dict(error)
            if self._failures.get(doing) != kind["message"]:
                self._failures[doing] = kind["message"]
                unexpected = not isinstance(error, VifplugError | OSError)
                _log.error("%s: %s", doing, kind["message"], exc_info=error if unexpected else None)
                self._events.publish("keeper-failed", doing=doing, error=kind)
        else:
            if self._failures.pop(doing, None) is not None:
                _log.info("%s: works again", doing)

    # --- drift ---------------------------------------------------------------------------------

    def _heard(self, changes: list[LinkChange]) -> None:
        try:
            for vif_id in self._host.drifts.taken(changes):  # at once: it may not last
                self._arrivals.look(vif_id)
            concerned = self._host.drifts.concerned(changes)
        except Exception:
            self._again("compare", FIRST)
            raise
        for vif_id in concerned:
            self._look_in(vif_id, _SPACING if vif_id in self._troubles else _SETTLE)

    def _look_in(self, vif_id: str, seconds: float) -> None:
        """Look at a VIF in so many seconds, or sooner when that is planned already."""
        due = time.monotonic() + seconds
        with self._guard:
            if self._due.get(vif_id, due + 1) > due:
                self._due[vif_id] = due
                heapq.heappush(self._looks, (due, vif_id))

    def _looks_due(self) -> Iterator[str]:
        for _ in range(_LOOKS):
            with self._guard:
                if not self._looks or self._looks[0][0] > time.monotonic():
                    return
                due, vif_id = heapq.heappop(self._looks)
                if self._due.get(vif_id) != due:  # has been looked at since
                    continue
                del self._due[vif_id]
            yield vif_id

    def _look(self, vif_id: str) -> None:
        try:
            drift = self._host.drifts.of(vif_id)
        except Exception:
            self._look_in(vif_id, FIRST)
            raise
        if drift is None:
            pause = self._busy[vif_id] = min(self._busy.get(vif_id, _BUSY / 2) * 2, _BUSY_MOST)
            self._look_in(vif_id, pause)
            return
        self._busy.pop(vif_id, None)
        trouble = self._troubles.get(vif_id)
        if drift:
            self._drifted(vif_id, [self._traced(vif_id, one) for one in drift])
        elif trouble is not None and trouble.told is not None:
            trouble.told = None
            self._events.publish("drift", vif_id, drift=[])
        self._arrivals.look(vif_id)

    def _traced(self, vif_id: str, drift: Drift) -> Drift:
        """A device that is gone may only be called otherwise."""
        if drift.what != "device" or self._watch is None:
            return drift
        self._heard(self._watch.next(0))  # the kernel has told of that by now
        links = self._watch.links.values()
        return msgspec.structs.replace(
            drift, found=self._host.drifts.other_name(vif_id, drift.expected, links)
        )

    def _drifted(self, vif_id: str, drift: list[Drift]) -> None:
        trouble = self._troubles.setdefault(vif_id, Trouble())
        repairs = self._settings.on_drift == "repair" and all(one.what not in _FOR_OTHERS for one in drift)
        wait = trouble.wait(time.monotonic()) if repairs else 0.0
        if trouble.told != drift and not (wait and trouble.told is not None):
            trouble.told = drift
            gone = any(one.what in ("device", CALLERS_DEVICE) and one.found is None for one in drift)
            again = {"again_in": wait, "fight": trouble.pause > 0} if wait else {}
            self._events.publish(
                "device-gone" if gone else "drift",
                vif_id,
                drift=[msgspec.structs.asdict(one) for one in drift],
                **again,
            )
        if wait:
            self._look_in(vif_id, wait)
        elif repairs:
            with contextlib.suppress(NotPlugged):  # somebody unplugged it meanwhile
                lane = _lane(self._host.show(vif_id))
                self._repairs.submit(lane, vif_id, partial(self._repair, vif_id, drift))

    def _repair(self, vif_id: str, drift: list[Drift]) -> None:
        with self._noting("repair"):
            if self._host.drifts.of(vif_id):  # still: others of its lane may have taken long
                self._mend(vif_id, drift)
        self._look_in(vif_id, _SPACING)
        self._wake()

    def _mend(self, vif_id: str, drift: list[Drift]) -> None:
        trouble = self._troubles.setdefault(vif_id, Trouble())
        try:
            plugged = self._host.repair(vif_id)
        except (NotPlugged, Busy):  # somebody is at it
            pass
        except Exception as error:
            wait = trouble.failed(time.monotonic())
            self._events.publish("repair-failed", vif_id, error=_as_dict(error), again_in=wait)
            self._again("recover", wait)  # a full disk may have left it in the middle
            if not isinstance(error, VifplugError | OSError):
                raise
        else:
            if plugged.changed:
                trouble.repaired(time.monotonic())
                if plugged.activated:  # which its script had refused, or a crash had kept from it
                    self._events.publish("activated", vif_id, generation=plugged.generation)
                self._events.publish(
                    "repaired",
                    vif_id,
                    drift=[msgspec.structs.asdict(one) for one in drift],
                    generation=plugged.generation,
                    seconds=plugged.seconds,
                )

    # --- what is done every so often -----------------------------------------------------------

    def _chores_due(self) -> list[str]:
        now = time.monotonic()
        with self._guard:
            due = [name for name, when in self._chore_due.items() if when <= now]
            for name in due:
                self._chore_due[name] = math.inf  # until it is done
        return due

    def _again(self, name: str, seconds: float) -> None:
        """Do it in so many seconds, or sooner when that is planned already."""
        with self._guard:
            self._chore_due[name] = min(self._chore_due[name], time.monotonic() + seconds)

    def _chore(self, name: str) -> None:
        if self._stopping.is_set():
            return
        wait = FIRST
        with self._noting(name):
            wait = self._chores[name]()
        self._again(name, wait)
        self._wake()

    def _recover(self) -> float:
        for record in self._host.recovery.unfinished():
            self._tell(record, "recover", partial(self._host.recovery.finish, record), self._recovered)
        return self._settings.interval

    def _recovered(self, answer: Recovered) -> None:
        if answer.now == "busy":
            self._again("recover", _BUSY_MOST)
        else:
            self._events.publish(
                "recovered", answer.id, was=answer.was.value, now=answer.now, message=answer.message
            )

    def _reboot(self) -> float:
        """VIFs that a reboot took are unplugged at their backends, or kept until somebody does."""
        lost = self._host.recovery.lost()
        if lost and not self._reboot_told:
            self._reboot_told = True
            self._events.publish(
                "reboot", boot_id=self._host.boot_id, vifs=len(lost), policy=self._settings.after_reboot
            )
        if self._settings.after_reboot == "unplug":
            for record in lost:
                work = partial(self._host.recovery.forget, record.id)
                self._tell(record, "forget", work, partial(self._cleared, "forgotten", record))
        return self._settings.interval

    def _debts(self) -> float:
        soonest = FIRST
        for record in self._host.recovery.debts():
            wait = debt_wait(record, self._clock())
            if wait > 0:
                soonest = min(soonest, wait)
                continue
            work = partial(self._host.recovery.pay, record.id, record.generation)
            self._tell(record, "pay", work, partial(self._cleared, "debt-paid", record))
        return soonest

    def _cleared(self, done: str, record: Record, answer: Cleared) -> None:
        if answer.now == "done":
            self._events.publish(done, record.id, generation=record.generation)
        elif answer.now == "busy":
            self._again("reboot" if done == "forgotten" else "debts", _BUSY_MOST)
        elif answer.now == "owing":
            self._events.publish(
                "debt-owing",
                record.id,
                generation=record.generation,
                message=answer.message,
                attempts=record.attempts + 1,
                again_in=back_off(record.attempts + 1),
            )

    def _tell(
        self, record: Record, verb: str, work: Callable[[], Any], on_done: Callable[[Any], None]
    ) -> None:
        """Do what asks a backend beside everything else."""

        def call() -> None:
            with self._noting(verb):
                on_done(work())

        self._backends.submit(_lane(record), (verb, record.id, record.generation), call)

    def _compare(self) -> float:
        for vif_id in self._host.drifts.suspects():
            self._look_in(vif_id, 0.0)
        now = time.monotonic()
        for vif_id, trouble in list(self._troubles.items()):
            if trouble.told is not None:  # it may be over without a word from the kernel
                self._look_in(vif_id, 0.0)
            elif trouble.is_over(now):
                self._troubles.pop(vif_id, None)
        return self._settings.interval

    def _tidy(self) -> float:
        for name in self._host.recovery.remove_orphans():
            self._events.publish("orphan-removed", device=name)
        self._host.recovery.prune_calls()
        return self._settings.interval

    def _backup(self) -> float:
        """A backup of a ledger that changed since the last one."""
        try:
            self._host.backup()
        except VifplugError as error:
            self._events.publish("ledger-backup-failed", error=error.as_dict())
            raise
        return self._settings.backup_every


def _lane(record: Record) -> str:
    return record.script.name if record.script is not None else ""


def _as_dict(error: Exception) -> dict[str, Any]:
    if isinstance(error, VifplugError):
        return error.as_dict()
    if isinstance(error, OSError):
        return HostError(f"this host refused: {error}").as_dict()
    return {"code": "bug", "message": f"{type(error).__name__}: {error}"}
