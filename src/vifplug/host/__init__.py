"""Plug and unplug on this host.

Host is imported when it is first used: who asks vifplugd, or reads results, does without SQLite and netlink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .results import (
    Backup,
    CallRecord,
    CheckReport,
    Drift,
    GcReport,
    Planned,
    Plugged,
    Rebuilt,
    Record,
    Recovered,
    Rehearsal,
    Restored,
    ScriptEntry,
    State,
    Step,
    Unplugged,
    VifCount,
)

if TYPE_CHECKING:
    from .host import Binding, Host

__all__ = [
    "Backup",
    "Binding",
    "CallRecord",
    "CheckReport",
    "Drift",
    "GcReport",
    "Host",
    "Planned",
    "Plugged",
    "Rebuilt",
    "Record",
    "Recovered",
    "Rehearsal",
    "Restored",
    "ScriptEntry",
    "State",
    "Step",
    "Unplugged",
    "VifCount",
]


def __getattr__(name: str) -> Any:
    if name not in ("Binding", "Host"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import host

    return getattr(host, name)
