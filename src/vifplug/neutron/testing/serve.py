"""The process that is a Neutron server: its own WSGI application at a Unix socket, without Keystone. Run by process.py.

Each request is an administrator's. POST /vifplug/report does what comes over RPC in a cloud: a host's state report.
"""

from __future__ import annotations

import ctypes
import importlib
import signal
import sys

_SOCKET, _DATABASE = sys.argv[1:3]
sys.argv = ["neutron-api"]
_PR_SET_PDEATHSIG = 1  # prctl(2): it ends with the test that started it, however that ends
ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _make_tables() -> None:
    import sqlalchemy
    from neutron.db.migration.models import head

    engine = sqlalchemy.create_engine(_DATABASE)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:  # then one that reads keeps nobody from writing
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    head.get_metadata().create_all(engine)  # those that are not there
    engine.dispose()


try:
    # the application looks for its tables as it is made
    importlib.import_module("neutron.wsgi")
    _make_tables()
    neutron_api = importlib.import_module("neutron.wsgi.api").application
except ModuleNotFoundError as error:
    if error.name not in ("neutron.wsgi", "neutron.wsgi.api"):
        raise
    # releases without it are served by eventlet, which has to come before all else
    server = importlib.import_module("neutron.cmd.eventlet.server")
    _make_tables()
    neutron_api = server.main_api_eventlet()

# eventlet puts its own in the place of sockets and threads, so the rest comes after it
import json  # noqa: E402
import socketserver  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer  # noqa: E402

_ADMIN = {
    "HTTP_X_AUTH_TOKEN": "none",
    "HTTP_X_USER_ID": "2" * 32,
    "HTTP_X_PROJECT_ID": "1" * 32,
    "HTTP_X_ROLES": "admin,manager,member,reader,service",
    "HTTP_X_SERVICE_ROLES": "service",
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
}


def _report(state: dict[str, Any]) -> None:
    from neutron.db.agents_db import AgentExtRpcCallback
    from neutron_lib import context
    from oslo_utils import timeutils

    AgentExtRpcCallback().report_state(
        context.get_admin_context(), agent_state={"agent_state": state}, time=timeutils.utcnow().isoformat()
    )


def _application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/vifplug/report":
        _report(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
        start_response("204 No Content", [])
        return []
    environ.update(_ADMIN)
    environ["CONTENT_LENGTH"] = environ.get("CONTENT_LENGTH") or "0"
    answer: Iterable[bytes] = neutron_api(environ, start_response)
    return answer


class _Server(WSGIServer):
    address_family = 1  # AF_UNIX

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "neutron", 9696
        self.setup_environ()

    def get_request(self) -> Any:
        return self.socket.accept()[0], ("127.0.0.1", 0)


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


served = _Server(_SOCKET + ".new", _Handler)  # type: ignore[arg-type]  # the address of a Unix socket
served.set_app(_application)
Path(_SOCKET + ".new").rename(_SOCKET)
while True:  # serve_forever waits in a selector, in which eventlet's threads would stand still
    served.process_request(*served.get_request())
