"""Backups of the ledger: a second file beside it, from which it is restored when it is damaged."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import DiskFull, LedgerError
from .copies import copy
from .database import Database
from .locks import Locks
from .results import Backup

#: the backup of STATE_DIR/ledger.db
NAME = "ledger.backup"

#: a row that cannot be read any more is worth no backup: these are what reading it takes apart
_UNREADABLE = "SELECT count(*) FROM vif WHERE NOT (json_valid(request) AND json_valid(vif))"


class Backups:
    """The backups of one ledger."""

    def __init__(self, database: Database, locks: Locks) -> None:
        self._database = database
        self._locks = locks
        self._target = database.path.with_name(NAME)
        self._one = threading.Lock()
        #: what the ledger held when it was last backed up, as SQLite counts it for this process
        self._version: int | None = None
        self._vifs = 0

    def make(self, wait: float) -> Backup:
        """Back the ledger up, if anything in it has changed since this process last did.

        Raises LedgerCorrupt when the ledger is damaged, DiskFull or another LedgerError when the backup
        cannot be made, Busy when another process has been making one for more than ``wait`` seconds. The
        backup that was there before is kept then.
        """
        started = time.monotonic()
        with self._one:
            [(version,)] = self._database.query("PRAGMA data_version")
            changed = version != self._version or not self._target.exists()
            if changed:
                with self._locks.named(["vifplug ledger backup"], wait), self._explained():
                    self._refuse_older()
                    copy(self._database.path, self._target, self._check)
                self._version = version
            return Backup(
                path=str(self._target),
                vifs=self._vifs,
                changed=changed,
                seconds=time.monotonic() - started,
            )

    def _check(self, made: Path) -> None:
        """A damaged ledger must never take the place of a backup that is whole."""
        with contextlib.closing(sqlite3.connect(f"{made.as_uri()}?immutable=1", uri=True)) as connection:
            [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise self._database.corrupt(str(found).strip())
            [unreadable] = connection.execute(_UNREADABLE).fetchone()
            if unreadable:
                raise self._database.corrupt(f"{unreadable} of its rows cannot be read")
            [self._vifs] = connection.execute("SELECT count(*) FROM vif").fetchone()

    def _refuse_older(self) -> None:
        """A ledger that lost its latest commits (its write-ahead log, say) looks whole; its backup knows better."""
        before = generation_of(self._target)
        [(now,)] = self._database.query("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation'")
        if before is not None and before > now:
            raise self._database.corrupt(
                f"it has come to generation {now}, and its own backup to {before}: it lost what was recorded last"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            primary = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
            if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._database.corrupt(str(error)) from error
            if primary == sqlite3.SQLITE_FULL:
                raise self._full() from error
            raise self._failed(str(error)) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from error
            raise self._failed(str(error.strerror)) from error

    def _full(self) -> DiskFull:
        return DiskFull(
            f"the disk that holds {self._target} is full: no backup of the ledger was made, the one before is kept;"
            " free some space",
            path=str(self._target),
        )

    def _failed(self, why: str) -> LedgerError:
        return LedgerError(
            f"no backup of the ledger was made, {self._target} is as it was: {why}", path=str(self._target)
        )


def generation_of(backup: Path) -> int | None:
    """The generation that a backup has come to; None when there is none, or none that can be read."""
    if not backup.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{backup.as_uri()}?immutable=1", uri=True)) as connection:
            row = connection.execute(
                "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation'"
            ).fetchone()
    except sqlite3.Error:
        return None
    return int(row[0]) if row else None
