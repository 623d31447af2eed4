"""Open vSwitch's database on this host, read once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..scriptlib.ovsdb import Ovsdb, Refused, TimedOut, Unreachable, address, select

#: seconds that the database may take
_PATIENCE = 2.0
Row = dict[str, Any]
_WANTED = {
    "Open_vSwitch": ["ovs_version", "datapath_types", "external_ids", "cur_cfg", "next_cfg"],
    "Bridge": ["name", "fail_mode", "datapath_type"],
    "Interface": ["name", "type", "error"],
}


class Tables(Struct, frozen=True, kw_only=True):
    """What the database has; ``error`` says why it has nothing."""

    root: Row | None = None
    bridges: list[Row] = []
    interfaces: list[Row] = []
    error: str | None = None

    @property
    def external_ids(self) -> dict[str, str]:
        found = self.root and self.root["external_ids"]
        return found if isinstance(found, dict) else {}


class Switch:
    """The switch whose database ``environ`` (OVS_DB, OVS_RUNDIR) leads to; a socket's path is one below ``root``."""

    def __init__(self, environ: Mapping[str, str], root: Path) -> None:
        self.remote = address(environ)
        kind, _, path = self.remote.partition(":")
        self._socket = root / path.lstrip("/") if kind == "unix" else None
        if self._socket is not None:
            self.remote = f"unix:{self._socket}"

    @property
    def is_there(self) -> bool:
        """Whether there is anything to connect to."""
        return self._socket is None or self._socket.exists()

    @cached_property
    def tables(self) -> Tables:
        if not self.is_there:
            return Tables(error=f"there is no {self.remote}")
        try:
            with Ovsdb(self.remote, _PATIENCE) as database:
                answers = database.transact(
                    *(select(table, [], columns) for table, columns in _WANTED.items())
                )
        except TimedOut:
            return Tables(error=f"OVSDB at {self.remote} does not answer within {_PATIENCE:g} s")
        except (Unreachable, Refused) as error:
            return Tables(error=str(error))
        roots, bridges, interfaces = (answer["rows"] for answer in answers)
        if not roots:
            return Tables(error="it is empty; 'ovs-vsctl --no-wait init' prepares it")
        return Tables(root=roots[0], bridges=bridges, interfaces=interfaces)
