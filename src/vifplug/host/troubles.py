"""What can go wrong with the ledger's files, in our words: SQLite's errors and the file system's."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..errors import DiskFull, LedgerCorrupt, LedgerError, NoPermission, VifplugError

#: blocks of a file system below which an I/O error means that it is full: the wal-index takes 32 KiB
_LEAST_BLOCKS = 8

RUN_ELSEWHERE = (
    "run as a user who may write there (root, as a rule), or set state_dir to a directory that you can write"
)


class Troubles:
    """The troubles of one ledger; ``patience``: seconds that its users wait for each other."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._patience = patience

    def corrupt(self, what: str) -> LedgerCorrupt:
        return LedgerCorrupt(
            f"the ledger {self._path} is damaged ({what}): nothing was changed. 'vifplug recover --rebuild' sets it"
            " aside and makes another from its backup, the kernel and what the plug scripts know",
            path=str(self._path),
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
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
                    f" {RUN_ELSEWHERE}"
                ) from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full() from error
            raise LedgerError(
                f"the state directory {self._path.parent} cannot be used: {error.strerror}"
            ) from error

    def _explain(self, error: sqlite3.Error) -> VifplugError:
        primary = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self.corrupt(str(error))
        if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and self._is_full()):
            return self._full()
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LedgerError(
                f"the ledger {self._path} was locked by another process for more than {self._patience:g} s:"
                " nothing was changed; try again, and see who holds it with 'fuser'",
            )
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
            return NoPermission(
                f"the ledger {self._path} cannot be written ({error}): {RUN_ELSEWHERE}",
            )
        return LedgerError(
            f"the ledger {self._path} failed: {error}; nothing was recorded", path=str(self._path)
        )

    def _is_full(self) -> bool:
        """SQLite calls it an I/O error when there is no room for its shared memory."""
        return os.statvfs(self._path.parent).f_bavail < _LEAST_BLOCKS

    def _full(self) -> DiskFull:
        return DiskFull(
            f"the disk that holds {self._path} is full: nothing was recorded; free some space and try again",
            path=str(self._path),
        )
