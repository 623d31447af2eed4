"""Neutron mechanism drivers for plug scripts: the base class of a vendor's own, and three that are ready.

It runs on a controller: without libvirt, without root, without the rest of vifplug but its model. What it
needs of Neutron is imported when a driver is, so that a host without Neutron may read ``vifplug.neutron.report``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .driver import VifplugMechanismDriver
    from .plan import Plan, Refused

_HOMES = {"Plan": "plan", "Refused": "plan", "VifplugMechanismDriver": "driver"}

__all__ = ["Plan", "Refused", "VifplugMechanismDriver"]

if not TYPE_CHECKING:

    def __getattr__(name):
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
