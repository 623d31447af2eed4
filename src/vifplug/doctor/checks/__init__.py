"""The checks, a file for each family."""

from importlib import import_module

_FILES = (
    "itself", "state", "scripts", "leftovers", "mtu", "kernel", "sysctl", "firewall", "managers", "guests",
    "openvswitch",
)  # fmt: skip


def load() -> None:
    """Fill ``CHECKS``."""
    for name in _FILES:
        import_module(f".{name}", __name__)
