"""What comes over RPC in a cloud, as requests below /test of the Neutron server: they call Neutron's own endpoints.

Loaded by the server itself, from the api-paste.ini that neutron_server.py writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from neutron_lib import context
from neutron_lib.plugins import directory


def _status(said: dict[str, Any]) -> None:
    """What an agent says of a port: update_device_up and update_device_down."""
    from neutron.plugins.ml2 import rpc
    from neutron.plugins.ml2.drivers import type_tunnel

    notifier = directory.get_plugin().notifier
    endpoint = rpc.RpcCallbacks(notifier, directory.get_plugin().type_manager)
    assert isinstance(endpoint, type_tunnel.TunnelRpcCallbackMixin)
    call = endpoint.update_device_up if said["up"] else endpoint.update_device_down
    call(context.get_admin_context(), device=said["port"], host=said["host"], agent_id="vifplug-test")


def _dhcp(said: dict[str, Any]) -> None:
    """The DHCP agent has the port's entry: dhcp_ready_on_ports."""
    from neutron.api.rpc.handlers.dhcp_rpc import DhcpRpcCallback

    DhcpRpcCallback().dhcp_ready_on_ports(context.get_admin_context(), port_ids=[said["port"]])


_CALLS = {"/dhcp": _dhcp, "/status": _status}


def application(_settings: dict[str, str]) -> Any:
    """As PasteDeploy's paste.app_factory makes one."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        _CALLS[environ["PATH_INFO"]](body)
        start_response("204 No Content", [])
        return []

    return answer
