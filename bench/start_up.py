"""What it costs to start: the imports, and the commands as a shell starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial

from .figures import Figure, figure
from .place import Place, binding, vif_id
from .turns import Steps, take_turns

PART = "start"
BARE = "python -c pass"
#: how many modules are named as what an import costs
_MOST = 12


def measure(place: Place, rounds: int) -> list[Figure]:
    file = place.folder / "binding.json"
    file.write_bytes(binding(1))
    environment = {
        **os.environ,
        "VIFPLUG_CONFIG": str(place.config_file()),
        # compiled once, by the round that does not count, as an installed package is
        "PYTHONPYCACHEPREFIX": str(place.folder / "bytecode"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("VIFPLUG_STATE_DIR", None)
    plug, unplug = ["-m", "vifplug", "plug", str(file)], ["-m", "vifplug", "unplug", vif_id(1)]
    words = {
        "import vifplug": ["-c", "import vifplug"],
        "from vifplug import Host": ["-c", "from vifplug import Host"],
        "vifplug version": ["-m", "vifplug", "version"],
        "vifplug list": ["-m", "vifplug", "list"],
        "vifplug plug": plug,
        "vifplug unplug": unplug,
    }
    run = partial(_run, environment=environment)
    contenders: dict[str, Steps] = {BARE: {"run": partial(run, ["-c", "pass"])}}
    for name, these in words.items():
        contenders[name] = {"run": partial(run, these)}
    contenders["vifplug plug"] = {"run": partial(run, plug), "_undo": partial(run, unplug)}
    contenders["vifplug unplug"] = {"_do": partial(run, plug), "run": partial(run, unplug)}
    samples = take_turns(rounds, contenders)["run"]
    known = _imported(["-c", "pass"], environment)
    return [
        figure(
            PART,
            name,
            {name: samples[name], BARE: samples[BARE]},
            costs=_dearest(_imported(these, environment), known),
        )
        for name, these in words.items()
    ]


def _run(words: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=True)


def _imported(words: list[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds that each module takes by itself, as python -X importtime has it."""
    said = _run(["-X", "importtime", *words], environment).stderr.decode()
    lines = [
        line.removeprefix("import time:").split("|") for line in said.splitlines() if line.count("|") == 2
    ]
    return {name.strip(): int(own) / 1000 for own, _, name in lines[1:]}


def _dearest(modules: Mapping[str, float], known: Mapping[str, float]) -> dict[str, float]:
    """The modules that cost most, without those that bare Python imports too."""
    new = {name: cost for name, cost in modules.items() if name not in known}
    return dict(sorted(new.items(), key=lambda item: -item[1])[:_MOST])
