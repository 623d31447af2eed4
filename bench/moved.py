"""A guest moved to another host while it is pinged, by vifplug and by libvirt alone. Part of ``./dev bench guests``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt

from two_hosts import ADDRESS, Movers, Pinging, TwoHosts, two_hosts
from world import binding

from .figures import Aim, Figure, figure
from .guests import BARE, OURS, PART, with_interface
from .turns import Took, ratio, take_turns

#: seconds between two pings: the gap is known no better
INTERVAL = 0.005
_FLAGS = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
_BRIDGED = binding(1, "linux-bridge", mtu=1450, vif_details={"bridge": "br-data"})


def measure(rounds: int) -> list[Figure]:
    """Between two hosts with a libvirtd and a vifplugd each. Each round has a guest of its own, booted."""
    with two_hosts() as pair:
        for one in pair.both:
            one.start(packaged=True)
        ours, bare = _Moved(pair, _by_vifplug), _Moved(pair, _by_libvirt)
        samples = take_turns(rounds, {OURS: ours.steps, BARE: bare.steps}, warm_up=0)
    aims = {
        "gap": [Aim.at_most(1.25, ratio(samples["gap"], OURS, BARE), "times libvirt alone")],
        "whole": [Aim.at_most(1.5, ratio(samples["whole"], OURS, BARE), "times libvirt alone")],
    }
    return [
        figure(PART, "migration: the longest time without a ping answered", samples["gap"], aims["gap"]),
        figure(PART, "migration: all of it", samples["whole"], aims["whole"]),
    ]


class _Moved:
    """One move a round, of which both times are told."""

    def __init__(self, pair: TwoHosts, move: Callable[[Movers], Callable[[], object]]) -> None:
        self._pair = pair
        self._move = move
        self._gap = self._whole = 0.0
        self.steps = {
            "_move": self._carry_out,
            "gap": lambda: Took(self._gap),
            "whole": lambda: Took(self._whole),
        }

    def _carry_out(self) -> None:
        with Movers.between(self._pair) as movers:
            move = self._move(movers)
            movers.here.hypervisor.wait_said("guest", ADDRESS)
            pinging = Pinging(self._pair, INTERVAL)
            timed = take_turns(1, {"": {"move": move}}, warm_up=0)
            pinging.wait()
            self._gap, self._whole = pinging.end().gap, timed["move"][""][0]


def _by_vifplug(movers: Movers) -> Callable[[], object]:
    domain = movers.guest(_BRIDGED, boots=True)
    return lambda: movers.move(domain)


def _by_libvirt(movers: Movers) -> Callable[[], object]:
    xml = with_interface(movers.here.hypervisor.guest(boots=True), 1, "br-data")
    domain: Any = movers.connections[1].defineXML(xml)
    domain.create()
    return lambda: domain.migrate3(movers.connections[2], {}, _FLAGS)
