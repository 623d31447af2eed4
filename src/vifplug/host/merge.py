"""What is true of what several ledgers say: the damaged one as far as it could be read, its backup, and the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from ..errors import PartlyKnown
from .adoption import Marked
from .ledger import Row
from .results import CallRecord, State
from .salvage import Key, Salvaged

#: where a record is from
Source = Literal["ledger", "backup"]

#: generations that may have been given out since what could be read was written
_MARGIN = 1_000_000


class Merged(msgspec.Struct, kw_only=True):
    """The new ledger's content."""

    #: None when nothing says it
    ledger_id: str | None
    generation: int
    #: each with "ledger" or "backup", the newest first; no two have one device name
    rows: list[tuple[Row, Source]]
    not_restored: list[str]
    used_backup: bool
    calls: list[CallRecord]
    infos: dict[str, dict[str, Any]]
    residents: list[tuple[str, str]]


def merge(
    damaged: Sequence[Salvaged], backup: Salvaged | None, devices: Sequence[Marked], this_boot: str
) -> Merged:
    """One ledger out of the ``damaged`` (of one that was set aside in parts, the newest first) and the backup."""
    sources = [*damaged, *([backup] if backup else [])]
    calls = _calls(sources)
    ledger_id = _ledger_id(sources, devices)
    ours = {device.vif_id: device for device in devices if device.ledger == ledger_id}
    chosen = _Choosing(sources, backup, calls, ours, this_boot)
    rows = list(chosen.rows())
    seen = [source.generation or 0 for source in sources]
    seen += [generation for source in sources for _, generation in (*source.rows, *source.unreadable)]
    seen += [call.generation for call in calls]
    return Merged(
        ledger_id=ledger_id,
        generation=(max(seen, default=0) or int(time.time())) + _MARGIN,
        rows=rows,
        not_restored=[*chosen.not_restored, *_may_be_missing(damaged, backup)],
        used_backup=backup is not None and any(source == "backup" for _, source in rows),
        calls=calls,
        infos={digest: info for source in reversed(sources) for digest, info in source.infos.items()},
        residents=list(dict.fromkeys(resident for source in damaged for resident in source.residents)),
    )


