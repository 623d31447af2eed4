"""The ledger: what this host has plugged, is doing, and still owes; on disk before anything happens.

Each verb commits twice, its intent and its outcome. A row stays until its VIF is undone, with the
request that it was plugged with.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DeviceTaken, NotPlugged, VifplugError
from ..model import Vif
from .backup import Backups
from .database import Database
from .locks import Locks
from .results import CallRecord, Record, ScriptRef, State, VifCount
from .rows import COLUMNS, Row, as_json, read_row

__all__ = ["Ledger", "Row"]


class Ledger:
    """The ledger of one state directory; ``boot_id`` is the boot we live in."""

    def __init__(self, state_dir: Path, boot_id: str) -> None:
        self._boot_id = boot_id
        self._database = Database(state_dir)
        #: under this name it marks the devices that it owns
        self.id = self._database.id

    def close(self) -> None:
        self._database.close()

    def backups(self, locks: Locks) -> Backups:
        """The backups of this ledger."""
        return Backups(self._database, locks)

    @contextmanager
    def one_commit(self) -> Iterator[Ledger]:
        """This ledger, whose writes are made by one commit as the block ends: all of them, or none."""
        gathering = copy(self)
        gathering._database = self._database.gathering()
        yield gathering
        gathering._database.commit()

    # --- questions ---------------------------------------------------------------------------

    def current(self, vif_id: str) -> Row | None:
        """The VIF as it stands now; debts of former generations are not it."""
        rows = self._select("WHERE id = ? AND state != 'debt'", vif_id)
        return rows[0] if rows else None

    def debts(self, vif_id: str | None = None) -> list[Row]:
        if vif_id is None:
            return self._select("WHERE state = 'debt' ORDER BY changed")
        return self._select("WHERE id = ? AND state = 'debt' ORDER BY generation DESC", vif_id)

    def unfinished(self) -> list[Row]:
        """The VIFs in the middle of something: by another process, or by one that died."""
        return self._select(
            "WHERE state IN ('plugging', 'updating', 'unplugging') OR mark IS NOT NULL ORDER BY changed"
        )

    def lost(self) -> list[Row]:
        """The VIFs plugged, or in the middle of something, in a boot before this one."""
        return self._select("WHERE boot_id != ? AND state != 'debt' ORDER BY created", self._boot_id)

    def arriving(self) -> list[Row]:
        """The VIFs plugged, or just being plugged, for a guest that a live migration is to bring; the oldest first."""
        states = "('plugging', 'plugged', 'updating')"
        rows = self._select(f"WHERE state IN {states} AND instr(request, '\"destination\"') ORDER BY changed")
        return [row for row in rows if row.record.request.arriving]

    def ids(self) -> set[str]:
        """The VIFs on record, debts among them."""
        return {vif_id for (vif_id,) in self._database.query("SELECT id FROM vif")}

    def on_devices(self, names: Iterable[str]) -> set[str]:
        """The plugged VIFs whose device, or its master, has one of these names."""
        wanted = msgspec.json.encode(list(names)).decode()
        found = self._database.query(
            "SELECT id FROM vif WHERE devname IN (SELECT value FROM json_each(?1)) AND state != 'debt'"
            " UNION SELECT id FROM vif WHERE master IN (SELECT value FROM json_each(?1)) AND state != 'debt'",
            wanted,
        )
        return {vif_id for (vif_id,) in found}

    def marks(self, vif_id: str) -> list[str]:
        """What the processes of verbs that have no outcome yet carry, be it on a debt or on the VIF itself."""
        return [
            mark
            for (mark,) in self._database.query(
                "SELECT mark FROM vif WHERE id = ? AND mark IS NOT NULL", vif_id
            )
        ]

    def all(
        self, state: State | None = None, *, limit: int | None = None, after: int | str | None = None
    ) -> list[Row]:
        """The VIFs, oldest first: those plugged ``after`` a generation or a VIF, and ``limit`` of them at most.

        Raises NotPlugged when that VIF is not on record.
        """
        condition = f"state = '{state.value}' AND" if state is not None else ""
        return self._select(
            f"WHERE {condition} generation > ? ORDER BY generation LIMIT ?",
            self._generation(after) if after is not None else -1,
            limit if limit is not None else -1,
        )

    def _generation(self, place: int | str) -> int:
        if isinstance(place, int) or place.isdecimal():
            return int(place)
        [(found,)] = self._database.query("SELECT max(generation) FROM vif WHERE id = ?", place)
        if found is None:
            raise NotPlugged(
                f"VIF {place} is not on record on this host any more: go on after a generation", vif_id=place
            )
        return int(found)

    def generation(self) -> int:
        """The highest that a plug has had."""
        [(value,)] = self._database.query("SELECT value FROM meta WHERE key = 'generation'")
        return int(value)

    def counts(self) -> list[VifCount]:
        """How many VIFs there are in each state, of each type; states and types that nothing has are left out."""
        found = self._database.query("SELECT state, type, count(*) FROM vif GROUP BY state, type")
        return [VifCount(state=State(state), type=type_, vifs=vifs) for state, type_, vifs in found]

    def calls(self, vif_id: str) -> list[CallRecord]:
        """The script calls kept for a VIF, oldest first."""
        rows = self._database.query("SELECT record FROM call WHERE vif_id = ? ORDER BY number", vif_id)
        return [msgspec.json.decode(record, type=CallRecord) for (record,) in rows]

    def info(self, digest: str) -> dict[str, Any] | None:
        """The script's answer to info, kept under its digest; None when it was never asked."""
        rows = self._database.query("SELECT reply FROM info WHERE digest = ?", digest)
        return msgspec.json.decode(rows[0][0]) if rows else None

    def check_name(self, vif: Vif) -> None:
        """Raise DeviceTaken when another VIF on record has this one's device name."""
        taken = "SELECT 1 FROM vif WHERE devname = ? AND id != ? AND state != 'debt'"
        if self._database.query(taken, vif.devname, vif.id):
            raise self._clash(vif)

    # --- intents and outcomes ----------------------------------------------------------------

    def begin_plug(self, vif: Vif, script: ScriptRef | None, mark: str, owner: int | None = None) -> Row:
        """The intent to plug, with a new generation. Raises DeviceTaken when another VIF has the name.

        A current row of the same VIF (one that a reboot took) makes room for it.
        """
        now = time.time()

        def write(connection: sqlite3.Connection) -> int:
            generation = _next_generation(connection)
            connection.execute("DELETE FROM vif WHERE id = ? AND state != 'debt'", (vif.id,))
            connection.execute(
                f"INSERT INTO vif ({COLUMNS}, type) VALUES ({', '.join('?' * 18)})",  # noqa: S608  # constants
                (
                    vif.id, generation, State.PLUGGING, vif.devname, as_json(vif), as_json(vif), None, as_json(script),
                    "{}", None, self._boot_id, mark, 0, None, now, now, owner, vif.type,
                ),
            )  # fmt: skip
            return generation

        try:
            generation = self._database.write(write)
        except sqlite3.IntegrityError:
            raise self._clash(vif) from None
        record = Record(
            id=vif.id, state=State.PLUGGING, generation=generation, vif=vif, request=vif, script=script,
            device=None, boot_id=self._boot_id, created=now, changed=now, owner=owner,
        )  # fmt: skip
        return Row(record=record, reply={}, master=None, mark=mark)

    def plugged(
        self, row: Row, vif: Vif, reply: dict[str, Any], master: str | None, calls: Iterable[CallRecord]
    ) -> None:
        """The outcome of plug or update: connected. Debts of the same request are taken over by it."""
        record = row.record
        request = record.next_request or record.request

        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            connection.execute(
                "UPDATE vif SET state = 'plugged', request = ?, vif = ?, type = ?, next_request = NULL, reply = ?,"
                " master = ?, mark = NULL, error = NULL, attempts = 0, boot_id = ?, changed = ?, owner = ?"
                " WHERE id = ? AND generation = ?",
                (
                    as_json(request), as_json(vif), vif.type, as_json(reply), master, self._boot_id, time.time(),
                    record.owner, record.id, record.generation,
                ),
            )  # fmt: skip
            _forget_same_debts(connection, record, request)
            return True

        self._database.write(write)

    def begin_update(self, row: Row, request: Vif, mark: str) -> Row:
        """The intent to bring a plugged VIF to another request; the present one, that of ``row``, is kept until
        it is done."""
        record = msgspec.structs.replace(row.record, state=State.UPDATING, next_request=request)
        self._set(
            record, "state = 'updating', next_request = ?, mark = ?, request = ?, vif = ?",
            as_json(request), mark, as_json(record.request), as_json(record.vif),
        )  # fmt: skip
        return msgspec.structs.replace(row, record=record, mark=mark)

    def update_failed(self, row: Row, error: VifplugError, calls: Iterable[CallRecord]) -> None:
        """The outcome of an update that could not be made: plugged as before, with the error on record."""
        why = error.as_dict()
        if (known_from := (row.record.error or {}).get("known_from")) is not None:
            why["known_from"] = known_from  # as little is known of it as before
        self._set(
            row.record,
            "state = 'plugged', next_request = NULL, mark = NULL, error = ?",
            as_json(why),
            calls=calls,
        )

    def expected_anew(self, row: Row) -> None:
        """Another migration of a guest whose VIF is here already begins: it counts from now on."""
        self._set(row.record, "mark = NULL")

    def begin_unplug(self, row: Row, mark: str) -> Row:
        """The intent to unplug. A debt stays a debt while it is tried again."""
        record = row.record
        if record.state is State.DEBT:
            self._set(record, "mark = ?", mark)
        else:
            record = msgspec.structs.replace(record, state=State.UNPLUGGING)
            self._set(record, "state = 'unplugging', mark = ?", mark)
        return msgspec.structs.replace(row, record=record, mark=mark)

    def unplugged(self, row: Row, calls: Iterable[CallRecord]) -> None:
        """The outcome of unplug, or of undoing a plug: nothing is left, and the row goes.

        Debts of the same request go with it: the script was told just that.
        """
        record = row.record

        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            _forget_same_debts(connection, record, record.request)
            connection.execute(
                "DELETE FROM vif WHERE id = ? AND generation = ?", (record.id, record.generation)
            )
            return True

        self._database.write(write)

    def owes(self, row: Row, error: VifplugError, calls: Iterable[CallRecord]) -> None:
        """The outcome of an unplug that could not do everything: a debt, until it is paid.

        A plug that is tried and fails again and again owes the same each time: that is one debt.
        """
        record = row.record

        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            before = _forget_same_debts(connection, record, record.request)
            connection.execute(
                "UPDATE vif SET state = 'debt', mark = NULL, attempts = attempts + 1 + ?, error = ?, changed = ?"
                " WHERE id = ? AND generation = ?",
                (before, as_json(error.as_dict()), time.time(), record.id, record.generation),
            )
            return True

        self._database.write(write)

    def begin_check(self, row: Row, mark: str) -> Row:
        """Before a call that changes no state: its processes can be found, should ours die."""
        record = row.record
        self._database.write(
            lambda connection: (
                connection.execute(
                    "UPDATE vif SET mark = ? WHERE id = ? AND generation = ?",
                    (mark, record.id, record.generation),
                ).rowcount
            )
        )
        return msgspec.structs.replace(row, mark=mark)

    def unmark(self, vif_id: str, calls: Iterable[CallRecord] = ()) -> None:
        """Nothing of the VIF's scripts runs any more; ``calls`` are those of a check."""

        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            connection.execute("UPDATE vif SET mark = NULL WHERE id = ?", (vif_id,))
            return True

        self._database.write(write)

    def keep_info(self, digest: str, reply: dict[str, Any]) -> None:
        text = msgspec.json.encode(reply).decode()
        self._database.write(
            lambda c: c.execute("INSERT OR REPLACE INTO info VALUES (?, ?)", (digest, text)).rowcount
        )

    def forget_debts(self, vif_id: str) -> int:
        """Drop the debts of a VIF unpaid; how many there were."""
        return int(
            self._database.write(
                lambda c: c.execute("DELETE FROM vif WHERE id = ? AND state = 'debt'", (vif_id,)).rowcount
            )
        )

    def residents(self) -> list[tuple[str, str]]:
        """Mark and owner of every process that stays up."""
        return [(mark, owner) for mark, owner in self._database.query("SELECT mark, owner FROM resident")]

    def keep_resident(self, mark: str, owner: str) -> None:
        self._database.write(
            lambda c: c.execute("INSERT INTO resident VALUES (?, ?)", (mark, owner)).rowcount
        )

    def drop_resident(self, mark: str) -> None:
        self._database.write(lambda c: c.execute("DELETE FROM resident WHERE mark = ?", (mark,)).rowcount)

    def prune_calls(self, before: float, keep: int) -> int:
        """Drop calls older than ``before`` (seconds since 1970), and all but the last ``keep`` of each VIF."""

        def write(connection: sqlite3.Connection) -> int:
            old = connection.execute("DELETE FROM call WHERE started < ?", (before,)).rowcount
            many = connection.execute(
                "DELETE FROM call WHERE number IN (SELECT number FROM (SELECT number, row_number() OVER"
                " (PARTITION BY vif_id ORDER BY number DESC) AS place FROM call) WHERE place > ?)",
                (keep,),
            ).rowcount
            return int(old + many)

        return int(self._database.write(write))

    # --- what a rebuild brings back -----------------------------------------------------------

    def put(self, row: Row) -> bool:
        """Put a record back as it was; False when another VIF has its device name, or a newer record its id."""
        record = row.record
        values = (
            record.id, record.generation, record.state, record.vif.devname, as_json(record.request),
            as_json(record.vif), as_json(record.next_request), as_json(record.script), as_json(row.reply), row.master,
            record.boot_id, row.mark, record.attempts, as_json(record.error), record.created, record.changed,
            record.owner, record.vif.type,
        )  # fmt: skip
        sql = f"INSERT OR IGNORE INTO vif ({COLUMNS}, type) VALUES ({', '.join('?' * 18)})"  # noqa: S608  # constants
        return bool(self._database.write(lambda connection: connection.execute(sql, values).rowcount))

    def put_calls(self, calls: Iterable[CallRecord]) -> None:
        """Put script calls back into the log."""
        self._database.write(lambda connection: _keep_calls(connection, calls))

    def continue_as(self, ledger_id: str, generation: int, after: str) -> None:
        """Go on as the ledger of this id, which has come to this generation; ``after``: what was set aside for it."""

        def write(connection: sqlite3.Connection) -> bool:
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("id", ledger_id), ("generation", str(generation)), ("rebuilt", after)],
            )
            return True

        self._database.write(write)
        self.id = self._database.id = ledger_id

    def adopt(self, vif: Vif, master: str | None, error: VifplugError) -> Row | None:
        """Put a VIF on record of which there is a device only; None when another VIF has its device name."""
        generation = int(self._database.write(_next_generation))
        now = time.time()
        record = Record(
            id=vif.id, state=State.PLUGGED, generation=generation, vif=vif, request=vif, error=error.as_dict(),
            boot_id=self._boot_id, created=now, changed=now,
        )  # fmt: skip
        row = Row(record=record, reply={}, master=master, mark=None)
        return row if self.put(row) else None

    def take_script(self, row: Row, vif: Vif, script: ScriptRef | None, error: dict[str, Any] | None) -> Row:
        """The script of an adopted VIF has been found: by asking, or by its being plugged again."""
        record = msgspec.structs.replace(row.record, vif=vif, request=vif, script=script, error=error)
        self._set(
            record, "vif = ?, request = ?, script = ?, error = ?",
            as_json(vif), as_json(vif), as_json(script), as_json(record.error),
        )  # fmt: skip
        return msgspec.structs.replace(row, record=record)

    # --- inside ------------------------------------------------------------------------------

    def _set(self, record: Record, assignments: str, *values: Any, calls: Iterable[CallRecord] = ()) -> None:
        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            connection.execute(
                f"UPDATE vif SET {assignments}, changed = ? WHERE id = ? AND generation = ?",  # noqa: S608  # ours
                (*values, time.time(), record.id, record.generation),
            )
            return True

        self._database.write(write)

    def _select(self, condition: str, *values: Any) -> list[Row]:
        rows = self._database.query(f"SELECT {COLUMNS} FROM vif {condition}", *values)  # noqa: S608  # constants
        try:
            return [read_row(row, self._boot_id) for row in rows]
        except (msgspec.DecodeError, VifplugError, ValueError) as error:
            raise self._database.corrupt(f"a row cannot be read: {error}") from error

    def _clash(self, vif: Vif) -> VifplugError:
        rows = self._select("WHERE devname = ? AND state != 'debt'", vif.devname)
        other = rows[0].record.id if rows else "another VIF"
        return DeviceTaken(
            f"the device name {vif.devname} is taken by VIF {other} on this host: unplug that one first, or bind"
            f" another devname to VIF {vif.id}",
            device=vif.devname,
            vif_id=vif.id,
        )


def _next_generation(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation' RETURNING value"
    ).fetchone()
    return int(row[0])


def _forget_same_debts(connection: sqlite3.Connection, record: Record, request: Vif) -> int:
    """Drop debts of other generations that owe just this request to the same script; how often they had been tried."""
    return sum(
        attempts
        for (attempts,) in connection.execute(
            "DELETE FROM vif WHERE id = ? AND generation != ? AND state = 'debt' AND request = ?"
            " AND json_extract(script, '$.name') IS ? RETURNING attempts",
            (record.id, record.generation, as_json(request), record.script.name if record.script else None),
        )
    )


def _keep_calls(connection: sqlite3.Connection, calls: Iterable[CallRecord]) -> bool:
    connection.executemany(
        "INSERT INTO call (vif_id, started, record) VALUES (?, ?, ?)",
        [(call.vif_id, call.started, as_json(call)) for call in calls],
    )
    return True
