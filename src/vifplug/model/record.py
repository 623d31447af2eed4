"""A Vif to JSON and back, for the ledger; and what differs between two of them."""

from __future__ import annotations

from typing import Any

import msgspec

from vifplug.errors import InvalidInput
from vifplug.model import source
from vifplug.model.checks import INPUT
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
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = source.parse(data, limit=source.MANY)
        if isinstance(error, msgspec.ValidationError):
            raise explain(error, value, Vif) from None
        raise InvalidInput(f"{INPUT} is not JSON: {error}", field="", allowed="JSON in UTF-8") from None


def as_binding(vif: Vif) -> dict[str, Any]:
    """The port binding, in vifplug's own form, that ``read_binding`` makes this Vif from.

    So it is for a Vif that came from a binding; what a script's reply has put into the shape of one is not
    in its details, and is lost.
    """
    binding: dict[str, Any] = msgspec.to_builtins(vif)
    details = binding.pop("details", {})
    script = binding.pop("plug_script", None)
    binding["vif_type"] = binding.pop("shape")["type"]
    binding["vif_details"] = details | ({"vif_plug_script": script} if script else {})
    return binding


def changed_fields(old: Vif, new: Vif) -> set[str]:
    """Names of what differs, of two parts at most: ``mtu``, ``bandwidth.inbound``, ``details.tag``.

    A key of vif_details that shapes the VIF is told once, as ``shape.bridge``, whatever its spelling.
    """
    shaping = {"mtu"}
    for vif in (old, new):
        shaping.update(shape_fields(vif.type), ALIASES.get(vif.type, {}))
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    for found in (before, after):
        details = found.get("details", {})
        found["details"] = {key: details[key] for key in details.keys() - shaping}
    names = set()
    for name in _differing(before, after):
        parts = _differing(before.get(name), after.get(name))
        names.update([f"{name}.{part}" for part in parts] or [name])
    return names


def _differing(before: Any, after: Any) -> list[str]:
    """The keys whose values differ, of two objects or of one that came or went."""
    before = {} if before is None else before
    after = {} if after is None else after
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return []
    return [
        key
        for key in before.keys() | after.keys()
        if key not in before or key not in after or before[key] != after[key]
    ]
