"""The cases, a file for each topic. Importing this fills ``CASES`` in the order of the report."""

from importlib import import_module

from ..case import CASES

_FILES = (
    "info", "verbs", "plug", "values", "unplug", "halfway", "details", "check", "update", "migration", "deadlines",
    "output", "privileges", "parallel", "resident", "rehearsal",
)  # fmt: skip

for _name in _FILES:
    import_module(f".{_name}", __name__)

__all__ = ["CASES"]
