"""What befalls the host meanwhile: kills and meddling, at moments that the seed decides."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

from .clients import Clients
from .place import Site, ip

#: mean seconds between two of a kind
RATES: Mapping[str, float] = {
    "daemon killed": 5.0,
    "daemon stopped": 9.0,
    "client killed": 0.7,
    "script killed": 0.4,
    "tap deleted": 0.7,
    "tap's MAC changed": 1.3,
    "tap's MTU changed": 1.3,
    "tap renamed": 3.0,
}
#: where the daemon is to stay up
CALM: Mapping[str, float] = {name: mean for name, mean in RATES.items() if not name.startswith("daemon")}


def moments(seed: int, part: str, seconds: float, rates: Mapping[str, float]) -> Iterator[tuple[float, str]]:
    """What happens when, in seconds from the beginning, in that order."""
    found = []
    for name, mean in rates.items():
        chance = Random(f"{seed}/{part}/{name}")
        at = chance.expovariate(1 / mean)
        while at < seconds:
            found.append((at, name))
            at += chance.expovariate(1 / mean)
    yield from sorted(found)


class Chaos:
    """Does these things to a site and its clients, and counts what it did."""

    def __init__(self, site: Site, clients: Clients, seed: int) -> None:
        self._site = site
        self._clients = clients
        self._chance = Random(f"{seed}/chaos")
        self.done: Counter[str] = Counter()
        #: what ought not to have happened
        self.bad: list[str] = []

    def rage(self, part: str, seed: int, seconds: float, rates: Mapping[str, float]) -> None:
        """For so many seconds."""
        began = time.monotonic()
        for at, name in moments(seed, part, seconds, rates):
            self._until(began + at)
            if self._happens(name):
                self.done[name] += 1
        self._until(began + seconds)

    def _until(self, moment: float) -> None:
        """Wait, and see that the daemon does not end by itself."""
        while (left := moment - time.monotonic()) > 0:
            status = self._site.ended(left)
            if status is not None:
                self.bad.append(f"the daemon ended by itself with {status}")
                self._site.start()

    def _happens(self, name: str) -> bool:
        if name == "daemon killed":
            self._site.signal(signal.SIGKILL)
            self._site.start()
            return True
        if name == "daemon stopped":
            self._site.signal(signal.SIGTERM)
            self._site.start()
            return True
        if name == "client killed":
            self._clients.kill(self._chance.choice(sorted(self._clients.running)))
            return True
        if name == "script killed":
            return self._kill_script()
        return self._meddle(name)

    def _kill_script(self) -> bool:
        scripts = sorted(self._site.processes())
        if not scripts:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._chance.choice(scripts), signal.SIGKILL)
        return True

    def _meddle(self, name: str) -> bool:
        taps = sorted(self._site.taps())
        if not taps:
            return False
        tap = self._chance.choice(taps)
        match name:
            case "tap deleted":
                return ip("link", "delete", tap, check=False)
            case "tap's MAC changed":
                return ip("link", "set", tap, "address", "02:00:00:00:00:01", check=False)
            case "tap's MTU changed":
                return ip("link", "set", tap, "mtu", "1280", check=False)
            case _:
                return ip("link", "set", tap, "down", "name", f"x{tap[:14]}", check=False)
