"""What SQLite can still read of a ledger, damaged or not: each row by itself, and none that is not whole."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import VifplugError
from ..script.marks import Mark
from .migrations import MIGRATIONS
from .results import CallRecord, State
from .rows import COLUMNS, Row, read_row

#: VIF and generation
Key = tuple[str, int]
Found = TypeVar("Found")

_LEDGER_ID = re.compile(r"[0-9a-f]{8}\Z")
_VIF_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
#: seconds that one question to a damaged database may take: its pages may lead in circles
_PATIENCE = 20.0
#: instructions of SQLite's machine between two looks at the clock
_STEPS = 100_000
#: what a sound SQLite database may raise of, when it is not sound, or its text is none
_UNREADABLE = (sqlite3.Error, UnicodeError, OverflowError, MemoryError)
_INVALID = (msgspec.DecodeError, VifplugError, ValueError, TypeError, UnicodeError)

#: ways through the table of VIFs; what one of them loses, another may find
_WAYS = (
    "SELECT id, generation FROM vif ORDER BY id, generation",
    "SELECT id, generation FROM vif ORDER BY id DESC, generation DESC",
    "SELECT id, generation FROM vif INDEXED BY vif_order ORDER BY generation",
    "SELECT id, generation FROM vif INDEXED BY vif_kinds ORDER BY state, type",
    "SELECT id, generation FROM vif INDEXED BY vif_one_current WHERE state != 'debt' ORDER BY id",
    "SELECT id, generation FROM vif INDEXED BY vif_one_device WHERE state != 'debt' ORDER BY devname",
)


class Salvaged(msgspec.Struct, kw_only=True):
    """What was read of one ledger."""

    path: Path
    #: when it was last written, in seconds since 1970
    written: float
    #: what is wrong with it, the first thing found; None when nothing is
    damage: str | None = None
    #: version of its schema, where SQLite could say
    version: int = 0
    #: whether no VIF can be missing from ``rows`` but those in ``unreadable``
    complete: bool = False
    ledger_id: str | None = None
    #: None when it could not be read
    generation: int | None = None
    #: what was set aside when this ledger was itself rebuilt
    rebuilt: str = ""
    rows: dict[Key, Row] = msgspec.field(default_factory=dict)
    #: rows that are there and are not whole, and why
    unreadable: dict[Key, str] = msgspec.field(default_factory=dict)
    calls: list[CallRecord] = msgspec.field(default_factory=list)
    infos: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    residents: list[tuple[str, str]] = msgspec.field(default_factory=list)


def salvage(path: Path, this_boot: str, ids: set[str], keys: set[Key]) -> Salvaged:
    """Read a ledger that nobody writes to and that may be changed (a copy); ``ids`` and ``keys`` are asked for
    by name, should no way through the table lead to them."""
    found = Salvaged(path=path, written=path.stat().st_mtime)
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.text_factory = lambda data: data.decode(errors="surrogateescape")
            _read(_Reader(connection), found, this_boot, ids, keys)
    except _UNREADABLE as error:
        found.damage = str(error)
    if not found.rows and found.damage is None and found.version == 0:
        found.damage = "it is empty"
    return found


class _Reader:
    """Answers as far as there are any."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, *values: Any) -> tuple[list[tuple[Any, ...]], str | None]:
        """Rows up to where reading failed, and why it did."""
        rows: list[tuple[Any, ...]] = []
        until = time.monotonic() + _PATIENCE
        self._connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        try:
            cursor = self._connection.execute(sql, values)
            while (row := cursor.fetchone()) is not None:
                rows.append(row)
        except _UNREADABLE as error:
            return rows, str(error)
        finally:
            self._connection.set_progress_handler(None, 0)
        return rows, None


def _read(reader: _Reader, found: Salvaged, this_boot: str, ids: set[str], keys: set[Key]) -> None:
    versions, found.damage = reader.all("PRAGMA user_version")
    found.version = versions[0][0] if versions else 0
    answers, why = reader.all("PRAGMA integrity_check(1)")
    if [answer for (answer,) in answers] != ["ok"]:
        found.damage = found.damage or why or str(answers[0][0] if answers else "no answer").strip()
    _read_meta(reader, found)
    _read_vifs(reader, found, this_boot, ids, keys)
    _read_others(reader, found)
    if found.damage is None and 0 < found.version <= len(MIGRATIONS) and found.generation is None:
        found.damage = "its generation is missing"
    if found.damage is None and found.unreadable:
        found.damage = f"a row cannot be read: {next(iter(found.unreadable.values()))}"


