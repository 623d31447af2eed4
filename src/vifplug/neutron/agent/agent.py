"""The agent, put together."""

from __future__ import annotations

import logging
from typing import Any

from ...client import Client
from . import listening
from .neutron import Neutron
from .options import GROUP
from .reporting import Reporting
from .vifs import Vifs

_LOG = logging.getLogger(__name__)


class Agent:
    """Made of the configuration (oslo.config's, parsed). What it does it does in threads."""

    def __init__(self, conf: Any) -> None:
        ours = conf[GROUP]
        self._host = conf.host
        self._client = Client(ours.socket)
        neutron = Neutron(conf.host)
        self._vifs: Vifs | None = None
        if ours.plugs:
            self._vifs = Vifs(
                self._client,
                neutron,
                abandoned_after=ours.abandoned_after,
                resync_interval=ours.resync_interval,
            )
        self._reporting = Reporting(
            neutron,
            self._client,
            self._vifs.compare_all if self._vifs is not None else lambda: None,
            interval=conf.AGENT.report_interval,
            physical_networks=ours.physical_networks,
            plugs=ours.plugs,
        )

    def start(self) -> None:
        """First hear, then look: so nothing is missed in between."""
        if self._vifs is not None:
            notifications = listening.Notifications(self._host, self._vifs.look, self._vifs.known)
            listening.start(self._host, notifications, listening.Ours(self._vifs.look))
            self._vifs.start()
        self._reporting.start()
        _LOG.info("Host agent of %s, vifplugd at %s", self._host, self._client.socket)

    def stop(self) -> None:
        """What is plugged stays plugged. The process must end soon: who listens to the bus is not waited for, and
        what is told meanwhile the next start finds out by itself."""
        self._reporting.stop()
        if self._vifs is not None:
            self._vifs.stop()
        self._client.close()
