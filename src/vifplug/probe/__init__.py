"""Open a plugged tap as a guest would and see whether its network is there."""

from .guest import StandInGuest
from .probe import Finding, ProbeReport, probe, probe_vif

__all__ = ["Finding", "ProbeReport", "StandInGuest", "probe", "probe_vif"]
