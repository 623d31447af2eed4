"""Rows of the ledger's table ``vif``: read, and written as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from ..model import Vif, from_json, to_json
from .results import Record, ScriptRef, State

COLUMNS = (
    "id, generation, state, devname, request, vif, next_request, script, reply, master, boot_id, mark,"
    " attempts, error, created, changed, owner"
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table ``vif``: a Record and what only the host needs to know."""

    record: Record
    reply: dict[str, Any]
    master: str | None
    mark: str | None


def read_row(row: tuple[Any, ...], this_boot: str) -> Row:
    """The row whose ``COLUMNS`` these are. Raises InvalidInput, msgspec.DecodeError or ValueError for what is none."""
    (vif_id, generation, state, _devname, request, vif, next_request, script, reply, master, boot_id, mark,
     attempts, error, created, changed, owner) = row  # fmt: skip
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
        lost=boot_id != this_boot,
        attempts=attempts,
        error=msgspec.json.decode(error) if error else None,
        created=created,
        changed=changed,
        owner=owner,
    )
    return Row(record=record, reply=msgspec.json.decode(reply or "{}"), master=master, mark=mark)


def as_json(value: object) -> str | None:
    """A column's text; None for None."""
    if value is None:
        return None
    return (to_json(value) if isinstance(value, Vif) else msgspec.json.encode(value)).decode()
