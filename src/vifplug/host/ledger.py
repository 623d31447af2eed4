"""The ledger: what this host has plugged, is doing, and still owes. SQLite, on disk before anything happens.

WAL with synchronous=FULL: a commit that returned survives power loss. Each verb commits twice, its
intent and its outcome; commits that meet share one trip to the disk. A row stays until its
VIF is undone, with the request it was plugged with.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DeviceTaken, DiskFull, LedgerCorrupt, LedgerError, NoPermission, VifplugError
from ..model import Vif, from_json, to_json
from .results import CallRecord, Record, ScriptRef, State
from .together import Together

#: each entry brings a ledger one version further; the first makes it
MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE vif (
        id TEXT NOT NULL,
        generation INTEGER NOT NULL,
        state TEXT NOT NULL,
        devname TEXT NOT NULL,
        request TEXT NOT NULL,       -- what the caller asked for
        vif TEXT NOT NULL,           -- the same with the script's reply folded in
        next_request TEXT,           -- of an update in progress
        script TEXT,
        reply TEXT,
        master TEXT,                 -- the device's master when it was plugged
        boot_id TEXT NOT NULL,
        mark TEXT,                   -- what the processes of the verb in progress carry
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        PRIMARY KEY (id, generation)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX vif_one_current ON vif (id) WHERE state != 'debt';
    CREATE UNIQUE INDEX vif_one_device ON vif (devname) WHERE state != 'debt';
    CREATE INDEX vif_unsettled ON vif (state) WHERE state != 'plugged';
    CREATE TABLE call (
        number INTEGER PRIMARY KEY,
        vif_id TEXT NOT NULL,
        started REAL NOT NULL,
        record TEXT NOT NULL
    );
    CREATE INDEX call_vif ON call (vif_id, number);
    CREATE INDEX call_started ON call (started);
    CREATE TABLE info (digest TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
    """,
)

_COLUMNS = (
    "id, generation, state, devname, request, vif, next_request, script, reply, master, boot_id, mark,"
    " attempts, error, created, changed"
)
#: how long a writer of another process may hold the ledger before we give up, in seconds
_BUSY_SECONDS = 10.0

