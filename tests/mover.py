"""A process that moves a guest, and dies of SIGKILL at the phase that it is told: ``python mover.py JSON``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any, cast

from vifplug.host import Host
from vifplug.libvirt import Phase, connect, find_domain, migrate
from vifplug.libvirt.connection import Domain, binding, keep_quiet
from vifplug.remote import RemoteHost


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_on_the_way(domain: Domain) -> None:
    """As soon as the guest's memory is being sent."""
    while not domain.jobStats().get("memory_processed", 0):
        time.sleep(0.005)
    die()


def main(told: dict[str, Any]) -> None:
    keep_quiet()
    source, destination = connect(told["source"]), connect(told["destination"])
    domain = find_domain(source, "guest")

    def on_phase(phase: Phase) -> None:
        if phase.value == told["die"]:
            die()
        if (phase, told["die"]) == (Phase.PLUGGED, "moving"):
            threading.Thread(target=die_on_the_way, args=(domain,), daemon=True).start()

    here, there = (cast("Host", RemoteHost(told[name])) for name in ("here", "there"))
    migrate(
        here, domain, there, destination,
        peer_to_peer=told["destination"] if told["peer_to_peer"] else None,
        parameters={binding().VIR_MIGRATE_PARAM_BANDWIDTH: 20} if told["die"] == "moving" else None,
        on_phase=on_phase,
    )  # fmt: skip


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
