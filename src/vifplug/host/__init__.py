"""Plug and unplug on this host."""

from .host import Binding, Host
from .results import (
    CallRecord,
    CheckReport,
    Drift,
    GcReport,
    Plugged,
    Record,
    Recovered,
    ScriptEntry,
    State,
    Step,
    Unplugged,
)

__all__ = [
    "Binding",
    "CallRecord",
    "CheckReport",
    "Drift",
    "GcReport",
    "Host",
    "Plugged",
    "Record",
    "Recovered",
    "ScriptEntry",
    "State",
    "Step",
    "Unplugged",
]
