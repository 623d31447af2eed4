"""What servers and host agents ask and tell each other beside what Neutron has for all its L2 agents.

Neutron's get_device_details says nothing of vif_details, nor anything at all of a binding that is not active
yet, which the destination of a live migration has to plug. An RPC of our own, with a topic, a namespace and a
version of its own, says both and disturbs no other agent. The server's side is in ``rpc_server``, the agent's in
``agent``.

=================  =======================================================================================
to the servers     ``get_bindings(host, ports=None, after=None)``: see ``rpc_server.Endpoint``
to a host's agent  ``look(ports)``, a cast: what is bound of these ports on your host may have changed.
                   Sent where Neutron's own port_update, port_delete, binding_activate and
                   binding_deactivate are not: a vhost-user port (no tap will tell of it) is being bound for
                   a live migration's destination, or a port left the host
=================  =======================================================================================
"""

from __future__ import annotations

import logging
from typing import Any

from neutron_lib import rpc as neutron_rpc
from oslo_messaging import Target
from oslo_messaging.exceptions import MessagingException

_LOG = logging.getLogger(__name__)

NAMESPACE = "vifplug"
VERSION = "1.0"
SERVER_TOPIC = "vifplug-plugin"
AGENT_TOPIC = "vifplug-agent"

#: bindings in one answer
PAGE = 100


class Agents:
    """The host agents, as a server tells them."""

    def __init__(self) -> None:
        self._client: Any = None

    def look(self, context: Any, host: str, port_id: str) -> None:
        """Never raises: an agent that does not hear of it looks for itself, from time to time."""
        try:
            if (
                self._client is None
            ):  # made late: the process that answers may be forked after the driver was made
                self._client = neutron_rpc.get_client(
                    Target(topic=AGENT_TOPIC, namespace=NAMESPACE, version=VERSION)
                )
            self._client.prepare(server=host, retry=1).cast(context, "look", ports=[port_id])
        except MessagingException as error:
            _LOG.warning("The agent of host %s could not be told of port %s: %s", host, port_id, error)
