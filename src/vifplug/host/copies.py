"""Copies of a database: consistent while others write to it, and whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

#: what a disk gives or does not give in one piece
_BLOCK = 4096


def copy(source: Path, target: Path, check: Callable[[Path], None] | None = None) -> None:
    """Put a copy of a database in use at ``target``, in place of what is there, once it is whole and on disk.

    Writers are not held up: the copy is made by one long reading of SQLite's online backup. ``check`` is
    given the copy before it takes its place. Raises sqlite3.Error, OSError or what ``check`` raises; then
    ``target`` is as it was.
    """
    made = target.with_name(f"{target.name}.new")
    made.unlink(missing_ok=True)  # of a process that died
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as reader,
            contextlib.closing(sqlite3.connect(made)) as writer,
        ):
            made.chmod(0o600)
            writer.execute("PRAGMA synchronous = OFF")  # it is brought to the disk once, below
            writer.execute("PRAGMA journal_mode = OFF")
            reader.backup(writer)
        if check is not None:
            check(made)
        sync(made)
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
    sync(target.parent)


def copy_readable(source: Path, target: Path) -> None:
    """Copy a file as far as its disk still gives it: zeros stand for what cannot be read (EIO)."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    else:
        return
    with source.open("rb", buffering=0) as file, target.open("wb") as made:
        size = os.fstat(file.fileno()).st_size
        for at in range(0, size, _BLOCK):
            try:
                block = os.pread(file.fileno(), _BLOCK, at)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                block = b""
            made.write(block.ljust(min(_BLOCK, size - at), b"\0"))


def sync(path: Path) -> None:
    """Have a file, or the names in a directory, on the disk when this returns."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
