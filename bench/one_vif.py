"""Plug and unplug of one VIF of type ethernet, without a script."""

from __future__ import annotations

from functools import partial
from statistics import median

from vifplug import Host
from vifplug.host import Step

from . import by_hand
from .figures import Aim, Figure, figure
from .place import MTU, Place, binding, host_mac, tap, vif_id
from .turns import ratio, take_turns

PART = "one VIF"
SH = "sh with ip"


def measure(place: Place, rounds: int) -> list[Figure]:
    request, name, mac = binding(1), tap(1), host_mac(1)
    with place.host() as host, place.floor() as floor:
        samples = take_turns(
            rounds,
            {
                "vifplug": {"plug": partial(host.plug, request), "unplug": partial(host.unplug, vif_id(1))},
                "floor": {"plug": partial(floor.plug, name, mac, MTU), "unplug": partial(floor.unplug, name)},
                "floor, kernel alone": {
                    "plug": partial(floor.kernel.make, name, mac, MTU),
                    "unplug": partial(floor.kernel.remove, name),
                },
                SH: {
                    "plug": partial(by_hand.run, by_hand.PLUG, name, mac.hex(":"), MTU),
                    "unplug": partial(by_hand.run, by_hand.UNPLUG, name),
                },
            },
        )
    costs = _by_step(place, rounds)
    return [
        figure(
            PART,
            step,
            samples[step],
            [Aim.at_most(2, ratio(samples[step], "vifplug", "floor"), "times the floor")],
            costs=costs[step],
        )
        for step in ("plug", "unplug")
    ]


def _by_step(place: Place, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each step on the one path, as a listener is told them."""
    seen: list[Step] = []
    taken: dict[str, dict[str, list[float]]] = {"plug": {}, "unplug": {}}
    with Host(place.config(), on_step=seen.append) as host:
        for _ in range(rounds):
            for verb, action in (
                ("plug", partial(host.plug, binding(1))),
                ("unplug", partial(host.unplug, vif_id(1))),
            ):
                seen.clear()
                action()
                for step in seen:
                    if step.phase == "end":
                        taken[verb].setdefault(step.name, []).append(step.seconds)
    return {
        verb: {name: round(median(seconds) * 1000, 4) for name, seconds in steps.items()}
        for verb, steps in taken.items()
    }
