"""What a worker process does: it says "done" when it is ready, and after each thing that it was asked for how long
that took.

Nothing of vifplug is imported here: an environment of another project's may run it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from time import perf_counter

#: a Linux bridge of vifplug's that is there, one that its script makes, with its uplink; the switch's bridge
BRIDGE, OWN, UPLINK, SWITCH = "vpbench0", "vpbench1", "vpbench1-up", "br-int"
#: os-vif's: one that is there, one that it makes; their uplinks are called so with "-up"
THERE, OTHERS = "vpbench2", "vpbench3"


#: VIFs that are plugged at once where many are
MANY = 16


def serve(jobs: Mapping[str, Callable[[], object]]) -> None:
    """Do what the lines on standard input name, until they end."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what else prints does not answer
    answers.write("done 0\n")
    for line in sys.stdin:
        job = jobs[line.strip()]
        began = perf_counter()
        try:
            job()
        except Exception as error:
            answers.write(f"{type(error).__name__}: {error}".replace("\n", " ") + "\n")
        else:
            answers.write(f"done {perf_counter() - began}\n")
