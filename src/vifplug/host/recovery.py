"""After a crash, a reboot, and for debts: bring record, kernel and backends to agree again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..config import Config
from ..errors import VifplugError
from .devices import Devices
from .ledger import Ledger, Row
from .locks import Locks
from .pool import side_by_side
from .residents import end_ownerless
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
        end_ownerless(self._ledger)
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
        end_ownerless(self._ledger)
        lost = [row.record.id for row in self._ledger.all() if self._is_lost(row)]
        forgotten, owing = self._all(lost, self._lost)
        debts = [row.record.id for row in self._ledger.debts() if row.record.id not in owing]
        paid, still_owing = self._all(debts, self._payable)
        log = self._config.log
        return GcReport(
            forgotten=forgotten,
            paid=paid,
            owing={**owing, **still_owing},
            devices=self._remove_orphans(),
            calls=self._ledger.prune_calls(time.time() - log.keep_days * 86400, log.keep_calls),
        )

    def _lost(self, vif_id: str) -> list[Row]:
        current = self._ledger.current(vif_id)
        return [current] if current is not None and self._is_lost(current) else []

    def _is_lost(self, row: Row) -> bool:
        return row.record.lost and row.record.state is not State.DEBT

    def _payable(self, vif_id: str) -> list[Row]:
        """The debts to pay now: not those whose script has the VIF plugged anew, and will undo both."""
        current = self._ledger.current(vif_id)
        busy = current.record.script.name if current and current.record.script else None
        return [
            debt
            for debt in self._ledger.debts(vif_id)
            if busy is None or debt.record.script is None or debt.record.script.name != busy
        ]

    def _all(self, ids: Iterable[str], due: Callable[[str], list[Row]]) -> tuple[list[str], dict[str, str]]:
        """Disconnect what is still ``due`` once its VIF is locked: the ids that are done, and why others are not."""

        def one(vif_id: str) -> str | None:
            with self._locks.try_vif(vif_id) as free:
                if not free:
                    return "another call is at work on it"
                self._work.kill_leftovers(vif_id)
                rows = due(vif_id)
                failures = [owed.message for row in rows if (owed := self._disconnect(row))]
                return "; ".join(failures) if failures or not rows else None

        ids = list(dict.fromkeys(ids))
        answers = dict(zip(ids, side_by_side(one, ids, self._config.workers), strict=True))
        return [i for i in ids if answers[i] is None], {i: why for i, why in answers.items() if why}

    def _disconnect(self, row: Row) -> VifplugError | None:
        try:
            return self._work.disconnect(row)
        except VifplugError as error:
            return error

    def _remove_orphans(self) -> list[str]:
        removed: list[str] = []
        for link in self._devices.orphans({row.record.id for row in self._ledger.all()}):
            vif_id = self._devices.vif_of(link)
            with self._locks.try_vif(vif_id) as free:
                if free and self._ledger.current(vif_id) is None:
                    self._devices.remove_orphan(link)
                    removed.append(link.name)
        return removed
