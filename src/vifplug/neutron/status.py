"""Port status. Where no agent reports a port up, the driver has to: else it stays DOWN, after a live migration
for good, and Nova waits for it in vain.

A port comes up through Neutron's provisioning blocks, as it does for an agent, so that it waits for its DHCP
entry too. What was left DOWN, by a server that ended in between or an event that got lost, is found again by a
look at the database, at start and from time to time.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Collection
from typing import Any

from neutron.db import models_v2, provisioning_blocks
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins import directory
from oslo_config import cfg

from . import bound, options, plain, report

_LOG = logging.getLogger(__name__)

#: seconds
_A_MOMENT = 3.0
#: in a port's profile, while Nova migrates its guest
_MIGRATING = "migrating_to"


def hold_for_agent(context: Any, vnic_types: Collection[str]) -> None:
    """Keep a new port DOWN until the agent of its host, if that is who plugs it, says that it is plugged."""
    port = context.current
    if (
        context.host
        and port["status"] != constants.PORT_STATUS_ACTIVE
        and port["device_owner"].startswith(constants.DEVICE_OWNER_COMPUTE_PREFIX)
        and port.get(portbindings.VNIC_TYPE, "normal") in vnic_types
        and _agent_reports(bound.request(context), context.host)
    ):
        provisioning_blocks.add_provisioning_component(
            bound.request(context), port["id"], resources.PORT, provisioning_blocks.L2_AGENT_ENTITY
        )


def keep_up(context: Any) -> None:
    """A port that was ACTIVE stays so while Nova notes in its profile that its guest migrates, or does no longer.

    For that Neutron binds it anew on the same host, with DOWN in between, though nothing of its VIF changes there.
    At the end of the migration Nova looks at the status right then, and a rebuild would wait for an event that never
    comes. At its beginning Nova waits for the destination, and whoever brought the port up again would be taken for
    it; only where no agent reports the destination up has that to be so.
    """
    port, before = context.current, context.original
    if before["status"] != constants.PORT_STATUS_ACTIVE or port["status"] != constants.PORT_STATUS_DOWN:
        return
    was, now = ((each.get(portbindings.PROFILE) or {}).get(_MIGRATING) for each in (before, port))
    if was == now or not port["admin_state_up"] or (now and not _agent_reports(bound.request(context), now)):
        return
    session = bound.request(context).session
    session.query(models_v2.Port).filter_by(id=port["id"]).one().status = constants.PORT_STATUS_ACTIVE
    port["status"] = constants.PORT_STATUS_ACTIVE


def settle(context: Any) -> None:
    """A bound port is ACTIVE, unless it is disabled or the agent that plugs it has the say."""
    port = context.current
    if port["device_owner"] == constants.DEVICE_OWNER_DVR_INTERFACE:
        return  # bound on many hosts at once; Neutron's router agents have the say
    up = port["status"] == constants.PORT_STATUS_ACTIVE
    if up == port["admin_state_up"] or plain.read(context.vif_type, context.vif_details).plain:
        return
    if up:
        _update(context, constants.PORT_STATUS_DOWN)
        return
    _bring_up(bound.request(context), port["id"])
    # what this request answers is as of its transaction: say what holds now
    port["status"] = directory.get_plugin().get_port(bound.request(context), port["id"])["status"]


def reconcile(driver: Any) -> int:
    """Bring up what the driver bound and what is DOWN all the same. Returns how many it found.

    A port is DOWN for a moment whenever it is bound, here or by another server: only one that still is, seconds
    later, was left so.
    """
    name = driver.name
    if name is None:
        return 0
    context = neutron_context.get_admin_context()
    left = bound.left_down(context, name)
    if left:
        time.sleep(_A_MOMENT)
        left &= bound.left_down(context, name)
    for port_id, host in left:
        _LOG.info("Port %s is bound on host %s and was left DOWN: bringing it up", port_id, host)
        _bring_up(context, port_id)
    return len(left)


class Reconciler:
    """Looks for ports left DOWN when a server process has started, and then from time to time.

    Every process does: each look is one query, and a port that is up already is left alone.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._process: int | None = None
        self._lock = threading.Lock()
        registry.subscribe(self.start, resources.PROCESS, events.AFTER_INIT)

    def start(self, *_: Any, **__: Any) -> None:
        """Begin, unless this process has: a thread does not outlive the fork that made the process."""
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._look, name="vifplug-reconcile", daemon=True).start()

    def _look(self) -> None:
        waiting = threading.Event()
        while True:
            try:
                reconcile(self._driver)
            except Exception:  # whatever the database says today: tomorrow it may be well
                _LOG.exception("Looking for ports left DOWN failed; it is tried again")
            interval = cfg.CONF[options.GROUP].reconcile_interval
            if not interval:
                return
            # not all servers at once
            waiting.wait(interval * random.uniform(0.8, 1.2))  # noqa: S311


def _agent_reports(plugin_context: Any, host: str) -> bool:
    which = {"agent_type": [report.AGENT_TYPE], "host": [host]}
    agents = directory.get_plugin().get_agents(plugin_context.elevated(), filters=which)
    return any(agent["configurations"].get("reports_status") for agent in agents)


def _bring_up(plugin_context: Any, port_id: str) -> None:
    # another mechanism's agent on the same host may have made Neutron block the port under this name
    provisioning_blocks.provisioning_complete(
        plugin_context, port_id, resources.PORT, provisioning_blocks.L2_AGENT_ENTITY
    )


def _update(context: Any, status: str) -> None:
    directory.get_plugin().update_port_status(bound.request(context), context.current["id"], status)
    context.current["status"] = status
