"""After a crash, a reboot, and for debts: bring record, kernel and backends to agree again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from ..config import Config
from ..errors import VifplugError
from .devices import Devices
from .ledger import Ledger, Row
from .locks import Locks
from .pool import side_by_side
from .residents import end_ownerless
from .results import Cleared, GcReport, Record, Recovered, State
from .work import Work


class Arrival(Struct, frozen=True, kw_only=True):
    """A VIF that was plugged for a guest which a live migration is to bring here."""

    record: Record
    #: whether a guest has its device open; None where that cannot be seen
    held: bool | None


class Recovery:
    """What ``Host.recover`` and ``Host.gc`` do, whole and VIF by VIF. Everything raises a VifplugError only
    for what concerns no single VIF: say, the ledger cannot be read."""

    def __init__(self, config: Config, ledger: Ledger, locks: Locks, devices: Devices, work: Work) -> None:
        self._config = config
        self._ledger = ledger
        self._locks = locks
        self._devices = devices
        self._work = work

    def recover(self) -> list[Recovered]:
        return side_by_side(self.finish, self.unfinished(), self._config.workers)

    def gc(self) -> GcReport:
        end_ownerless(self._ledger)
        forgotten, owing = self._all(self.forget, self.lost())
        debts = [record for record in self.debts() if record.id not in owing]
        paid, still_owing = self._all(self.pay, debts)
        given_up, also_owing = self._all(self._give_up_overdue, self._overdue())
        return GcReport(
            forgotten=forgotten,
            paid=paid,
            owing={**owing, **still_owing, **also_owing},
            given_up=given_up,
            devices=self.remove_orphans(),
            calls=self.prune_calls(),
        )

    # --- what was interrupted ------------------------------------------------------------------

    def unfinished(self) -> list[Record]:
        """The VIFs in the middle of something, be it at work elsewhere; resident processes of the dead are ended."""
        end_ownerless(self._ledger)
        return [row.record for row in self._ledger.unfinished()]

    def finish(self, record: Record) -> Recovered:
        """Finish what a process that died left of one of the ``unfinished``."""
        with self._locks.try_vif(record.id) as free:
            if not free:
                return Recovered(id=record.id, was=record.state, now="busy")
            try:
                settled = self._work.settle(record.id)
            except VifplugError as error:
                return Recovered(
                    id=record.id, was=record.state, now=record.state.value, message=error.message
                )
            if settled is not None:
                why = settled.record.error or {}
                return Recovered(
                    id=record.id, was=record.state, now=settled.record.state.value, message=why.get("message")
                )
            debts = [
                debt for debt in self._ledger.debts(record.id) if debt.record.generation == record.generation
            ]
        if debts:
            why = debts[0].record.error or {}
            return Recovered(id=record.id, was=record.state, now=State.DEBT.value, message=why.get("message"))
        return Recovered(id=record.id, was=record.state, now="unplugged")

    # --- what backends still have to be told ---------------------------------------------------

    def lost(self) -> list[Record]:
        """The VIFs whose kernel part a reboot took."""
        return [row.record for row in self._ledger.lost()]

    def debts(self) -> list[Record]:
        """What is owed, the oldest first."""
        return [row.record for row in self._ledger.debts()]

    def forget(self, vif_id: str) -> Cleared:
        """Unplug one of the ``lost`` at its backend."""
        return self._clear(vif_id, self._lost)

    def pay(self, vif_id: str, generation: int | None = None) -> Cleared:
        """Try again what a VIF owes, of one generation or of all."""

        def due(vif_id: str) -> list[Row]:
            rows = self._payable(vif_id)
            return [row for row in rows if generation in (None, row.record.generation)]

        return self._clear(vif_id, due)

    # --- guests that a live migration was to bring ---------------------------------------------

    def arrivals(self) -> list[Arrival]:
        """The VIFs whose guest is still to come: those that a reboot took, and those just being plugged, among them."""
        rows = self._ledger.arriving()
        links = self._devices.links() if rows else None
        return [Arrival(record=row.record, held=self._devices.held(row.record.vif, links)) for row in rows]

    def arrival(self, vif_id: str) -> Arrival | None:
        """One of them; None when it is not, or not any more."""
        row = self._ledger.current(vif_id)
        if row is None or not _waits(row.record):
            return None
        return Arrival(record=row.record, held=self._devices.held(row.record.vif))

    def give_up(self, record: Record) -> Cleared:
        """Unplug one of the ``arrivals``, unless a guest has its device, or anything was asked for it since."""

        def due(vif_id: str) -> list[Row]:
            row = self._ledger.current(vif_id)
            if row is None or row.record.changed != record.changed or not _waits(row.record):
                return []
            free = row.record.lost or self._devices.held(row.record.vif) is False
            return [row] if free else []

        return self._clear(record.id, due)

    def _overdue(self) -> list[Record]:
        """The arrivals for which nobody need wait any more, as far as can be told without having watched."""
        latest = time.time() - self._config.daemon.arrival_patience
        found = [arrival for arrival in self.arrivals() if arrival.held is False]
        return [arrival.record for arrival in found if arrival.record.changed < latest]

    def _give_up_overdue(self, vif_id: str) -> Cleared:
        arrival = self.arrival(vif_id)
        return self.give_up(arrival.record) if arrival is not None else Cleared(id=vif_id, now="nothing")

    def _lost(self, vif_id: str) -> list[Row]:
        current = self._ledger.current(vif_id)
        return [current] if current is not None and current.record.lost else []

    def _payable(self, vif_id: str) -> list[Row]:
        """The debts to pay now: not those whose script has the VIF plugged anew, and will undo both."""
        current = self._ledger.current(vif_id)
        busy = current.record.script.name if current and current.record.script else None
        return [
            debt
            for debt in self._ledger.debts(vif_id)
            if busy is None or debt.record.script is None or debt.record.script.name != busy
        ]

    def _clear(self, vif_id: str, due: Callable[[str], list[Row]]) -> Cleared:
        """Disconnect what is still ``due`` once the VIF is locked."""
        with self._locks.try_vif(vif_id) as free:
            if not free:
                return Cleared(id=vif_id, now="busy", message="another call is at work on it")
            self._work.kill_leftovers(vif_id)
            rows = due(vif_id)
            failures = [owed.message for row in rows if (owed := self._disconnect(row))]
        if failures:
            return Cleared(id=vif_id, now="owing", message="; ".join(failures))
        return Cleared(id=vif_id, now="done" if rows else "nothing")

    def _disconnect(self, row: Row) -> VifplugError | None:
        try:
            return self._work.disconnect(row)
        except VifplugError as error:
            return error

    def _all(
        self, clear: Callable[[str], Cleared], records: Iterable[Record]
    ) -> tuple[list[str], dict[str, str]]:
        """Clear them all: the ids that are done, and why others are not."""
        ids = list(dict.fromkeys(record.id for record in records))
        answers = side_by_side(clear, ids, self._config.workers)
        return (
            [answer.id for answer in answers if answer.now == "done"],
            {answer.id: answer.message for answer in answers if answer.message is not None},
        )

    # --- what nobody needs any more -------------------------------------------------------------

    def remove_orphans(self) -> list[str]:
        """Remove the devices of this ledger that no VIF owns; their names.

        Also a second device of a VIF: its tap was renamed just as it was being plugged again. One that a guest
        holds open is left to it, whatever the record has lost: ``vifplug doctor`` tells of those.
        """
        removed: list[str] = []
        for link in self._devices.orphans(self._ledger.ids()):
            if link.carrier:
                continue
            vif_id = self._devices.vif_of(link) or ""
            with self._locks.try_vif(vif_id) as free:
                if not free:
                    continue
                row = self._ledger.current(vif_id)
                if row is None or self._devices.is_second(link, row.record.vif):
                    self._devices.remove_orphan(link)
                    removed.append(link.name)
        return removed

    def prune_calls(self) -> int:
        """Drop script calls older or more than the log keeps; how many."""
        log = self._config.log
        return self._ledger.prune_calls(time.time() - log.keep_days * 86400, log.keep_calls)


def _waits(record: Record) -> bool:
    """Whether it is plugged for a guest that is still to come."""
    return record.state is State.PLUGGED and record.request.arriving
