"""What the agent asks and tells Neutron's servers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from neutron.agent import rpc as agent_rpc
from neutron_lib import context as neutron_context
from neutron_lib import rpc as neutron_rpc
from neutron_lib.agent import constants as agent_constants
from neutron_lib.agent import topics
from oslo_config import cfg
from oslo_messaging import Target
from oslo_messaging.exceptions import MessagingException, MessagingTimeout
from oslo_messaging.rpc import RemoteError

from ...model.learn import learn
from .. import report, rpc

_LOG = logging.getLogger(__name__)

BINARY = "vifplug-neutron-agent"
#: what a call may end with: nobody answers, or the server says that it failed
FAILURES = (MessagingException, RemoteError)


def shortly(error: BaseException) -> str:
    """One of FAILURES in a line, the same for each that is the same."""
    if isinstance(error, MessagingTimeout):
        return "nobody answers"
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


class Bound(Struct, frozen=True, kw_only=True):
    """One binding of this host, as ``rpc_server`` tells it."""

    port_id: str
    network_id: str
    #: not for the destination of a live migration that is to come
    active: bool
    port_status: str
    admin_state_up: bool
    #: a port binding in vifplug's own form; None where it cannot be read, and ``error`` says why
    binding: dict[str, Any] | None
    error: str | None = None


learn(Bound)


class Neutron:
    """Neutron's servers. Safe to use from many threads; every method may raise one of FAILURES."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._agent_id = f"vifplug-{host}"
        self._plugin = agent_rpc.PluginApi(topics.PLUGIN)
        self._states = agent_rpc.PluginReportStateAPI(topics.REPORTS)
        self._ours = neutron_rpc.get_client(
            Target(topic=rpc.SERVER_TOPIC, namespace=rpc.NAMESPACE, version=rpc.VERSION)
        )

    @property
    def _context(self) -> Any:
        return neutron_context.get_admin_context_without_session()

    def bindings(self, ports: Sequence[str] | None = None) -> Iterator[Bound]:
        """What is bound here, of some ports (by id, or its first characters; at most ``rpc.PAGE``) or of all."""
        after: str | None = None
        while True:
            # no more than asked for: a server that is being upgraded may not know what is new
            named = {key: value for key, value in (("ports", ports), ("after", after)) if value is not None}
            answer = self._ours.prepare(timeout=cfg.CONF.rpc_response_timeout).call(
                self._context, "get_bindings", host=self.host, **named
            )
            for each in answer["bindings"]:
                yield msgspec.convert(each, Bound)
            after = answer["next"]
            if after is None:
                return

    def building(self, port_id: str) -> None:
        """The port is being plugged: its status becomes BUILD, so that ACTIVE is news to Nova in any case."""
        self._plugin.get_devices_details_list_and_failed_devices(
            self._context, [port_id], self._agent_id, self.host
        )

    def up(self, port_id: str) -> None:
        self._plugin.update_device_up(self._context, port_id, self._agent_id, self.host)

    def down(self, port_id: str) -> None:
        self._plugin.update_device_down(self._context, port_id, self._agent_id, self.host)

    def report(self, configurations: dict[str, Any], *, first: bool) -> bool:
        """The host's state; whether the server had taken this agent for dead."""
        state: dict[str, Any] = {
            "agent_type": report.AGENT_TYPE,
            "binary": BINARY,
            "host": self.host,
            "topic": "N/A",  # as all L2 agents: what they are told comes by fanout
            "configurations": configurations,
        }
        if first:
            state["start_flag"] = True
        answer = self._states.report_state(self._context, state, use_call=True)
        return bool(answer == agent_constants.AGENT_REVIVED)
