"""The ledger's database: SQLite, shared by threads and processes, and its errors in our words.

WAL with synchronous=FULL: a commit that returned survives power loss. Writers of this process that
meet share one transaction, and so one trip to the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config.owners import owners_outside
from ..errors import LedgerCorrupt, LedgerError, LedgerReplaced, NoPermission
from .copies import copy, sync
from .gate import Gate
from .migrations import MIGRATIONS, bring_up
from .together import Together
from .troubles import Troubles

#: how long a writer of another process may hold the ledger before we give up, in seconds
_BUSY_SECONDS = 30.0

Write = Callable[[sqlite3.Connection], Any]


class Database:
    """The database of one state directory; ``id`` is the name under which it marks devices."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "ledger.db"
        self._gate = Gate(state_dir)
        self._troubles = Troubles(self.path, _BUSY_SECONDS)
        with self._troubles.explained():
            make_state_dir(state_dir)
            used = (state_dir / "locks").exists()
            with self._gate.shared(_BUSY_SECONDS) if used else contextlib.nullcontext():
                if used:
                    self._refuse_lost()
                self._open()
                self._file = _identity(self.path)
            self._gate.open()
        self._reading = threading.Lock()
        self._commits: Together[Write, Any] = Together(self._commit)

    def _open(self) -> None:
        self._writer = self._connect()
        try:
            self.id = self._prepare()
            self._reader = self._connect()
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        self._gate.close()

    def write(self, write: Write) -> Any:
        """Do ``write`` in a transaction, on disk when this returns; what it returns is passed on.

        Raises sqlite3.IntegrityError when it breaks a rule of the schema, else a LedgerError.
        """
        with self._troubles.explained():
            return self._commits.do(write)

    def gathering(self) -> Gathering:
        """The same database for writes that belong together."""
        return Gathering(self)

    def _commit(self, writes: list[Write]) -> list[Any]:
        """One transaction for all; one that breaks a rule is undone alone."""
        with self._gate.shared(_BUSY_SECONDS):
            self._refuse_replaced()
            return self._transaction(self._writer, writes)

    def _transaction(self, connection: sqlite3.Connection, writes: list[Write]) -> list[Any]:
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

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._troubles.explained(), self._reading:
            self._refuse_replaced()
            return self._reader.execute(sql, values).fetchall()

    def _refuse_lost(self) -> None:
        """SQLite would make an empty ledger of none."""
        what = "it is empty" if self.path.exists() else "it is not there"
        if not self.path.exists() or self.path.stat().st_size == 0:
            raise self.corrupt(f"{what}, and this state directory has been used before")

    def _refuse_replaced(self) -> None:
        """What is written to a file that is not the ledger any more, nobody ever reads."""
        if _identity(self.path) != self._file:
            raise LedgerReplaced(
                f"the ledger {self.path} was rebuilt or taken away since this process opened it: nothing was recorded;"
                " open it anew (a command: give it again; a service: restart it)",
                path=str(self.path),
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
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
                f"the ledger {self.path} was written by a newer vifplug (version {version}, this one knows"
                f" {len(MIGRATIONS)}): install that version again" + self._how_to_go_back(),
            )
        if version < len(MIGRATIONS):
            self._migrate()
        meta = dict(self._writer.execute("SELECT key, value FROM meta"))
        if not {"id", "generation"} <= meta.keys():
            raise self.corrupt("its id or its generation is missing")
        return str(meta["id"])

    def _migrate(self) -> None:
        writer = self._writer
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        version = writer.execute("PRAGMA user_version").fetchone()[0]  # another process may have come first
        if version == 0 and (self.path.parent / "locks").exists():
            writer.execute("ROLLBACK")
            raise self.corrupt("it is empty, and this state directory has been used before")
        if 0 < version < len(MIGRATIONS):
            copy(self.path, self._copy_of(version))
        bring_up(writer, version)
        writer.execute(
            "INSERT OR IGNORE INTO meta VALUES ('id', ?), ('generation', '0')", (os.urandom(4).hex(),)
        )
        writer.execute("COMMIT")
        for part in (self.path.parent, self.path.parent.parent):  # the new names themselves
            sync(part)

    def _copy_of(self, version: int) -> Path:
        """Where the ledger is kept as a vifplug that knows no more than this version left it."""
        return self.path.with_name(f"{self.path.name}.v{version}")

    def _how_to_go_back(self) -> str:
        kept = self._copy_of(len(MIGRATIONS))
        return f", or go back to what was on record before it came, kept in {kept}" if kept.exists() else ""

    def corrupt(self, what: str) -> LedgerCorrupt:
        return self._troubles.corrupt(what)


class Gathering(Database):
    """Keeps the writes that are made to it for one transaction: ``commit`` makes them, all or none."""

    def __init__(self, database: Database) -> None:
        self.id = database.id
        self.query = database.query  # type: ignore[method-assign]  # nothing but write differs
        self._database = database
        self._writes: list[Write] = []

    def write(self, write: Write) -> None:
        self._writes.append(write)

    def commit(self) -> None:
        self._database.write(lambda connection: [write(connection) for write in self._writes])


def _identity(path: Path) -> tuple[int, int] | None:
    """What file lies there now."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def make_state_dir(path: Path) -> None:
    """The state directory, ours alone: what is recorded there decides what is run and removed later."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise LedgerError(f"state_dir {path} is not a directory")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise NoPermission(
            f"the state directory {path} must belong to the user who plugs (uid {os.geteuid()}) and be writable by"
            f" nobody else; it belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}:"
            " run as its owner, or set state_dir to a directory of its own, which vifplug makes",
        )
    if os.geteuid() == 0:
        _check_parents(path)


def _check_parents(path: Path) -> None:
    """Whoever may write above root's state directory could put another in its place."""
    owners = {0, *owners_outside()}
    for parent in path.resolve().parents:
        status = parent.stat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in owners or (mode & 0o022 and not mode & stat.S_ISVTX):
            raise NoPermission(
                f"the state directory {path} is not safe: {parent} belongs to uid {status.st_uid} with mode {mode:04o},"
                " so others than root could put another directory in its place; set state_dir to a directory that"
                " lies where only root may write, such as /var/lib/vifplug",
            )
