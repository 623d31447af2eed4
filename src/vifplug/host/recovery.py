"""After a crash, a reboot, and for debts: bring record, kernel and backends to agree again."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..config import Config
from ..errors import VifplugError
from .devices import Devices
from .ledger import Ledger, Row
from .locks import Locks
from .pool import side_by_side
from .results import GcReport, Recovered, State
from .work import Work


class Recovery:
    """What ``Host.recover`` and ``Host.gc`` do."""

    def __init__(self, config: Config, ledger: Ledger, locks: Locks, devices: Devices, work: Work) -> None:
        self._config = config
        self._ledger = ledger
        self._locks = locks
        self._devices = devices
        self._work = work

    def recover(self) -> list[Recovered]:
        return side_by_side(self._recover, self._ledger.unfinished(), self._config.workers)

    def _recover(self, row: Row) -> Recovered:
        record = row.record
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

    def gc(self) -> GcReport:
        forgotten, owing = self._all(self._lost(), self._ledger.current)
        paid, still_owing = self._all(
            [row for row in self._ledger.debts() if row.record.id not in owing], self._debt_of
        )
        log = self._config.log
        return GcReport(
            forgotten=forgotten,
            paid=paid,
            owing={**owing, **still_owing},
            devices=self._remove_orphans(),
            calls=self._ledger.prune_calls(time.time() - log.keep_days * 86400, log.keep_calls),
        )

    def _lost(self) -> list[Row]:
        return [row for row in self._ledger.all() if row.record.lost and row.record.state is not State.DEBT]

    def _debt_of(self, vif_id: str) -> Row | None:
        """The debt to pay now: none while its script has the VIF plugged anew, and will undo both."""
        current = self._ledger.current(vif_id)
        debts = self._ledger.debts(vif_id)
        if current is None or current.record.script is None:
            return debts[0] if debts else None
        busy = current.record.script.name
        return next(
            (debt for debt in debts if debt.record.script is None or debt.record.script.name != busy), None
        )

    def _all(self, rows: list[Row], present: Callable[[str], Row | None]) -> tuple[list[str], dict[str, str]]:
        """Disconnect each, if it is still as ``present`` finds it: the ids that are done, and why others are not."""

        def one(vif_id: str) -> str | None:
            with self._locks.try_vif(vif_id) as free:
                row = present(vif_id) if free else None
                if row is None:
                    return "another call is at work on it" if not free else None
                try:
                    owed = self._work.disconnect(row)
                except VifplugError as error:
                    owed = error
                return owed.message if owed is not None else None

        ids = list(dict.fromkeys(row.record.id for row in rows))
        answers = dict(zip(ids, side_by_side(one, ids, self._config.workers), strict=True))
        return [i for i in ids if answers[i] is None], {
            i: why for i, why in answers.items() if why is not None
        }

    def _remove_orphans(self) -> list[str]:
        removed: list[str] = []
        for link in self._devices.orphans({row.record.id for row in self._ledger.all()}):
            vif_id = self._devices.vif_of(link)
            with self._locks.try_vif(vif_id) as free:
                if free and self._ledger.current(vif_id) is None:
                    self._devices.remove_orphan(link)
                    removed.append(link.name)
        return removed
