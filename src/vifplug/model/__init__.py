"""What is plugged: a port binding in, a validated Vif out."""

from vifplug.model.binding import device_name, read_binding, read_bindings
from vifplug.model.record import as_binding, changed_fields, from_json, to_json
from vifplug.model.reply import fold_reply
from vifplug.model.vif import PortBinding, Vif, VifType

__all__ = [
    "PortBinding",
    "Vif",
    "VifType",
    "as_binding",
    "changed_fields",
    "device_name",
    "fold_reply",
    "from_json",
    "read_binding",
    "read_bindings",
    "to_json",
]
