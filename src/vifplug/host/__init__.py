"""Plug and unplug on this host."""

from .host import Binding, Host
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
