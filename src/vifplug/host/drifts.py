"""Record and kernel compared, for one VIF and for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .devices import Devices, Links
from .ledger import Ledger, Row
from .locks import Locks
from .netlink import Link
from .results import Drift, State
from .watch import LinkChange

#: rows read at once: ten thousand at a time would be felt
_PAGE = 500


class Drifts:
    """How the kernel differs from what is on record. Everything raises a LedgerError when that cannot be read,
    and OSError when the kernel cannot be asked."""

    def __init__(self, ledger: Ledger, locks: Locks, devices: Devices) -> None:
        self._ledger = ledger
        self._locks = locks
        self._devices = devices

    def of(self, vif_id: str) -> list[Drift] | None:
        """What is not as it was plugged; None while a call is at work on the VIF.

        Nothing for a VIF that is not plugged, or that a reboot took: that is for others to see to. A change
        that failed counts ("last change"), as its backend may not be as it was; and a record that a rebuilt
        ledger does not know whole ("record"), which nobody can repair but by plugging.
        """
        with self._locks.try_vif(vif_id) as free:
            if not free:
                return None
            row = self._ledger.current(vif_id)
            return self._of(row) if row is not None else []

    def suspects(self) -> Iterator[str]:
        """The VIFs that seem to differ, for which the kernel is asked once; those at work may be among them."""
        after, links = 0, self._devices.links()
        while rows := self._ledger.all(State.PLUGGED, limit=_PAGE, after=after):
            for row in rows:
                if self._of(row, links):
                    yield row.record.id
            after = rows[-1].record.generation

    def concerned(self, changes: Iterable[LinkChange]) -> set[str]:
        """The VIFs that these changes of devices may concern."""
        ids: set[str] = set()
        names: set[str] = set()
        for change in changes:
            sides = [link for link in (change.before, change.after) if link is not None]
            ids.update(vif_id for link in sides if (vif_id := self._devices.vif_of(link)) is not None)
            if change.before is None or change.after is None or change.before.name != change.after.name:
                names.update(link.name for link in sides)
        return ids | self._ledger.on_devices(names) if names else ids

    def taken(self, changes: Iterable[LinkChange]) -> set[str]:
        """The VIFs whose tap a process has opened: a guest, or who just makes the tap."""
        found = [
            self._devices.vif_of(change.after) for change in changes if change.after and change.after.carrier
        ]
        return {vif_id for vif_id in found if vif_id is not None}

    def other_name(self, vif_id: str, name: str, links: Iterable[Link]) -> str | None:
        """What the device ``name`` that was made for a VIF is called now; None when it is not among these."""
        return next(
            (link.name for link in links if self._devices.vif_of(link) == vif_id and link.name != name), None
        )

    def _of(self, row: Row, links: Links | None = None) -> list[Drift]:
        record = row.record
        if record.state is not State.PLUGGED or record.lost:
            return []
        drift = self._devices.drift(record.vif, row.master, links)
        if record.error is not None:
            what, expected = ("record", "whole") if "known_from" in record.error else ("last change", "done")
            drift.append(Drift(what=what, expected=expected, found=record.error.get("message")))
        return drift