Write = Callable[[sqlite3.Connection], Any]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table ``vif``: a Record and what only the host needs to know."""

    record: Record
    reply: dict[str, Any]
    master: str | None
    mark: str | None


class Ledger:
    """The ledger of one state directory; ``boot_id`` is the boot we live in."""

    def __init__(self, state_dir: Path, boot_id: str) -> None:
        self._path = state_dir / "ledger.db"
        self._boot_id = boot_id
        with self._explained():
            _make_state_dir(state_dir)
            self._writer = self._connect()
            self.id = self._prepare()
            self._reader = self._connect()
        self._reading = threading.Lock()
        self._commits: Together[Write, Any] = Together(self._commit)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

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
        return self._select("WHERE state IN ('plugging', 'updating', 'unplugging') ORDER BY changed")

    def all(self) -> list[Row]:
        return self._select("ORDER BY created, id")

    def calls(self, vif_id: str) -> list[CallRecord]:
        """The script calls kept for a VIF, oldest first."""
        rows = self._query("SELECT record FROM call WHERE vif_id = ? ORDER BY number", vif_id)
        return [msgspec.json.decode(record, type=CallRecord) for (record,) in rows]

    def info(self, digest: str) -> dict[str, Any] | None:
        """The script's answer to info, kept under its digest; None when it was never asked."""
        rows = self._query("SELECT reply FROM info WHERE digest = ?", digest)
        return msgspec.json.decode(rows[0][0]) if rows else None

    # --- intents and outcomes ----------------------------------------------------------------

    def begin_plug(self, vif: Vif, script: ScriptRef | None, mark: str) -> Row:
        """The intent to plug, with a new generation. Raises DeviceTaken when another VIF has the name.

        A current row of the same VIF (one that a reboot took) makes room for it.
        """
        now = time.time()

        def write(connection: sqlite3.Connection) -> int:
            generation = _next_generation(connection)
            connection.execute("DELETE FROM vif WHERE id = ? AND state != 'debt'", (vif.id,))
            connection.execute(
                f"INSERT INTO vif ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  # constant
                (
                    vif.id, generation, State.PLUGGING, vif.devname, _json(vif), _json(vif), None, _json(script),
                    "{}", None, self._boot_id, mark, 0, None, now, now,
                ),
            )  # fmt: skip
            return generation

        try:
            generation = self._write(write)
        except sqlite3.IntegrityError:
            raise self._clash(vif) from None
        record = Record(
            id=vif.id, state=State.PLUGGING, generation=generation, vif=vif, request=vif, script=script,
            device=None, boot_id=self._boot_id, created=now, changed=now,
        )  # fmt: skip
        return Row(record=record, reply={}, master=None, mark=mark)

    def plugged(
        self, row: Row, vif: Vif, reply: dict[str, Any], master: str | None, calls: Iterable[CallRecord]
    ) -> None:
        """The outcome of plug or update: connected. Debts of the same script on this VIF are paid by it."""
        record = row.record
        request = record.next_request or record.request

        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            connection.execute(
                "UPDATE vif SET state = 'plugged', request = ?, vif = ?, next_request = NULL, reply = ?, master = ?,"
                " mark = NULL, error = NULL, attempts = 0, boot_id = ?, changed = ? WHERE id = ? AND generation = ?",
                (
                    _json(request), _json(vif), _json(reply), master, self._boot_id, time.time(),
                    record.id, record.generation,
                ),
            )  # fmt: skip
            if record.script is not None:
                connection.execute(
                    "DELETE FROM vif WHERE id = ? AND state = 'debt' AND json_extract(script, '$.name') = ?",
                    (record.id, record.script.name),
                )
            return True

        self._write(write)

    def begin_update(self, row: Row, request: Vif, mark: str) -> Row:
        """The intent to bring a plugged VIF to another request; the present one is kept until it is done."""
        record = msgspec.structs.replace(row.record, state=State.UPDATING, next_request=request)
        self._set(record, "state = 'updating', next_request = ?, mark = ?", _json(request), mark)
        return msgspec.structs.replace(row, record=record, mark=mark)

    def update_failed(self, row: Row, error: VifplugError, calls: Iterable[CallRecord]) -> None:
        """The outcome of an update that could not be made: plugged as before, with the error on record."""
        self._set(
            row.record, "state = 'plugged', next_request = NULL, mark = NULL, error = ?", _json(error.as_dict()),
            calls=calls,
        )  # fmt: skip

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
        """The outcome of unplug, or of undoing a plug: nothing is left, and the row goes."""
        record = row.record

        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            connection.execute(
                "DELETE FROM vif WHERE id = ? AND generation = ?", (record.id, record.generation)
            )
            return True

        self._write(write)

    def owes(self, row: Row, error: VifplugError, calls: Iterable[CallRecord]) -> None:
        """The outcome of an unplug that could not do everything: a debt, until it is paid."""
        self._set(
            row.record, "state = 'debt', mark = NULL, attempts = attempts + 1, error = ?", _json(error.as_dict()),
            calls=calls,
        )  # fmt: skip

    def keep_calls(self, calls: Iterable[CallRecord]) -> None:
        """Calls that change no state (check)."""
        self._write(lambda connection: _keep_calls(connection, calls))

    def keep_info(self, digest: str, reply: dict[str, Any]) -> None:
        text = msgspec.json.encode(reply).decode()
        self._write(lambda c: c.execute("INSERT OR REPLACE INTO info VALUES (?, ?)", (digest, text)).rowcount)

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

        return int(self._write(write))

    # --- inside ------------------------------------------------------------------------------

    def _set(self, record: Record, assignments: str, *values: Any, calls: Iterable[CallRecord] = ()) -> None:
        def write(connection: sqlite3.Connection) -> bool:
            _keep_calls(connection, calls)
            connection.execute(
                f"UPDATE vif SET {assignments}, changed = ? WHERE id = ? AND generation = ?",  # noqa: S608  # ours
                (*values, time.time(), record.id, record.generation),
            )
            return True

        self._write(write)

    def _write(self, write: Write) -> Any:
        with self._explained():
            return self._commits.do(write)

    def _commit(self, writes: list[Write]) -> list[Any]:
        """One transaction for all; one that breaks a rule is undone alone."""
        connection = self._writer
        connection.execute("BEGIN IMMEDIATE")
        try:
            answers: list[Any] = []
            for write in writes:
                connection.execute("SAVEPOINT one")
                try:
                    answers.append(write(connection))
                except sqlite3.IntegrityError as error:
                    connection.execute("ROLLBACK TO one")
                    answers.append(error)
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return answers

    def _query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._explained(), self._reading:
            return self._reader.execute(sql, values).fetchall()

    def _select(self, condition: str, *values: Any) -> list[Row]:
        rows = self._query(f"SELECT {_COLUMNS} FROM vif {condition}", *values)  # noqa: S608  # constants
        try:
            return [self._row(row) for row in rows]
        except (msgspec.DecodeError, VifplugError, ValueError) as error:
            raise self._corrupt(f"a row cannot be read: {error}") from error

    def _row(self, row: tuple[Any, ...]) -> Row:
        (vif_id, generation, state, _devname, request, vif, next_request, script, reply, master, boot_id, mark,
         attempts, error, created, changed) = row  # fmt: skip
        shown = from_json(vif)
        record = Record(
            id=vif_id,
            state=State(state),
            generation=generation,
            vif=shown,
            request=from_json(request) if request != vif else shown,
            next_request=from_json(next_request) if next_request else None,
            script=msgspec.json.decode(script, type=ScriptRef) if script else None,
            device=shown.devname if shown.made_here else None,
            boot_id=boot_id,
            lost=boot_id != self._boot_id,
            attempts=attempts,
            error=msgspec.json.decode(error) if error else None,
            created=created,
            changed=changed,
        )
        return Row(record=record, reply=msgspec.json.decode(reply or "{}"), master=master, mark=mark)

    def _clash(self, vif: Vif) -> VifplugError:
        rows = self._select("WHERE devname = ? AND state != 'debt'", vif.devname)
        other = rows[0].record.id if rows else "another VIF"
        return DeviceTaken(
            f"the device name {vif.devname} is taken by VIF {other} on this host: unplug that one first, or bind"
            f" another devname to VIF {vif.id}",
            device=vif.devname,
            vif_id=vif.id,
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _prepare(self) -> str:
        """Bring the ledger to our version; its id marks the devices that it owns."""
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise LedgerError(
                f"the ledger {self._path} was written by a newer vifplug (version {version}, this one knows"
                f" {len(MIGRATIONS)}): install that version again",
            )
        if version < len(MIGRATIONS):
            self._migrate()
        return str(self._writer.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()[0])

    def _migrate(self) -> None:
        writer = self._writer
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        version = writer.execute("PRAGMA user_version").fetchone()[0]  # another process may have come first
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            for statement in script.split(";"):
                writer.execute(statement)
            writer.execute(f"PRAGMA user_version = {number}")
        writer.execute(
            "INSERT OR IGNORE INTO meta VALUES ('id', ?), ('generation', '0')", (os.urandom(4).hex(),)
        )
        writer.execute("COMMIT")
        for part in (self._path.parent, self._path.parent.parent):  # the new names themselves
            file = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def _corrupt(self, what: str) -> LedgerCorrupt:
        return LedgerCorrupt(
            f"the ledger {self._path} is damaged ({what}): nothing was changed. Restore it from a backup, or move"
            f" {self._path.parent} away and plug the VIFs again",
            path=str(self._path),
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's and the file system's errors, in our words."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise NoPermission(
                    f"the state directory {self._path.parent} cannot be used: {error.strerror};"
                    " run as root, or set state_dir to a directory of yours"
                ) from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from error
            raise LedgerError(
                f"the state directory {self._path.parent} cannot be used: {error.strerror}"
            ) from error

    def _explain(self, error: sqlite3.Error) -> VifplugError:
        primary = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._corrupt(str(error))
        if primary == sqlite3.SQLITE_FULL:
            return self._full()
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LedgerError(
                f"the ledger {self._path} was locked by another process for more than {_BUSY_SECONDS:g} s:"
                " nothing was changed; try again, and see who holds it with 'fuser'",
            )
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            return NoPermission(
                f"the ledger {self._path} cannot be written ({error}): run as root, or set state_dir to a directory of"
                " yours",
            )
        return LedgerError(
            f"the ledger {self._path} failed: {error}; nothing was recorded", path=str(self._path)
        )

    def _full(self) -> DiskFull:
        return DiskFull(
            f"the disk that holds {self._path} is full: nothing was recorded; free some space and try again",
            path=str(self._path),
        )


def _json(value: object) -> str | None:
    if value is None:
        return None
    return (to_json(value) if isinstance(value, Vif) else msgspec.json.encode(value)).decode()


def _next_generation(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation' RETURNING value"
    ).fetchone()
    return int(row[0])


def _keep_calls(connection: sqlite3.Connection, calls: Iterable[CallRecord]) -> bool:
    connection.executemany(
        "INSERT INTO call (vif_id, started, record) VALUES (?, ?, ?)",
        [(call.vif_id, call.started, _json(call)) for call in calls],
    )
    return True


def _make_state_dir(path: Path) -> None:
    """The state directory, ours alone: what is recorded there decides what is run and removed later."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise LedgerError(f"state_dir {path} is not a directory")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise NoPermission(
            f"the state directory {path} must belong to the user who plugs (uid {os.geteuid()}) and be writable by"
            f" nobody else; it belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}:"
            f" 'chown {os.geteuid()} {path}; chmod 0700 {path}'",
        )