class _Choosing:
    """Which rows to take, and as what."""

    def __init__(
        self,
        sources: Sequence[Salvaged],
        backup: Salvaged | None,
        calls: Sequence[CallRecord],
        ours: dict[str, Marked],
        this_boot: str,
    ) -> None:
        self._sources = sources
        self._backup = backup
        #: the last call of each plug
        self._last = {(call.vif_id, call.generation): call for call in calls}
        self._ours = ours
        self._names = {device.link.name: device.vif_id for device in ours.values()}
        self._this_boot = this_boot
        self.not_restored: list[str] = []

    def rows(self) -> Iterator[tuple[Row, Source]]:
        keys = {key for source in self._sources for key in source.rows}
        current: dict[str, int] = {}
        names: dict[str, str] = {}
        for key in sorted(keys, key=lambda key: key[1], reverse=True):
            found = self._newest(key)
            if found is None:
                continue
            row, source = found
            record = row.record
            if record.state is not State.DEBT:
                if record.id in current:  # it was plugged anew since
                    continue
                holder = self._names.get(record.vif.devname) or names.get(record.vif.devname)
                if holder not in (None, record.id):
                    self._drop(row, f"its device name {record.vif.devname} has become that of VIF {holder}")
                    continue
                current[record.id] = record.generation
                names[record.vif.devname] = record.id
            row = self._of_this_boot(row)
            yield self._as_it_is_now(row) if source == "backup" else row, source
        for read in self._sources:
            for (vif_id, generation), why in read.unreadable.items():
                if (vif_id, generation) not in keys:
                    self.not_restored.append(f"the record of VIF {vif_id}, generation {generation}: {why}")

    def _newest(self, key: Key) -> tuple[Row, Source] | None:
        """What was written last of a record, unless a ledger that lacks nothing and is newer does not have it."""
        found = [source for source in self._sources if key in source.rows]
        for source in list(found):
            if any(_supersedes(other, source, key, self._backup) for other in self._sources):
                found.remove(source)
        if not found:
            return None
        best = max(found, key=lambda source: source.rows[key].record.changed)
        row = best.rows[key]
        last = self._last.get(key)
        if best is self._backup and last is not None and last.started > row.record.changed and _undone(last):
            self._drop(row, "its unplug is in the log of script calls, later than the backup")
            return None
        return row, "backup" if best is self._backup else "ledger"

    def _of_this_boot(self, row: Row) -> Row:
        """No tap outlives its boot: what says otherwise of a VIF whose tap is there is damaged."""
        record = row.record
        if record.state is State.DEBT or record.id not in self._ours or not record.lost:
            return row
        record = msgspec.structs.replace(record, boot_id=self._this_boot, lost=False)
        return msgspec.structs.replace(row, record=record)

    def _as_it_is_now(self, row: Row) -> Row:
        """A record from the backup, which knows nothing of what came after it."""
        record = row.record
        if record.state is State.DEBT or record.boot_id != self._this_boot:
            return row
        if record.id in self._ours:
            if record.state is State.PLUGGED:
                return msgspec.structs.replace(row, mark=None)
            # never as in the middle of something: its guest may live by now, and recover would unplug it
            return self._noted(row, f"was {record.state} when the backup was made, and its device is there")
        if record.vif.made_here:
            return self._noted(
                row, "is in the backup, but its device is gone: it may have been unplugged since"
            )
        return self._noted(row, "is in the backup; whether it has been unplugged since, nothing here can say")

    def _noted(self, row: Row, what: str) -> Row:
        error = PartlyKnown(
            f"the ledger was rebuilt from its backup; this VIF {what}: unplug it, or plug it again with its binding",
            known_from="backup",
        )
        record = msgspec.structs.replace(
            row.record, state=State.PLUGGED, next_request=None, error=error.as_dict()
        )
        return msgspec.structs.replace(row, record=record, mark=None)

    def _drop(self, row: Row, why: str) -> None:
        self.not_restored.append(
            f"the record of VIF {row.record.id}, generation {row.record.generation}: {why}"
        )


def _supersedes(newer: Salvaged, older: Salvaged, key: Key, backup: Salvaged | None) -> bool:
    """Whether a record in ``older`` was gone when ``newer`` was written."""
    if newer is older or not newer.complete or key in newer.rows or key in newer.unreadable:
        return False
    if newer.generation is None or older.generation is None:
        return False
    if older is backup:
        return newer.generation >= older.generation
    return newer is backup and newer.generation > older.generation


def _undone(call: CallRecord) -> bool:
    return call.verb == "unplug" and call.outcome == "done"


def _calls(sources: Sequence[Salvaged]) -> list[CallRecord]:
    """The script calls of all, each once, in their order."""
    found = {
        (call.started, call.vif_id, call.generation, call.verb, call.attempt): call
        for source in sources
        for call in source.calls
    }
    return [found[place] for place in sorted(found)]


def _ledger_id(sources: Sequence[Salvaged], devices: Sequence[Marked]) -> str | None:
    """What the ledgers call themselves; where they disagree or cannot say, what the devices are marked with."""
    said = list(dict.fromkeys(source.ledger_id for source in sources if source.ledger_id))
    if len(said) == 1:
        return said[0]
    ids = {vif_id for source in sources for vif_id, _ in source.rows}
    marks = [device.ledger for device in devices if not ids or device.vif_id in ids]
    known = [mark for mark in marks if not said or mark in said]
    if len(set(known)) == 1:
        return known[0]
    if said:
        return max(said, key=known.count)
    every = {device.ledger for device in devices}
    return every.pop() if len(every) == 1 else None


def _may_be_missing(damaged: Sequence[Salvaged], backup: Salvaged | None) -> Iterator[str]:
    if any(source.complete for source in damaged):
        return
    since = "ever"
    if backup is not None and backup.complete:
        since = "since the backup of " + time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(backup.written))
    yield (
        f"what was recorded {since} and has left no device here: debts, and VIFs whose device a script or libvirt"
        " makes; have the platform plug its VIFs again"
    )
