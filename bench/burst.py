"""Many at once: plugged side by side, and unplugged together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vifplug import Host, VifplugError

from . import by_hand
from .figures import Aim, Figure, figure
from .floor import Floor
from .place import MTU, Place, binding, host_mac, tap, vif_id
from .scripts import NOTHING, environment_of, spawn
from .turns import ratio, take_turns

PART = "burst"
IN_A_ROW, GROUP, SH = "floors in a row", "one group delete", "sh with ip"
_LINK_GROUP = 4711


def measure(place: Place, rounds: int, count: int) -> list[Figure]:
    place.script("sh", NOTHING["sh"])
    with place.host() as host, place.floor() as floor:
        return [*_plain(host, floor, rounds, count), *_with_script(host, floor, place, rounds, count)]


def _plain(host: Host, floor: Floor, rounds: int, count: int) -> list[Figure]:
    numbers = range(count)
    bindings = [binding(number) for number in numbers]
    devices = [f"{tap(number)} {host_mac(number).hex(':')}" for number in numbers]

    def floors() -> None:
        for number in numbers:
            floor.plug(tap(number), host_mac(number), MTU)

    def unplug_floors() -> None:
        for number in numbers:
            floor.unplug(tap(number))

    def make_group() -> None:
        for number in numbers:
            floor.kernel.make(tap(number), host_mac(number), MTU, _LINK_GROUP)

    samples = take_turns(
        rounds,
        {
            "vifplug": {
                "plug": partial(_plug_all, host, bindings),
                "unplug": partial(_unplug_all, host, count),
            },
            IN_A_ROW: {"plug": floors, "unplug": unplug_floors},
            GROUP: {"_make": make_group, "unplug": partial(floor.kernel.remove_group, _LINK_GROUP)},
            SH: {
                "plug": partial(by_hand.run, by_hand.for_all(by_hand.PLUG), MTU, given=devices),
                "unplug": partial(by_hand.run, by_hand.for_all(by_hand.UNPLUG), MTU, given=devices),
            },
        },
    )
    plug, unplug = samples["plug"], samples["unplug"]
    return [
        figure(
            PART,
            f"plug {count}",
            plug,
            [Aim.at_most(2, ratio(plug, "vifplug", IN_A_ROW), f"times {IN_A_ROW}")],
        ),
        figure(
            PART,
            f"unplug {count}",
            unplug,
            [
                Aim.at_most(2, ratio(unplug, "vifplug", IN_A_ROW), f"times {IN_A_ROW}"),
                Aim.at_most(3, ratio(unplug, "vifplug", GROUP), f"times {GROUP}"),
            ],
        ),
    ]


def _with_script(host: Host, floor: Floor, place: Place, rounds: int, count: int) -> list[Figure]:
    """The same with a script of sh that does nothing, against its bare spawns and the floors, in a row."""
    bindings = [binding(number, "sh") for number in range(count)]
    path, environment = str(place.scripts / "sh"), environment_of(bindings[0])
    row = "floors and bare spawns in a row"

    def plug() -> None:
        for number in range(count):
            floor.plug(tap(number), host_mac(number), MTU)
            spawn(path, "plug", environment)

    def unplug() -> None:
        for number in range(count):
            spawn(path, "unplug", environment)
            floor.unplug(tap(number))

    samples = take_turns(
        rounds,
        {
            "vifplug": {
                "plug": partial(_plug_all, host, bindings),
                "unplug": partial(_unplug_all, host, count),
            },
            row: {"plug": plug, "unplug": unplug},
        },
    )
    return [
        figure(
            PART,
            f"{verb} {count} with a script",
            times,
            [Aim.at_most(2, ratio(times, "vifplug", row), f"times {row}")],
        )
        for verb, times in samples.items()
    ]


def _plug_all(host: Host, bindings: list[bytes]) -> None:
    _all_done(host.plug_all(bindings))


def _unplug_all(host: Host, count: int) -> None:
    _all_done(host.unplug_all(vif_id(number) for number in range(count)))


def _all_done(answers: Sequence[object]) -> None:
    for answer in answers:
        if isinstance(answer, VifplugError):
            raise answer
