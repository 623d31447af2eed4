"""Plug a guest's virtual interface into a network with a script the host trusts.

The public names are imported when they are first used::

    from vifplug import Host

    with Host() as host:
        plugged = host.plug(binding)  # connects it; plugged.xml is the guest's <interface>
        host.unplug(plugged.id)  # undoes it
"""

from __future__ import annotations

from ._version import __version__

TYPE_CHECKING = False  # for type checkers it is True; importing typing would be most of this module's time
if TYPE_CHECKING:
    from . import errors
    from .config import Config
    from .errors import InvalidInput, NotPlugged, UnsupportedVifType, VifplugError
    from .guest import interface_xml, qemu_arguments
    from .host import Host
    from .model import PortBinding, Vif, VifType, read_binding, read_bindings

#: where each public name lives
_HOMES = {
    "Config": "config",
    "Host": "host",
    "InvalidInput": "errors",
    "NotPlugged": "errors",
    "PortBinding": "model",
    "UnsupportedVifType": "errors",
    "Vif": "model",
    "VifType": "model",
    "VifplugError": "errors",
    "interface_xml": "guest",
    "qemu_arguments": "guest",
    "read_binding": "model",
    "read_bindings": "model",
}

__all__ = [
    "Config",
    "Host",
    "InvalidInput",
    "NotPlugged",
    "PortBinding",
    "UnsupportedVifType",
    "Vif",
    "VifType",
    "VifplugError",
    "__version__",
    "errors",
    "interface_xml",
    "qemu_arguments",
    "read_binding",
    "read_bindings",
]


if not TYPE_CHECKING:

    def __getattr__(name):
        from importlib import import_module

        if name == "errors":
            return import_module(".errors", __name__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
