"""The ledger's schema, version by version: each step is made once, whole or not at all.

A step only adds: a process of the version before, at work while the ledger is brought further, goes on with it.
"""

from __future__ import annotations

import sqlite3

#: each entry brings a ledger one version further; the first makes it. No ";" but between statements
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
    -- processes of scripts that stay up: what they carry, and the process of ours that they belong to
    CREATE TABLE resident (mark TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    -- uid of the user who plugged it, NULL when not known
    ALTER TABLE vif ADD COLUMN owner INTEGER;
    -- the VIF type, to be counted without reading every VIF
    ALTER TABLE vif ADD COLUMN type TEXT;
    UPDATE vif SET type = json_extract(vif, '$.shape.type') WHERE json_valid(vif);
    DROP INDEX vif_unsettled;
    CREATE INDEX vif_kinds ON vif (state, type);
    CREATE INDEX vif_order ON vif (generation);
    CREATE INDEX vif_masters ON vif (master) WHERE master IS NOT NULL;
    """,
)


def bring_up(connection: sqlite3.Connection, version: int) -> None:
    """Make the steps after ``version``, in the transaction that the connection is in."""
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        for statement in script.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
