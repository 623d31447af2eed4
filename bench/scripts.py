"""What a plug script costs beyond itself: the runner, and a whole plug with a script."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from functools import partial

import vifplug
from vifplug import Host, Vif, read_binding
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import Request, RequestHost, request_for
from vifplug.script.environment import environment_for
from vifplug.script.marks import Mark
from vifplug.script.runner import Runner

from . import by_hand
from .figures import Aim, Figure, figure
from .floor import Floor
from .place import MTU, Place, binding, host_mac, tap, vif_id
from .turns import Samples, difference_ms, ratio, take_turns

RUNNER, WITH_SCRIPT = "runner", "VIF with a script"
SPAWN, RUN, FLOOR = "bare posix_spawn", "subprocess.run", "floor and bare posix_spawn"
BRIDGE = "vpbench0"
LINUX_BRIDGE = f"{os.path.dirname(vifplug.__file__)}/scripts/linux-bridge"  # noqa: PTH120  (a link stays one)

#: scripts that do nothing, well: each knows its verbs
NOTHING = {
    "sh": "#!/bin/sh\ncase $1 in plug | unplug) ;; *) exit 64 ;; esac\n",
    "python-I-S": "#!/usr/bin/python3 -IS\nimport sys\nsys.exit(0 if sys.argv[1] in ('plug', 'unplug') else 64)\n",
    "python": "#!/usr/bin/python3\nimport sys\nsys.exit(0 if sys.argv[1] in ('plug', 'unplug') else 64)\n",
}


def measure(place: Place, rounds: int) -> list[Figure]:
    for name, text in NOTHING.items():
        place.script(name, text)
    figures = [_runner(place, name, rounds) for name in NOTHING]
    with place.host() as host, place.floor() as floor:
        for name in ("sh", "python-I-S"):
            figures += _with_script(host, floor, place, name, rounds)
        figures += _linux_bridge(host, floor, rounds)
    return figures


def _runner(place: Place, name: str, rounds: int) -> Figure:
    """One call of a script that does nothing, by the runner and bare."""
    config = place.config()
    runner, script = Runner(config), Catalogue(config).find(name)
    request = _request(read_binding(binding(1, name)))
    environment, text = environment_of(binding(1, name)), request.to_json()

    def call() -> None:
        call = runner.call(script, request, seconds=30.0, mark=Mark.new())
        assert call.outcome == "done", call

    def run() -> None:
        subprocess.run(
            [script.path, "plug"], input=text, capture_output=True, env=environment, cwd="/", check=True
        )

    samples = take_turns(
        rounds,
        {
            "vifplug": {"call": call},
            SPAWN: {"call": partial(spawn, script.path, "plug", environment)},
            RUN: {"call": run},
        },
    )["call"]
    aims = [
        Aim.at_most(1, difference_ms(samples, "vifplug", SPAWN), f"ms over {SPAWN}"),
        Aim.at_most(1, difference_ms(samples, "vifplug", RUN), f"ms over {RUN}"),
    ]
    return figure(RUNNER, f"call {name}", samples, aims)


def _with_script(host: Host, floor: Floor, place: Place, name: str, rounds: int) -> list[Figure]:
    """Plug and unplug with a script that does nothing."""
    plain, scripted = binding(1), binding(2, name)
    environment = environment_of(scripted)
    path = str(place.scripts / name)
    samples = take_turns(
        rounds,
        {
            "vifplug": {"plug": partial(host.plug, scripted), "unplug": partial(host.unplug, vif_id(2))},
            FLOOR: _floor_with(floor, path, environment),
            "vifplug, no script": {
                "plug": partial(host.plug, plain),
                "unplug": partial(host.unplug, vif_id(1)),
            },
            SPAWN: {verb: partial(spawn, path, verb, environment) for verb in ("plug", "unplug")},
        },
    )
    return _judged(samples, name)


def _linux_bridge(host: Host, floor: Floor, rounds: int) -> list[Figure]:
    """Plug and unplug with the script that vifplug ships, against the same job done by hand."""
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    scripted = binding(3, "linux-bridge", bridge=BRIDGE)
    name, mac = tap(1), host_mac(1)
    environment = {**environment_of(scripted), "VIF_DEVNAME": name}
    samples = take_turns(
        rounds,
        {
            "vifplug": {"plug": partial(host.plug, scripted), "unplug": partial(host.unplug, vif_id(3))},
            FLOOR: _floor_with(floor, LINUX_BRIDGE, environment),
            "vifplug, no script": {
                "plug": partial(host.plug, binding(1)),
                "unplug": partial(host.unplug, vif_id(1)),
            },
            "sh with ip": {
                "plug": partial(by_hand.run, by_hand.PLUG_INTO_BRIDGE, name, mac.hex(":"), MTU, BRIDGE),
                "unplug": partial(by_hand.run, by_hand.UNPLUG, name),
            },
        },
    )
    return _judged(samples, "linux-bridge")


def _floor_with(floor: Floor, path: str, environment: Mapping[str, str]) -> dict[str, Callable[[], object]]:
    name, mac = tap(1), host_mac(1)

    def plug() -> None:
        floor.plug(name, mac, MTU)
        spawn(path, "plug", environment)

    def unplug() -> None:
        spawn(path, "unplug", environment)
        floor.unplug(name)

    return {"plug": plug, "unplug": unplug}


def _judged(samples: Samples, name: str) -> list[Figure]:
    figures = []
    for verb, times in samples.items():
        aims = [Aim.at_most(2, ratio(times, "vifplug", FLOOR), f"times {FLOOR}")]
        if SPAWN in times:
            overhead = difference_ms(times, "vifplug", "vifplug, no script", SPAWN)
            aims.append(Aim.at_most(1, overhead, "ms for the script beyond its own spawn"))
        figures.append(figure(WITH_SCRIPT, f"{verb} {name}", times, aims))
    return figures


def spawn(path: str, verb: str, environment: Mapping[str, str]) -> None:
    """The floor of a call: no pipes, nothing read, nothing confined, nothing timed."""
    pid = os.posix_spawn(path, [path, verb], environment)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise RuntimeError(f"{path} {verb} ended with {os.waitstatus_to_exitcode(status)}")


def environment_of(request: bytes) -> dict[str, str]:
    """What the runner would give the script of this binding."""
    return environment_for(_request(read_binding(request)), call=Mark.new().call)


def _request(vif: Vif) -> Request:
    return request_for("plug", vif, generation=1, host=RequestHost.here(), deadline=30.0)