def _read_meta(reader: _Reader, found: Salvaged) -> None:
    for key in ("id", "generation", "rebuilt"):
        rows, _ = reader.all("SELECT value FROM meta WHERE key = ?", key)
        value = str(rows[0][0]) if rows else ""
        if key == "id" and _LEDGER_ID.match(value):
            found.ledger_id = value
        elif key == "generation" and value.isdecimal() and int(value) < 1 << 62:
            found.generation = int(value)
        elif key == "rebuilt":
            found.rebuilt = value


def _read_vifs(reader: _Reader, found: Salvaged, this_boot: str, ids: set[str], keys: set[Key]) -> None:
    present, _ = reader.all("SELECT name FROM pragma_table_info('vif')")
    known = {name for (name,) in present}
    columns = ", ".join(name if name in known else "NULL" for name in (*COLUMNS.split(", "), "type"))
    wanted = dict.fromkeys(keys)
    for number, way in enumerate(_WAYS):
        rows, failed = reader.all(way)
        wanted.update(dict.fromkeys(_keys(rows)))
        if number == 0 and failed is None:
            answers, _ = reader.all("PRAGMA integrity_check(vif)")
            found.complete = [answer for (answer,) in answers] == ["ok"]
            if found.complete:
                break
    if not found.complete:
        for vif_id in ids:
            rows, _ = reader.all("SELECT id, generation FROM vif WHERE id = ?", vif_id)
            wanted.update(dict.fromkeys(_keys(rows)))
    for key in wanted:
        rows, failed = reader.all(f"SELECT {columns} FROM vif WHERE id = ? AND generation = ?", *key)  # noqa: S608
        if not rows and (failed is None or key in keys):
            continue
        try:
            if not rows:
                raise ValueError(failed)
            found.rows[key] = _whole(rows[0], this_boot)
        except _INVALID as error:
            found.unreadable[key] = str(error)


def _keys(rows: list[tuple[Any, ...]]) -> Iterator[Key]:
    """Those that can be keys: a damaged page says anything."""
    for vif_id, generation in rows:
        if (
            isinstance(vif_id, str)
            and _VIF_ID.match(vif_id)
            and isinstance(generation, int)
            and generation > 0
        ):
            yield vif_id, generation


def _whole(columns: tuple[Any, ...], this_boot: str) -> Row:
    """The row, if it can be read and its parts agree. Raises ValueError and its like when not."""
    *columns_of_row, type_ = columns
    for value in columns_of_row:
        if isinstance(value, str):
            value.encode()  # a surrogate stands for a byte that is no text
    row = read_row(tuple(columns_of_row), this_boot)
    record = row.record
    msgspec.convert(
        msgspec.to_builtins(record), type(record), strict=True
    )  # types that SQLite would not mind
    devname = columns[3]
    if type_ not in (None, record.vif.type):  # the last on the page: what damaged the row's end shows here
        raise ValueError(f"the record of {record.id} is of no VIF type")
    alike = {record.id, record.vif.id, record.request.id, (record.next_request or record.vif).id}
    if len(alike) > 1:
        raise ValueError(f"the record of {record.id} is about other VIFs too")
    if devname != record.vif.devname:
        raise ValueError(f"the record of {record.id} contradicts itself")
    if (record.state is State.UPDATING and record.next_request is None) or not isinstance(row.reply, dict):
        raise ValueError(f"the record of {record.id} is {record.state} and something else")
    if row.mark:
        Mark.from_text(row.mark)
    return row


def _read_others(reader: _Reader, found: Salvaged) -> None:
    numbered: dict[int, CallRecord] = {}
    for order in ("", " DESC"):
        rows, failed = reader.all(f"SELECT number, record FROM call ORDER BY number{order}")  # noqa: S608
        for number, text in rows:
            with contextlib.suppress(*_INVALID):
                numbered[int(number)] = msgspec.json.decode(text, type=CallRecord)
        if failed is None:
            break
    found.calls = [numbered[number] for number in sorted(numbered)]
    for digest, text in _valid(reader.all("SELECT digest, reply FROM info")[0]):
        with contextlib.suppress(*_INVALID):
            if isinstance(info := msgspec.json.decode(text), dict):
                found.infos[digest] = info
    for mark, owner in _valid(reader.all("SELECT mark, owner FROM resident")[0]):
        with contextlib.suppress(*_INVALID):
            Mark.from_text(mark)
            if owner.partition(" ")[0].isdecimal():
                found.residents.append((mark, owner))


def _valid(rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, str]]:
    for first, second in rows:
        if isinstance(first, str) and isinstance(second, str):
            yield first, second
