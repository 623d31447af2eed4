"""What Neutron's servers tell the agent: as to all L2 agents, and in words of our own (``rpc``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import oslo_messaging
from neutron_lib import rpc as neutron_rpc
from neutron_lib.agent import topics
from oslo_messaging import Target

from .. import rpc

#: neutron.plugins.ml2.rpc.AgentNotifierApi: what it casts to all agents
_TOLD = (
    (topics.PORT, topics.UPDATE),
    (topics.PORT, topics.DELETE),
    (topics.NETWORK, topics.UPDATE),
    (topics.PORT_BINDING, topics.ACTIVATE),
    (topics.PORT_BINDING, topics.DEACTIVATE),
)


class Notifications:
    """Of ports and networks of the whole cloud; most concern other hosts.

    ``look``: called with ids of ports of which the binding here may have changed; ``known``: with the id of a port or
    of a network, says which ports of it are known here.
    """

    target = Target(version="1.5")

    def __init__(
        self, host: str, look: Callable[[Iterable[str]], None], known: Callable[[str], set[str]]
    ) -> None:
        self._host = host
        self._look = look
        self._known = known

    def port_update(self, _context: Any, port: Mapping[str, Any], **_: Any) -> None:
        if port.get("binding:host_id") == self._host or self._known(port["id"]):
            self._look([port["id"]])

    def port_delete(self, _context: Any, port_id: str, **_: Any) -> None:
        self._look(self._known(port_id))

    def network_update(self, _context: Any, network: Mapping[str, Any], **_: Any) -> None:
        self._look(self._known(network["id"]))

    def binding_activate(self, _context: Any, port_id: str, host: str, **_: Any) -> None:
        if host == self._host or self._known(port_id):
            self._look([port_id])

    def binding_deactivate(self, _context: Any, port_id: str, host: str, **_: Any) -> None:
        if host == self._host or self._known(port_id):
            self._look([port_id])


class Ours:
    """``rpc``: to this host's agent alone."""

    target = Target(namespace=rpc.NAMESPACE, version=rpc.VERSION)

    def __init__(self, look: Callable[[Iterable[str]], None]) -> None:
        self._look = look

    def look(self, _context: Any, ports: Iterable[str]) -> None:
        self._look(ports)


def start(host: str, notifications: Notifications, ours: Ours) -> None:
    """Listen, in threads, until the process ends. They connect again by themselves when the connection is lost."""
    targets = [
        (
            Target(topic=topics.get_topic_name(topics.AGENT, what, how), server=host, fanout=True),
            notifications,
        )
        for what, how in _TOLD
    ]
    for target, endpoint in [*targets, (Target(topic=rpc.AGENT_TOPIC, server=host), ours)]:
        # not neutron_lib's get_server, which in older releases wants eventlet
        server = oslo_messaging.get_rpc_server(
            neutron_rpc.TRANSPORT,
            target,
            [endpoint],
            executor="threading",
            serializer=neutron_rpc.RequestContextSerializer(),
            access_policy=oslo_messaging.rpc.dispatcher.DefaultRPCAccessPolicy,
        )
        server.start()
