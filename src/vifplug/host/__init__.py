"""Plug and unplug on this host."""

from .host import Binding, Host
from .results import (
    CallRecord,
    CheckReport,
    Drift,
    GcReport,
    Planned,
    Plugged,
    Record,
    Recovered,
    Rehearsal,
    ScriptEntry,
    State,
    Step,
    Unplugged,
    VifCount,
)

__all__ = [
    "Binding",
    "CallRecord",
    "CheckReport",
    "Drift",
    "GcReport",
    "Host",
    "Planned",
    "Plugged",
    "Record",
    "Recovered",
    "Rehearsal",
    "ScriptEntry",
    "State",
    "Step",
    "Unplugged",
    "VifCount",
]
