"""vifplugd under load, while it and all around it is killed: what was lost, left or wrong. 1 when anything was."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec

from bench.place import CACHE, NotPossible

from .run import Outcome, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of load (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the plan: the same one does the same things again")
    parser.add_argument("--clients", type=int, default=24, help="processes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of each client (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was found to FILE too")
    parser.add_argument("--log", metavar="FILE", type=Path, help="keep the daemon's log as FILE")
    parser.add_argument(
        "--dir", metavar="DIR", type=Path, default=CACHE, help="for its files (default: %(default)s)"
    )
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**6)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    def stop(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)  # on the way out, what runs is ended

    signal.signal(signal.SIGTERM, stop)
    say(f"seed {seed}")
    try:
        outcome = soak(
            chosen.dir,
            seed=seed,
            seconds=60 * chosen.minutes,
            clients=chosen.clients,
            threads=chosen.threads,
            say=say,
            log=chosen.log,
        )
    except NotPossible as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")
    _report(outcome)
    return 1 if outcome.wrong else 0


def _report(outcome: Outcome) -> None:
    for title, counts in (
        ("verbs", outcome.verbs),
        ("outcomes", outcome.outcomes),
        ("befell", outcome.befell),
        ("events", outcome.events),
    ):
        told = ", ".join(
            f"{count} {what}" for what, count in sorted(counts.items(), key=lambda each: -each[1])
        )
        print(f"{title}: {told}")
    took = ", ".join(
        f"{verb} {half:.2f} and {most:.2f}" for verb, (half, most) in sorted(outcome.took.items())
    )
    print(f"seconds, half of them and 99 in 100 at most: {took}")
    first, second = (bytes_ / 2**20 for bytes_ in outcome.memory)
    print(f"memory of the daemon at rest: {first:.1f} MiB, then {second:.1f} MiB")
    print(
        f"{len(outcome.wrong)} things wrong (--seed {outcome.seed}), in {outcome.seconds:.0f} s"
        if outcome.wrong
        else f"nothing lost, nothing left (--seed {outcome.seed}), in {outcome.seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
