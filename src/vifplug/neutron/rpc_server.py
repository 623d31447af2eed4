"""What the servers answer host agents. See ``rpc``.

ML2 has each mechanism driver start its listeners in the processes that answer agents (start_rpc_listeners), since
2024.1 or so. Older ones only say that such a process has begun. However many drivers are built on vifplug, one
listener in each process answers for all.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from neutron_lib import context as neutron_context
from neutron_lib import rpc as neutron_rpc
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api
from oslo_messaging import Target

from ..model import VifType, as_binding
from . import bound, plain, rpc
from .plan import Refused
from .plan import read as read_port

_LOG = logging.getLogger(__name__)

_GUARD = threading.Lock()
#: processes in which the listener runs, or in which somebody waits for the word to start it
_STARTED: set[int] = set()
_REGISTERED = False


class Endpoint:
    """Answers what an agent asks."""

    target = Target(namespace=rpc.NAMESPACE, version=rpc.VERSION)

    def get_bindings(
        self, _context: Any, host: str, ports: Sequence[str] | None = None, after: str | None = None
    ) -> dict[str, Any]:
        """What is bound on a host for its agent to plug, and be it for a live migration that is to come.

        ``ports``: of these alone, by id or its first 11 characters; what is not in the answer is not bound there.
        Without: page by page; ``next`` of the answer is the next page's ``after``, or None.
        """
        context = neutron_context.get_admin_context()
        if ports is not None and len(ports) > rpc.PAGE:
            raise ValueError(f"at most {rpc.PAGE} ports can be asked for at once, not {len(ports)}")
        found, following = bound.on_host(context, drivers(), host, ports=ports, after=after, limit=rpc.PAGE)
        return {"bindings": [_told(each) for each in found], "next": following}


def drivers() -> list[str]:
    """The mechanism drivers, by name, that are built on vifplug."""
    from .driver import VifplugMechanismDriver

    known = directory.get_plugin().mechanism_manager.mech_drivers
    return [name for name, each in known.items() if isinstance(each.obj, VifplugMechanismDriver)]


def register() -> None:
    """Have the listener started where ML2 does not ask the drivers to."""
    global _REGISTERED  # noqa: PLW0603 (once for all drivers)
    if not _REGISTERED and not hasattr(api.MechanismDriver, "start_rpc_listeners"):
        registry.subscribe(_process_began, resources.PROCESS, events.AFTER_INIT)
        _REGISTERED = True


def start() -> Sequence[Any]:
    """Listen in this process, unless it does already. Returns the servers that were started."""
    with _GUARD:
        if os.getpid() in _STARTED:
            return []
        _STARTED.add(os.getpid())
    connection = neutron_rpc.Connection()
    connection.create_consumer(rpc.SERVER_TOPIC, [Endpoint()], fanout=False)
    _LOG.info("Host agents are answered by this process")
    servers: Sequence[Any] = connection.consume_in_threads()
    return servers


def _process_began(_resource: Any, _event: Any, trigger: Any, **_: Any) -> None:
    """``trigger`` is the start method of the worker that begins (neutron_lib.worker)."""
    from neutron.service import RpcReportsWorker, RpcWorker

    worker = getattr(trigger, "__self__", None)
    if isinstance(worker, RpcWorker) and not isinstance(worker, RpcReportsWorker):
        start()


def _told(context: Any) -> dict[str, Any]:
    """One binding, as ``vifplug`` has it, and what the agent wants to know beside it."""
    port, binding = context.current, context._binding
    meant = plain.read(binding.vif_type, context.vif_details)
    found: dict[str, Any] = {
        "port_id": port["id"],
        "network_id": port["network_id"],
        "active": binding.status == "ACTIVE",
        "port_status": port["status"],
        "admin_state_up": port["admin_state_up"],
        "binding": None,
        "error": None,
    }
    profile = {
        key: value for key, value in (port.get(portbindings.PROFILE) or {}).items() if key != "migrating_to"
    }
    try:
        vif = read_port({**port, portbindings.PROFILE: profile}, VifType(meant.vif_type), meant.details)
    except (Refused, ValueError) as error:
        found["error"] = str(error)
        return found
    found["binding"] = as_binding(vif) | {"network": _network(context)}
    return found


def _network(context: Any) -> dict[str, Any]:
    """What a guest's host may know of the port's network: as Nova tells it."""
    port, network = context.current, context.network.current
    by_subnet: dict[str, list[str]] = {}
    for fixed in port.get("fixed_ips") or ():
        by_subnet.setdefault(fixed["subnet_id"], []).append(fixed["ip_address"])
    plugin = directory.get_plugin()
    found = (
        plugin.get_subnets(neutron_context.get_admin_context(), filters={"id": list(by_subnet)})
        if by_subnet
        else []
    )
    subnets = [
        {
            "id": subnet["id"],
            "cidr": str(subnet["cidr"]),
            "gateway": subnet["gateway_ip"],
            "addresses": sorted(by_subnet[subnet["id"]]),
            "dns": list(subnet["dns_nameservers"]),
            "routes": [
                {"destination": route["destination"], "nexthop": route["nexthop"]}
                for route in subnet["host_routes"]
            ],
        }
        for subnet in sorted(found, key=lambda subnet: str(subnet["cidr"]))
    ]
    known = {
        "id": network["id"],
        "label": network.get("name"),
        "project_id": network.get("project_id"),
        "subnets": [
            {key: value for key, value in subnet.items() if value not in (None, [])} for subnet in subnets
        ],
    }
    return {key: value for key, value in known.items() if value not in (None, "", [])}
