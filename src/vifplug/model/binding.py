"""Port bindings in: vifplug's own JSON or a Neutron port, and out comes a Vif."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vifplug.errors import InvalidInput
from vifplug.model import neutron, source
from vifplug.model.checks import Wrong, moved, portable, renamed
from vifplug.model.details import read_shape
from vifplug.model.explain import convert
from vifplug.model.types import vif_type
from vifplug.model.vif import COMMON_FIELDS, PortBinding, Vif
from vifplug.model.words import Mtu, ScriptName

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}")

#: what people write at the top of a binding, and where it belongs
_ELSEWHERE = {
    "mac": "address",
    "mac_address": "address",
    "port_id": "id",
    "type": "vif_type",
    "details": "vif_details",
    "vif_plug_script": "vif_details.vif_plug_script",
    "plug_script": "vif_details.vif_plug_script",
    "bridge": "vif_details.bridge, or network.bridge",
    "path": "vif_details.path",
    "vlan": "vif_details.vlan",
    "network_id": "network.id",
    "subnets": "network.subnets",
    "fixed_ips": "network.subnets",
    "device_id": "instance.id",
    "instance_id": "instance.id",
    "instance_name": "instance.name",
    "project_id": "instance.project_id",
}


def read_binding(binding: bytes | bytearray | str | Mapping[str, Any]) -> Vif:
    """One port binding as a Vif.

    ``binding`` is JSON (at most 1 MiB) or the object already read from it: vifplug's own form
    (docs/vif-types.md), or a Neutron port, bare or as ``{"port": …}``.

    Raises InvalidInput (or its UnsupportedVifType), which names the field as it was written.
    """
    if isinstance(binding, bytes | bytearray | str):
        binding = source.parse(binding)
    return _read(binding, "")


def read_bindings(bindings: bytes | bytearray | str | Mapping[str, Any] | Iterable[Any]) -> list[Vif]:
    """Many port bindings: a list of them, ``{"ports": [...]}`` or one JSON object a line (at most 64 MiB).

    Raises InvalidInput for the first that is wrong, and for two that share an id or a device name.
    """
    if isinstance(bindings, bytes | bytearray | str):
        bindings = _parse_many(bindings)
    prefix = ""
    if isinstance(bindings, Mapping):
        if not isinstance(bindings.get("ports"), list | tuple):
            return [_read(bindings, "")]
        bindings, prefix = bindings["ports"], "ports"
    items = list(bindings)
    if len(items) > source.MOST:
        raise Wrong(prefix, f"{len(items)} bindings", f"at most {source.MOST} bindings")
    vifs = [
        item if isinstance(item, Vif) else _read(item, f"{prefix}[{index}]")
        for index, item in enumerate(items)
    ]
    _refuse_twins(vifs, prefix)
    return vifs


def _parse_many(text: bytes | bytearray | str) -> Mapping[str, Any] | list[Any]:
    text = source.as_text(text, limit=source.MANY)
    lines = [(number, line) for number, line in enumerate(text.split("\n")) if line.strip()]
    if len(lines) > 1 and lines[0][1].rstrip().endswith("}") and lines[0][1].lstrip().startswith("{"):
        return [source.loads(line, line=number) for number, line in lines]
    value = source.loads(text)
    if not isinstance(value, Mapping | list):
        raise Wrong("", value, "a list of port bindings")
    return value


def _read(value: Any, place: str) -> Vif:
    """``place`` is where the binding stands in a list of them."""
    if isinstance(value, Mapping) and isinstance(value.get("port"), Mapping) and "vif_type" not in value:
        value, place = value["port"], f"{place}.port".lstrip(".")
    if not isinstance(value, Mapping):
        raise Wrong(place, value, "an object: a port binding or a Neutron port")
    try:
        is_port = neutron.is_port(value)
        checked = source.plain(neutron.attributes(value) if is_port else value)
        source.check_size(checked)
        return _from_port(checked) if is_port else _from_native(checked)
    except InvalidInput as error:
        raise moved(error, place) from None


def _from_port(value: dict[str, Any]) -> Vif:
    _lower(value, "id", _UUID)
    _lower(value, "mac_address", _MAC)
    return _vif(neutron.read_port(value), {"address": "mac_address"}, "binding:")


def _from_native(value: dict[str, Any]) -> Vif:
    for key, found in value.items():
        if place := _ELSEWHERE.get(key):
            message = f"{key}: there is no such key; in a port binding it is {place}"
            raise InvalidInput(message, field=key, value=portable(found), allowed=place)
    _lower(value, "id", _UUID)
    _lower(value, "address", _MAC)
    vif_type(value.get("vif_type"), "vif_type")
    return _vif(convert(value, PortBinding), {}, "")


def device_name(vif_id: str) -> str:
    """What a VIF's device is called where its binding does not say: Neutron's convention."""
    return f"tap{vif_id[:11]}"


def _vif(binding: PortBinding, names: dict[str, str], prefix: str) -> Vif:
    """The Vif that a binding describes. For errors: Neutron's names of fields, and its "binding:"."""
    details = dict(binding.vif_details)
    place = f"{prefix}vif_details"
    script, mtu = details.pop("vif_plug_script", None), details.get("mtu")
    if script is not None:
        convert(script, ScriptName, f"{place}.vif_plug_script")
    if mtu is not None:
        convert(mtu, Mtu, f"{place}.mtu")
    common = {name: getattr(binding, name) for name in COMMON_FIELDS if name != "mtu"}
    shape = read_shape(binding, prefix)
    try:
        return Vif(
            **common,
            mtu=binding.mtu or mtu or binding.network.mtu,
            shape=shape,
            devname=binding.devname or device_name(binding.id),
            plug_script=script,
            details=details,
        )
    except Wrong as error:
        field = error.context["field"].replace("shape.", f"{place}.", 1)
        raise renamed(error, names.get(field, field)) from None


def _lower(value: dict[str, Any], key: str, form: re.Pattern[str]) -> None:
    """Lower case, and colons for dashes, where the value has the form."""
    text = value.get(key)
    if isinstance(text, str) and form.fullmatch(text):
        value[key] = text.lower() if form is _UUID else text.lower().replace("-", ":")


def _refuse_twins(vifs: list[Vif], prefix: str) -> None:
    """Two bindings of one port, or of one device, are a mistake in the list."""
    for name in ("id", "devname"):
        first: dict[str, int] = {}
        for index, vif in enumerate(vifs):
            value = getattr(vif, name)
            if value in first:
                here, there = f"{prefix}[{index}]", f"{prefix}[{first[value]}]"
                raise InvalidInput(
                    f'{here}.{name}: "{value}" is that of {there} too; each binding must have its own',
                    field=f"{here}.{name}",
                    value=value,
                    allowed=f"another {name} than that of {there}",
                )
            first[value] = index
