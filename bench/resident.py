"""A script that stays up, against one process for each call."""

from __future__ import annotations

import os
from functools import partial

import plugscript
from vifplug import read_binding
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import Request, RequestHost, request_for
from vifplug.script.marks import Mark
from vifplug.script.runner import Runner

from .figures import Aim, Figure, figure
from .place import Place, binding
from .scripts import NOTHING, SPAWN, environment_of, spawn
from .turns import take_turns

#: what an author writes with the SDK, with verbs that do nothing
SCRIPT = f"""#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {os.path.dirname(plugscript.__file__)!r})
import plugscript

script = plugscript.Script("stays", version="1", vif_types=["ethernet"], resident=True)

@script.verb
def plug(request):
    return None

@script.verb
def unplug(request):
    return None

script.main()
"""  # noqa: PTH120


class _Nobody:
    """No ledger: nothing is left behind when the benchmark is killed but its own folder."""

    def started(self, mark: Mark) -> None: ...

    def ended(self, mark: Mark) -> None: ...


def measure(place: Place, rounds: int) -> list[Figure]:
    place.script("stays", SCRIPT)
    place.script("python-I-S", NOTHING["python-I-S"])
    config = place.config()
    runner, catalogue = Runner(config, _Nobody()), Catalogue(config)
    script, bare = catalogue.find("stays"), catalogue.find("python-I-S")
    request = request_for(
        "plug", read_binding(binding(1, "stays")), generation=1, host=RequestHost.here(), deadline=30.0
    )
    environment = environment_of(binding(1, "python-I-S"))

    def call(request: Request, *, resident: bool) -> None:
        call = runner.call(script, request, seconds=30.0, mark=Mark.new(), resident=resident)
        assert call.outcome == "done", call

    try:
        samples = take_turns(
            rounds,
            {
                "resident": {"call": partial(call, request, resident=True)},
                "a process for each call": {"call": partial(call, request, resident=False)},
                SPAWN: {"call": partial(spawn, bare.path, "plug", environment)},
            },
        )["call"]
    finally:
        runner.close()
    median_ms = 1000 * sorted(samples["resident"])[len(samples["resident"]) // 2]
    return [
        figure("resident", "call of a script with the SDK", samples, [Aim.at_most(1, median_ms, "ms a call")])
    ]
