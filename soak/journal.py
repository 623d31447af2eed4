"""What clients did and what the daemon told, line by line in one file: a killed client's words are there, too."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from statistics import quantiles

from vifplug.client import Client
from vifplug.errors import DaemonUnreachable, Stopping

#: seconds until a daemon that is not there is asked again
_PAUSE = 0.2
#: failures that kills, scripts made to fail and clients that do not wait for each other explain
EXPECTED = frozenset(
    {
        "backend_unavailable",
        "busy",
        "daemon_unreachable",
        "device_failed",
        "failed",
        "not_plugged",
        "retry_later",
        "stopping",
        "timed_out",
        "too_busy",
        "undo_incomplete",
        "update_refused",
    }
)


class Journal:
    """A file that processes append to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.verbs: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = {}

    def close(self) -> None:
        os.close(self.file)

    def read(self) -> list[str]:
        """Count what is in it; what ought not to be there."""
        wrong: Counter[str] = Counter()
        for line in self._path.read_text().splitlines():
            verb, outcome, took = line.split("\t")
            if verb == "event":
                self.events[outcome] += 1
                continue
            self.verbs[verb] += 1
            self.outcomes[outcome] += 1
            self._seconds.setdefault(verb, []).append(float(took))
            if outcome != "done" and outcome not in EXPECTED:
                wrong[f"a client's {verb} ended with {outcome}"] += 1
        return [f"{what} ({count} times)" for what, count in wrong.items()]

    def took(self) -> dict[str, tuple[float, float]]:
        """Seconds that each verb took: half of them at most, and 99 in 100."""
        return {
            verb: (quantiles(times, n=100)[49], quantiles(times, n=100)[98])
            for verb, times in self._seconds.items()
            if len(times) > 1
        }


def listen(socket: str, journal: int) -> int:
    """A process that notes every event, over the daemon's restarts; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        with Client(socket, timeout=60) as client:
            while True:
                with contextlib.suppress(DaemonUnreachable, Stopping):  # it was killed as it was asked
                    for event in client.events():
                        os.write(journal, f"event\t{event.kind}\t0\n".encode())
                time.sleep(_PAUSE)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
