"""``python -m bench``: measure everything in one run, print it, and with --json write it to a file."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec

from vifplug import VifplugError, __version__

from . import (
    burst,
    crowd,
    daemon,
    daemon_size,
    keeping,
    one_vif,
    peers,
    records,
    report,
    resident,
    scripts,
    start_up,
)
from .figures import Figure, Results, Surroundings
from .place import CACHE, NotPossible, Place, enter_own_network, file_system_of, own_place

Part = Callable[[Place], list[Figure]]


def parts(*, quick: bool) -> list[Part]:
    """Every part of the benchmark; quick ones show that it runs, and their numbers are not worth quoting."""
    if quick:
        return [
            lambda place: one_vif.measure(place, 3),
            lambda place: scripts.measure(place, 3),
            lambda place: resident.measure(place, 3),
            lambda place: burst.measure(place, 1, 8),
            lambda place: records.measure(place, 3, (10, 100)),
            lambda place: start_up.measure(place, 1),
            lambda place: daemon.measure(place, 3),
            lambda place: crowd.measure(place, 1, 16, (1, 16)),
            lambda place: daemon_size.measure(place, 1, (0, 10)),
            lambda place: keeping.measure(place, 1, 8),
        ]
    return [
        lambda place: one_vif.measure(place, 150),
        lambda place: scripts.measure(place, 100),
        lambda place: resident.measure(place, 200),
        lambda place: burst.measure(place, 5, 256),
        lambda place: records.measure(place, 100, (10, 1000, 5000)),
        lambda place: start_up.measure(place, 20),
        lambda place: daemon.measure(place, 100),
        lambda place: crowd.measure(place, 5, 256, (1, 16, 256)),
        lambda place: daemon_size.measure(place, 5, (0, 1000, 10_000)),
        lambda place: keeping.measure(place, 20, 1000),
    ]


def _peers(*, quick: bool) -> Part:
    """It needs environments of Nova's and os-vif's, which ``./dev bench peers`` makes, so it is no part of all."""
    return lambda place: peers.measure(place, 3 if quick else 150)


def _guests(*, quick: bool) -> list[Part]:
    """It needs the tests' libvirtd and the guest that they boot, which ``./dev bench guests`` provides."""
    from . import guests, moved

    return [
        lambda place: guests.measure(place, 2 if quick else 24),
        lambda _: moved.measure(1 if quick else 6),
    ]


def _chosen(part: str | None, *, quick: bool) -> list[Part]:
    match part:
        case "peers":
            return [_peers(quick=quick)]
        case "guests":
            return _guests(quick=quick)
        case _:
            return parts(quick=quick)


def measure(folder: Path, chosen: list[Part], *, quick: bool) -> Results:
    """These parts, printed as they go."""
    began, load = time.monotonic(), os.getloadavg()[0]
    figures: list[Figure] = []
    enter_own_network()
    for part in chosen:
        with own_place(folder) as place:  # each part with a fresh ledger
            found = part(place)
        print("\n".join(report.lines(found)), flush=True)
        figures += found
    return Results(
        vifplug=__version__,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        seconds=round(time.monotonic() - began, 1),
        surroundings=Surroundings(
            kernel=platform.release(),
            cpus=os.cpu_count() or 1,
            python=platform.python_version(),
            sqlite=sqlite3.sqlite_version,
            file_system=file_system_of(folder),
            load=(round(load, 2), round(os.getloadavg()[0], 2)),
        ),
        figures=figures,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "part",
        nargs="?",
        choices=["guests", "peers"],
        help="in place of all the rest: with real guests, beside libvirt alone; or beside Nova's own tap and os-vif",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE too")
    parser.add_argument("--quick", action="store_true", help="few rounds, in seconds: does it run at all?")
    parser.add_argument(
        "--dir",
        metavar="DIR",
        type=Path,
        default=CACHE,
        help="a directory on the disk to measure (default: %(default)s)",
    )
    chosen = parser.parse_args()

    def stop(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)  # on the way out, what was made is removed

    signal.signal(signal.SIGTERM, stop)
    try:
        results = measure(chosen.dir, _chosen(chosen.part, quick=chosen.quick), quick=chosen.quick)
        if chosen.json is not None:
            chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    except (NotPossible, VifplugError, OSError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.summary(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
