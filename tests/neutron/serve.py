"""The real Neutron server at a Unix socket: its own WSGI application, its whole API. Run by neutron_server.py.

Without Keystone: each request that says nothing else is an administrator's. A request below /test does what comes
over RPC in a cloud, by calling Neutron's own endpoint for it.
"""

from __future__ import annotations

import importlib
import sys

_SOCKET = sys.argv[1]
sys.argv = ["neutron-api"]
try:
    neutron_api = importlib.import_module("neutron.wsgi.api").application
except ModuleNotFoundError:  # in older releases the entry point is a script that calls this
    neutron_api = importlib.import_module("neutron.cmd.eventlet.server").main_api_eventlet()

# those have eventlet put its own in the place of sockets and threads, so the rest comes after it
import json  # noqa: E402
import socketserver  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer  # noqa: E402

_PROJECT = "1" * 32
_ADMIN = {
    "HTTP_X_AUTH_TOKEN": "none",
    "HTTP_X_USER_ID": "2" * 32,
    "HTTP_X_PROJECT_ID": _PROJECT,
    "HTTP_X_ROLES": "admin,manager,member,reader,service",
    "HTTP_X_SERVICE_ROLES": "service",
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
}


def _report(state: dict[str, Any]) -> None:
    """An agent's state report, as the host agent sends it."""
    from neutron.db.agents_db import AgentExtRpcCallback
    from neutron_lib import context
    from oslo_utils import timeutils

    now = timeutils.utcnow().isoformat()
    AgentExtRpcCallback().report_state(
        context.get_admin_context(), agent_state={"agent_state": state}, time=now
    )


def _status(said: dict[str, Any]) -> None:
    """What an agent says of a port: update_device_up and update_device_down."""
    from neutron.plugins.ml2 import rpc
    from neutron.plugins.ml2.drivers import type_tunnel
    from neutron_lib import context
    from neutron_lib.plugins import directory

    notifier = directory.get_plugin().notifier
    endpoint = rpc.RpcCallbacks(notifier, directory.get_plugin().type_manager)
    assert isinstance(endpoint, type_tunnel.TunnelRpcCallbackMixin)
    call = endpoint.update_device_up if said["up"] else endpoint.update_device_down
    call(context.get_admin_context(), device=said["port"], host=said["host"], agent_id="vifplug-test")


def _dhcp(said: dict[str, Any]) -> None:
    """The DHCP agent has the port's entry: dhcp_ready_on_ports."""
    from neutron.api.rpc.handlers.dhcp_rpc import DhcpRpcCallback
    from neutron_lib import context

    DhcpRpcCallback().dhcp_ready_on_ports(context.get_admin_context(), port_ids=[said["port"]])


_TEST = {"/test/dhcp": _dhcp, "/test/report": _report, "/test/status": _status}


def _application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] in _TEST:
        body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        _TEST[environ["PATH_INFO"]](body)
        start_response("204 No Content", [])
        return []
    for key, value in _ADMIN.items():
        environ.setdefault(key, value)
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


server = _Server(_SOCKET + ".new", _Handler)  # type: ignore[arg-type]  # the address of a Unix socket
server.set_app(_application)
Path(_SOCKET + ".new").rename(_SOCKET)
while True:  # serve_forever waits in a selector, in which eventlet's threads would stand still
    server.process_request(*server.get_request())
