"""The description of the API is current and valid, and the daemon does what it says whatever is asked."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import checks
from schemathesis.core.result import Ok

from daemons import Connection, ask
from served import Served
from vifplug.daemon import api, statuses
from vifplug.daemon.openapi import FILE, description
from world import World, binding

DOCUMENT: dict[str, Any] = json.loads(description())
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
ORDERLY = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


#: in place of the schema of bindings, which schemathesis cannot make values of (tests/model makes them)
BINDING: dict[str, Any] = {
    "anyOf": [
        {
            "enum": [
                binding(number, script=script)
                for number in (1, 2, 3)
                for script in ("recorder", None, "absent")
            ]
        },
        {"type": "object", "required": ["id", "vif_type"], "properties": {"vif_details": {"type": "object"}}},
    ]
}


def test_the_description_that_is_checked_in_is_current() -> None:
    assert FILE.read_bytes() == description(), "from vifplug.daemon.openapi import write; write()"


def test_it_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_route_is_in_it_with_its_role_and_all_it_may_answer() -> None:
    assert sorted(OPERATIONS) == sorted((route.path, route.method.lower()) for route in api.ROUTES)
    for route in api.ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["summary"] and route.role.name.lower() in operation["description"]
        assert set(operation["responses"]) == {"200", *map(str, statuses.ALL)}
        named = {parameter["name"] for parameter in operation["parameters"]}
        assert named == {*route.query, *re.findall(r"{(\w+)}", route.path)}
        assert ("requestBody" in operation) is (route.body is not None)
    ids = [item[method]["operationId"] for item in DOCUMENT["paths"].values() for method in item]
    assert len(set(ids)) == len(ids)


# --- asked at random -----------------------------------------------------------------------------


def over(path: str) -> Callable[..., Iterable[bytes]]:
    """The daemon at a socket as a WSGI application (PEP 3333), which is what schemathesis can call.

    Of what lasts for ever the beginning is read, and nothing is waited for longer than a moment.
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        target = environ["REQUEST_URI"]
        if environ["PATH_INFO"].endswith("/wait"):
            target = _impatient(target)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in ("HTTP_HOST", "HTTP_CONNECTION")
        }
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with contextlib.closing(Connection(path)) as connection:
            connection.request(environ["REQUEST_METHOD"], target, body or None, headers)
            response = connection.getresponse()
            content = response.readline() if _lasts(response) else response.read()
            said = [
                (name, value) for name, value in response.getheaders() if name.lower() != "transfer-encoding"
            ]
            start_response(f"{response.status} {response.reason}", said)
            response.close()
        return [content]

    return application


def _lasts(response: http.client.HTTPResponse) -> bool:
    return response.getheader("content-type") == "text/event-stream"


def _impatient(target: str) -> str:
    path, _, query = target.partition("?")
    asked = parse_qsl(query, keep_blank_values=True)
    if not any(name == "seconds" for name, _ in asked):
        asked.append(("seconds", "0.01"))
    return f"{path}?{urlencode([(name, _briefly(value) if name == 'seconds' else value) for name, value in asked])}"


def _briefly(value: str) -> str:
    try:
        return "0.01" if 0 < float(value) <= 3600 else value
    except ValueError:
        return value


@pytest.fixture
def served(world: World) -> Iterator[Served]:
    with Served.of(world) as daemon:
        for number in (1, 2):
            assert ask(daemon.socket, "POST", "/v1/plug", binding(number)).status == 200
        yield daemon


@pytest.mark.slow
def test_whatever_is_asked_is_answered_as_described(served: Served) -> None:
    described = json.loads(ask(served.socket, "GET", "/v1/openapi.json").body)
    described["components"]["schemas"]["Binding"] = BINDING
    schema = schemathesis.openapi.from_dict(described)
    schema.app = over(served.socket)
    asked: dict[str, list[int]] = {}
    for found in schema.get_all_operations():
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            assert isinstance(found, Ok), found
            with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with what takes nothing
                _ask_often(found.ok(), mode, asked)
    assert set(asked) == {f"{method.upper()} {path}" for path, method in OPERATIONS}
    assert all(asked.values()), asked
    assert ask(served.socket, "GET", "/v1/health").json["status"] == "ok"


def _ask_often(operation: Any, mode: schemathesis.GenerationMode, asked: dict[str, list[int]]) -> None:
    @settings(max_examples=10, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def answered(case: schemathesis.Case[Any]) -> None:
        response = case.call_and_validate(checks=ORDERLY)
        assert response.status_code != 500, response.text
        asked.setdefault(operation.label, []).append(response.status_code)

    answered()
