"""The OpenAPI 3.1 description of the API, made from its table of routes."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from .._version import __version__
from ..model.schema import SHIPPED, portable
from . import api, statuses

#: the checked-in description; a test says that it is current
FILE = Path(__file__).with_name("openapi.json")
_REF = "#/components/schemas/{name}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
            "description": "code is stable; message says what is wrong, with which value, and what to do",
        }
    },
}
_ANY_MANY = {
    "description": "port bindings: a list, an object with a list under ports, or one binding a line",
    "oneOf": [{"type": "array", "items": {"type": "object"}}, {"type": "object"}],
}


@cache
def description() -> bytes:
    """The description as JSON, as it is served."""
    return msgspec.json.format(msgspec.json.encode(_document()), indent=2) + b"\n"


def write(file: Path = FILE) -> None:
    """After a change of the routes: ``python -c "from vifplug.daemon.openapi import write; write()"``."""
    file.write_bytes(description())


def _document() -> dict[str, Any]:
    types = [route.answer for route in api.ROUTES] + [
        route.body for route in api.ROUTES if isinstance(route.body, type)
    ]
    structs = list(dict.fromkeys(type_ for type_ in types if _is_struct(type_)))
    _, components = msgspec.json.schema_components(structs, ref_template=_REF)
    components = portable(components)
    components["Error"] = _ERROR
    components["Binding"] = _binding(components)
    paths: dict[str, Any] = {}
    for route in api.ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vifplugd",
            "version": __version__,
            "summary": "Plug guests' virtual interfaces into networks with scripts the host trusts.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost", "description": "over the Unix socket of vifplugd"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: api.Route) -> dict[str, Any]:
    ok: dict[str, Any] = {route.kind: {"schema": _answer(route)}}
    if route.steps:
        ok[api.NDJSON] = {"schema": {"type": "string", "description": "steps as they happen, a line each"}}
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {route.path.removeprefix('/v1')}").strip(
            "_"
        ),
        "summary": route.summary,
        "description": f"Role: {route.role.name.lower()}.",
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {
            "200": {"description": "done", "content": ok},
            **{
                str(status): {
                    "description": "an error",
                    "content": {api.JSON: {"schema": {"$ref": _REF.format(name="Error")}}},
                }
                for status in statuses.ALL
            },
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {api.JSON: {"schema": _body(route.body)}}}
    return operation


def _answer(route: api.Route) -> dict[str, Any]:
    if route.kind != api.JSON:
        return {"type": "string"}
    if not _is_struct(route.answer):
        return {"type": "object"}
    return {"$ref": _REF.format(name=route.answer.__name__)}


def _body(body: Any) -> dict[str, Any]:
    if body == "bindings":
        return _ANY_MANY
    name = "Binding" if body == "binding" else body.__name__
    return {"$ref": _REF.format(name=name)}


def _path_parameters(route: api.Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "description": "the VIF's id, as a rule the port's UUID",
         "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]  # fmt: skip


def _query_parameters(route: api.Route) -> list[dict[str, Any]]:
    (schemas, _) = msgspec.json.schema_components(list(route.query.values()), ref_template=_REF)
    return [
        {"name": name, "in": "query", "required": False, "schema": _inline(type_, schema)}
        for (name, type_), schema in zip(route.query.items(), schemas, strict=True)
    ]


def _inline(type_: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    return {"enum": sorted(member.value for member in type_)}


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _binding(components: dict[str, Any]) -> dict[str, Any]:
    """The shipped schema of a binding, its parts among the components under names of their own."""
    text = (SHIPPED / "binding.json").read_text().replace("#/$defs/", "#/components/schemas/binding.")
    schema = json.loads(text)
    for name, part in schema.pop("$defs").items():
        components[f"binding.{name}"] = part
    schema.pop("$schema")
    return {
        "description": "a port binding of vifplug's own, or a Neutron port as its API gives it",
        "anyOf": [
            schema,
            {
                "type": "object",
                "required": ["id", "binding:vif_type"],
                "properties": {"id": {"type": "string"}, "binding:vif_type": {"type": "string"}},
            },
        ],
    }
