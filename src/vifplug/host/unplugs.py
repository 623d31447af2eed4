"""Unplug many VIFs that have no script: two commits and one removal of devices for all of them.

Such a VIF needs nothing that another would have to wait for, and a thread for each costs more than
the work. Whatever is out of the ordinary is left alone here, and goes the way of a single unplug.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ..errors import VifplugError
from ..script.marks import Mark
from .devices import Devices
from .ledger import Ledger, Row
from .locks import Locks
from .pool import affordable
from .results import State, Unplugged
from .steps import OnStep, Steps

#: VIFs in one go; each holds a descriptor, for its lock
_AT_ONCE = 256


class PlainUnplugs:
    """Unplugs of VIFs without a script, together."""

    def __init__(self, ledger: Ledger, locks: Locks, devices: Devices, on_step: OnStep | None) -> None:
        self._ledger = ledger
        self._locks = locks
        self._devices = devices
        self._on_step = on_step

    def unplug(self, vif_ids: Sequence[str]) -> Iterator[Unplugged]:
        """Unplug those that are plugged, have no script and are not at work elsewhere; the others are not answered."""
        many = affordable(_AT_ONCE)
        for start in range(0, len(vif_ids), many):
            try:
                yield from self._unplug(vif_ids[start : start + many])
            except VifplugError:  # a single unplug goes on from what is on record, and says what is wrong
                return

    def _unplug(self, vif_ids: Sequence[str]) -> list[Unplugged]:
        started = time.monotonic()
        with ExitStack() as held:
            rows = [row for vif_id in vif_ids if (row := self._take(vif_id, held))]
            if len(rows) <= 1:
                return []
            with self._told(rows, "intent"), self._ledger.one_commit() as ledger:
                rows = [ledger.begin_unplug(row, Mark.new().to_text()) for row in rows]
            with self._told(rows, "remove device"):
                self._devices.remove_all([row.record.vif for row in rows if row.record.vif.kept_here])
            with self._told(rows, "outcome"), self._ledger.one_commit() as ledger:
                for row in rows:
                    ledger.unplugged(row, [])
        seconds = time.monotonic() - started
        return [
            Unplugged(id=row.record.id, generation=row.record.generation, changed=True, seconds=seconds)
            for row in rows
        ]

    def _take(self, vif_id: str, held: ExitStack) -> Row | None:
        """The VIF, with its lock held from now on, if it is one for us."""
        with ExitStack() as lock:
            if not lock.enter_context(self._locks.try_vif(vif_id)) or self._ledger.marks(vif_id):
                return None
            row = self._ledger.current(vif_id)
            if row is None or row.record.state is not State.PLUGGED or row.record.script is not None:
                return None
            held.enter_context(lock.pop_all())
            return row

    @contextmanager
    def _told(self, rows: Sequence[Row], name: str) -> Iterator[None]:
        """One step for all of them."""
        with ExitStack() as steps:
            for row in rows:
                text = row.record.vif.devname if name == "remove device" else ""
                steps.enter_context(Steps(row.record.id, self._on_step).step(name, text))
            yield
