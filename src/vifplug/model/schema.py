"""JSON Schemas (2020-12), generated from the structs that read the same JSON.

A schema says what each single value may be. Rules between values (several VLAN tags need a trunk) are
checked by vifplug alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from vifplug.model.details import ALIASES, SHAPES
from vifplug.model.vif import PortBinding, Vif, VifType
from vifplug.model.words import Mtu, ScriptName

#: where they lie in the package
SHIPPED = Path(__file__).parent.parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its name: ``binding``, ``vif``, ``details-bridge``, ``request``, ``reply-plug`` …"""
    found = {"binding": _binding(), "vif": _schema(Vif, "A VIF as the ledger keeps it")}
    for type_ in VifType:
        details = _finish(*_details(type_), f"vif_details of VIF type {type_}")
        found[f"details-{type_}"] = _any_case(details)
    return found | _contract()


def write(directory: Path = SHIPPED) -> list[Path]:
    """Write every schema into ``directory`` as NAME.json and return the files.

    After a change of the structs: ``python -c "from vifplug.model.schema import write; write()"``.
    """
    files = []
    for name, schema in schemas().items():
        file = directory / f"{name}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n")
        files.append(file)
    return files


def _schema(type_: Any, title: str) -> dict[str, Any]:
    (schema,), parts = msgspec.json.schema_components([type_], ref_template=_REF)
    return _finish(schema, parts, title)


def _finish(schema: dict[str, Any], parts: dict[str, Any], title: str) -> dict[str, Any]:
    """One document: a lone reference is replaced by what it names; patterns as ECMA 262 has them."""
    top = schema
    if schema.keys() == {"$ref"}:
        top = parts[schema["$ref"].rpartition("/")[2]]
        parts = {name: part for name, part in parts.items() if part is not top}
    whole: dict[str, Any] = portable({"$schema": _DIALECT, **top, "title": title})
    if parts:
        whole["$defs"] = portable(parts)
    return whole


def _binding() -> dict[str, Any]:
    """A binding, whose vif_type decides what its vif_details may be."""
    schema: dict[str, Any] = _schema(PortBinding, "A port binding")
    choices = []
    for type_ in VifType:
        details, parts = _details(type_)
        schema["$defs"] |= portable(parts | {f"details-{type_}": details})
        then = {"properties": {"vif_details": {"$ref": f"#/$defs/details-{type_}"}}}
        if details["required"] or "allOf" in details:
            then["required"] = ["vif_details"]  # type: ignore[assignment]
        choices.append({"if": {"properties": {"vif_type": {"const": str(type_)}}}, "then": then})
    whole: dict[str, Any] = _any_case(schema | {"allOf": choices})
    return whole


def _details(type_: VifType) -> tuple[dict[str, Any], dict[str, Any]]:
    """What vif_details may hold: the shape's keys under each of their names, and whatever else a script reads."""
    (_, mtu, script), parts = msgspec.json.schema_components(
        [SHAPES[type_], Mtu | None, ScriptName | None], ref_template=_REF
    )
    shape = parts.pop(SHAPES[type_].__name__)
    required = [name for name in shape["required"] if name != "type"]
    properties = {
        name: part if name in required else _optional(part)
        for name, part in shape["properties"].items()
        if name != "type"
    }
    if "vlan" in properties:
        # Neutron writes one tag as a number or its digits, and 0 for none
        properties["vlan"]["anyOf"] += [
            {"type": "integer", "minimum": 0, "maximum": 4095},
            {"type": "string", "pattern": "^[0-9]{1,4}$"},
        ]
    if "MidonetPort" in parts:
        # the port's own id where the binding says none
        parts["MidonetPort"]["required"].remove("interface_id")
    aliases = ALIASES.get(type_, {})
    for alias, name in aliases.items():
        properties[alias] = properties[name] | {"description": f"the same as {name}"}
    either = [
        {"anyOf": [{"required": [key]} for key in (name, *(a for a, n in aliases.items() if n == name))]}
        for name in required
        if name in aliases.values()
    ]
    details: dict[str, Any] = {
        "type": "object",
        "description": shape.get("description", ""),
        "properties": properties | {"mtu": mtu, "vif_plug_script": script},
        "required": [name for name in required if name not in aliases.values()],
    }
    return details | ({"allOf": either} if either else {}), parts


def _contract() -> dict[str, dict[str, Any]]:
    from vifplug.script import replies
    from vifplug.script.contract import Request

    found = {"request": _schema(Request, "What a plug script reads on standard input")}
    for verb, reply in replies.REPLIES.items():
        found[f"reply-{verb}"] = _schema(reply, f"What a plug script answers to {verb} when it ends well")
    return found


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that may be null too, which in vif_details means left out."""
    if "anyOf" in schema:
        return schema | {"anyOf": list(schema["anyOf"])}
    return {"anyOf": [schema, {"type": "null"}]}


def portable(value: Any) -> Any:
    """Python's anchors become those of ECMA 262, where $ never matches before a final newline; plain descriptions."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if isinstance(value, str):
        return value.replace(r"\A", "^").replace(r"\Z", "$").replace("``", "")
    return value


def _any_case(value: Any) -> Any:
    """UUIDs and MAC addresses may come in upper case; vifplug writes them in lower case."""
    if isinstance(value, dict):
        return {
            key: item.replace("0-9a-f]", "0-9A-Fa-f]").replace("02468ace]", "02468ACEace]")
            if key == "pattern"
            else _any_case(item)
            for key, item in value.items()
        }
    return [_any_case(item) for item in value] if isinstance(value, list) else value
