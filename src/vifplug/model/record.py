"""A Vif to JSON and back, for the ledger; and what differs between two of them."""

from __future__ import annotations

from typing import Any

import msgspec

from vifplug.model.details import ALIASES, shape_fields
from vifplug.model.explain import explain
from vifplug.model.vif import Vif

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Vif)


def to_json(vif: Vif) -> bytes:
    """Canonical JSON: equal Vifs give equal bytes."""
    return _encoder.encode(vif)


def from_json(data: bytes) -> Vif:
    """The Vif that ``to_json`` wrote. Raises InvalidInput for anything else."""
    from vifplug.model import source

    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        value = msgspec.json.decode(data)
        raise explain(error, value, Vif) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        source.parse(data)
        raise


def changed_fields(old: Vif, new: Vif) -> set[str]:
    """Dotted names of what differs: ``mtu``, ``bandwidth.inbound.peak``, ``shape.vlan.tags``, ``details.tag``.

    A key of vif_details that shapes the VIF is told once, as ``shape.…``. A list differs as a whole.
    """
    shaping = {"mtu"}
    for vif in (old, new):
        shaping.update(shape_fields(vif.type), ALIASES.get(vif.type, {}))
    before, after = _flat(old), _flat(new)
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return {name for name in names if not (name.startswith("details.") and name.split(".")[1] in shaping)}


def _flat(vif: Vif) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else key)
        else:
            found[name] = value

    walk(msgspec.to_builtins(vif), "")
    return found
