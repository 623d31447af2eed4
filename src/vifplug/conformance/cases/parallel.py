"""Many VIFs at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ...model import Vif
from ..case import Broken, case
from ..kit import Came, Kit

_AT_ONCE = 8
_SAYS = "One verb at a time for one VIF, across all processes of the host. VIFs do not wait for each other, unless scripts ask for a named lock."


def _all(kit: Kit, verb: str, vifs: list[Vif]) -> list[Came]:
    with ThreadPoolExecutor(len(vifs)) as pool:
        return list(pool.map(lambda vif: kit.call(verb, vif), vifs))


def _at_once(kit: Kit, rounds: int) -> None:
    vifs = [kit.make() for _ in range(_AT_ONCE)]
    for vif in vifs:
        kit.add_device(vif)
    try:
        for _ in range(rounds):
            for verb in ("plug", *(["check"] if "check" in kit.verbs() else []), "unplug"):
                for came in _all(kit, verb, vifs):
                    if not came.done or not came.reply.get("ok", True):
                        raise Broken(f"{verb} of one of {_AT_ONCE} VIFs at once did not succeed", came)
    finally:
        _all(kit, "unplug", vifs)
        for vif in vifs:
            kit.remove_device(vif)


@case(
    "parallel",
    "parallel-plugs",
    "eight VIFs plugged, checked and unplugged at once, three times",
    anchor="what-the-host-promises",
    says=_SAYS,
)
def parallel(kit: Kit) -> None:
    _at_once(kit, 3)


@case(
    "parallel",
    "parallel-leaves-nothing",
    "eight VIFs at once leave nothing",
    anchor="what-the-host-promises",
    says=_SAYS,
)
def parallel_leaves_nothing(kit: Kit) -> None:
    with kit.unchanged("eight VIFs at once changed the host"):
        _at_once(kit, 1)
