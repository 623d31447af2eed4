"""The agent's state reports, by which Neutron knows that the host is well and what it can plug."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...client import Client
from ...errors import VifplugError
from .. import report
from .neutron import FAILURES, Neutron, shortly

_LOG = logging.getLogger(__name__)

#: seconds that a report takes no longer where all is well
_SLOW = 3.0


class Reporting:
    """Reports every ``interval`` seconds. ``on_return``: called when servers may have told us of what we did not hear:
    after a report that failed, and when the server had taken the agent for dead.

    While vifplugd is away nothing is reported: Neutron then takes the agent for dead, and binds no port here that
    nobody could plug.
    """

    def __init__(
        self,
        neutron: Neutron,
        client: Client,
        on_return: Callable[[], object],
        *,
        interval: float,
        physical_networks: Sequence[str] | None,
        plugs: bool,
    ) -> None:
        self._neutron = neutron
        self._client = client
        self._on_return = on_return
        self._interval = interval
        self._physical_networks = physical_networks
        self._plugs = plugs
        self._first = True
        self._failure: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vifplug-reports", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._report()
            except Exception:  # whatever it is: the next report may go out
                _LOG.exception("The state of this host could not be reported")
                self._failure = ""
            wait = min(self._interval, 5.0) if self._failure is not None else self._interval
            self._stopping.wait(wait * random.uniform(0.9, 1.0))  # noqa: S311 (not all hosts at once)

    def _report(self) -> None:
        began = time.monotonic()
        try:
            revived = self._neutron.report(self._configurations(), first=self._first)
        except VifplugError as error:
            self._failed(f"vifplugd cannot be asked for its scripts: {error}")
        except ValueError as error:
            self._failed(f"this host cannot be reported: {error}")
        except FAILURES as error:
            self._failed(f"no Neutron server takes the state report: {shortly(error)}")
        else:
            # without a message bus a call waits until there is one again, and then succeeds
            back = self._failure is not None or time.monotonic() - began > _SLOW
            if self._failure is not None:
                _LOG.info("The state of this host is reported again")
            self._failure = None
            if self._first:
                _LOG.info("The state of this host is reported to Neutron")
            elif back or revived:
                _LOG.info("Neutron may have missed us, and we it: all is compared")
                self._on_return()
            self._first = False

    def _configurations(self) -> dict[str, Any]:
        entries = json.loads(json.dumps(self._client.scripts(), default=dict))  # answers, as plain objects
        return report.write(entries, physical_networks=self._physical_networks, reports_status=self._plugs)

    def _failed(self, what: str) -> None:
        if what != self._failure:  # once, not every few seconds
            _LOG.warning("%s; it is tried again", what)
        self._failure = what
