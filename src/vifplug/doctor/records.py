"""The ledger, looked at without touching it: no directory is made, nothing migrated, no lock taken."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct


class Brief(Struct, frozen=True, kw_only=True):
    """Of one VIF on record what the checks ask for."""

    id: str
    state: str
    devname: str
    script: str | None
    #: its VIF type
    type: str
    #: whether vifplug made the device
    made_here: bool
    boot_id: str
    #: whether a verb has been begun and has no outcome yet
    at_work: bool
    attempts: int
    #: why the last verb did not finish
    error: str | None
    #: whether it waits for a guest that a live migration is to bring
    arriving: bool
    #: seconds since 1970
    changed: float


class Records(Struct, frozen=True, kw_only=True):
    #: under this name the ledger marks its devices; None when there is no ledger
    ledger: str | None = None
    vifs: list[Brief] = []
    #: digests of scripts that have been asked for info, and whether they answered
    info: dict[str, bool] = {}
    #: SQLite's own look at the file; "ok", or what is wrong
    damage: str = "ok"

    @property
    def current(self) -> list[Brief]:
        """Without debts."""
        return [vif for vif in self.vifs if vif.state != "debt"]


class _Shape(Struct):
    type: str
    made_by: str = "vifplug"


class _Migration(Struct):
    role: str = ""
    phase: str = ""


class _Vif(Struct):
    shape: _Shape
    migration: _Migration | None = None


class _Script(Struct):
    name: str


class _Error(Struct):
    message: str = ""


def read_records(path: Path) -> Records:
    """What is on record there. Raises PermissionError, sqlite3.Error, and msgspec's errors for what is no VIF."""
    try:
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        return Records()
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
        connection.row_factory = sqlite3.Row
        damage = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        rows = connection.execute(
            "SELECT id, state, devname, vif, script, boot_id, mark, attempts, error, changed FROM vif ORDER BY created"
        ).fetchall()
        info = {
            digest: msgspec.json.decode(reply).get("info") is not None
            for digest, reply in connection.execute("SELECT digest, reply FROM info")
        }
        ledger = connection.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()
    return Records(
        ledger=ledger[0] if ledger else None, vifs=[_brief(row) for row in rows], info=info, damage=damage
    )


def _brief(row: sqlite3.Row) -> Brief:
    vif, script, error = row["vif"], row["script"], row["error"]
    known = msgspec.json.decode(vif, type=_Vif)
    return Brief(
        id=row["id"],
        state=row["state"],
        devname=row["devname"],
        script=msgspec.json.decode(script, type=_Script).name if script else None,
        type=known.shape.type,
        made_here=known.shape.type == "ethernet" and known.shape.made_by == "vifplug",
        boot_id=row["boot_id"],
        at_work=row["mark"] is not None or row["state"] in ("plugging", "updating", "unplugging"),
        attempts=row["attempts"],
        error=msgspec.json.decode(error, type=_Error).message if error else None,
        arriving=row["state"] == "plugged"
        and known.migration is not None
        and (known.migration.role, known.migration.phase != "done") == ("destination", True),
        changed=float(row["changed"]),
    )
