"""One of OpenStack's API services, its own WSGI application: ``serve.py SERVICE HOST PORT``.

Runs in OpenStack's virtual environment. Without Keystone: a request that does not say who asks is an
administrator's. There is no Cinder: what answers in its place knows of no volumes.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

_MODULES = {
    "nova": "nova.wsgi.osapi_compute",
    "neutron": "neutron.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
}
_PROJECT = "1" * 32
_ADMIN = {
    "HTTP_X_AUTH_TOKEN": "admin:admin",
    "HTTP_X_USER_ID": "2" * 32,
    "HTTP_X_PROJECT_ID": _PROJECT,
    "HTTP_X_TENANT_ID": _PROJECT,
    "HTTP_X_ROLES": "admin,manager,member,reader,service",
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_SERVICE_ROLES": "service",
    "HTTP_X_IS_ADMIN_PROJECT": "True",
}

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def no_volumes(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Nova asks for a guest's volumes before it reboots or rebuilds it."""
    body = json.dumps({"attachments": [], "volumes": [], "versions": []}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def identified(application: Application) -> Application:
    def application_for_admins(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_X_AUTH_TOKEN") == "notused":  # keystoneauth's, where auth_type is none
            del environ["HTTP_X_AUTH_TOKEN"]
        for key, value in _ADMIN.items():
            environ.setdefault(key, value)
        environ["CONTENT_LENGTH"] = environ.get("CONTENT_LENGTH") or "0"
        return application(environ, start_response)

    return application_for_admins


def main() -> None:
    service, host, port = sys.argv[1:]
    sys.argv = [f"{service}-api"]
    module = _MODULES.get(service)
    application = importlib.import_module(module).application if module else no_volumes
    from waitress import serve  # type: ignore[import-untyped]  # it ships no types

    serve(identified(application), host=host, port=int(port), threads=12, max_request_body_size=1 << 30)


if __name__ == "__main__":
    main()
