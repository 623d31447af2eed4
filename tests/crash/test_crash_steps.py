"""SIGKILL at every boundary of every step of every verb; then recover finds all in agreement again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from msgspec import Struct

from crashing import agree, at, boundaries, die_at, ends, nothing_runs, recovered, two_parts
from vifplug.errors import VifplugError
from vifplug.host import Host, State
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

OLD = binding(vif_details={"tag": 1, "color": "red"})
UPDATED = binding(vif_details={"tag": 2, "color": "red"})
REPLUGGED = binding(vif_details={"tag": 1, "color": "blue"})
REPLACED = binding(vif_details={"tag": 1, "color": "red"}, address="fa:16:3e:00:00:99")
COMING = {**OLD, "migration": {"role": "destination", "phase": "prepare"}}
ANOTHER_BOOT = "00000000-0000-4000-8000-000000000000"

Prepare = Callable[[World], None]
Verb = Callable[[Host], object]
Points = dict[tuple[str, int], str]

GONE, PLUGGED, DEBT = None, State.PLUGGED, State.DEBT


class Case(Struct, frozen=True, kw_only=True):
    """A verb, what was before it, how the script behaves in it, and what may be after a crash in it."""

    verb: Verb
    after: set[State | None]
    before: Prepare | None = None
    points: Points = {}
    #: the VIF keeps its device through all of it, whatever happens
    keeps_device: bool = False


def plugged(what: dict[str, Any] = OLD, **keywords: Any) -> Prepare:
    def prepare(world: World) -> None:
        with world.host(**keywords) as host:
            host.plug(what)

    return prepare


def in_debt(world: World) -> None:
    plugged()(world)
    at(world, "unplug", 1, "exit 1")
    with world.host() as host, suppress(VifplugError):
        host.unplug(ID)
    at(world, "unplug", 1, None)


def rebooted(world: World) -> None:
    plugged(boot_id=ANOTHER_BOOT)(world)
    subprocess.run(["ip", "link", "delete", TAP], check=True)


def give_up(host: Host) -> None:
    for arrival in host.recovery.arrivals():
        host.recovery.give_up(arrival.record)


def three_plugged(world: World) -> None:
    with world.host() as host:
        host.plug_all([binding(number) for number in (1, 2, 3)])


FAILS_HALF_DONE: Points = {("plug", 1): "exit 1"}
CANNOT_BE_UNDONE: Points = {("plug", 1): "exit 1", ("unplug", 1): "exit 1"}

CASES = {
    "plug": Case(verb=lambda host: host.plug(OLD), after={GONE, PLUGGED}),
    "plug without a script": Case(verb=lambda host: host.plug(binding(script=None)), after={GONE, PLUGGED}),
    "plug that fails": Case(verb=lambda host: host.plug(OLD), points=FAILS_HALF_DONE, after={GONE}),
    "plug that fails and cannot be undone": Case(
        verb=lambda host: host.plug(OLD), points=CANNOT_BE_UNDONE, after={GONE, DEBT}
    ),
    "plug with an answer that is refused": Case(
        verb=lambda host: host.plug(OLD), points={("plug", 2): """echo '{"vif": {"path": "/x"}}'"""}, after={GONE}
    ),
    "plug again, refreshed": Case(
        before=plugged(), verb=lambda host: host.plug(OLD, refresh=True), after={PLUGGED}, keeps_device=True
    ),
    "plug over a debt": Case(before=in_debt, verb=lambda host: host.plug(OLD), after={GONE, DEBT, PLUGGED}),
    "plug of a changed binding, live": Case(
        before=plugged(), verb=lambda host: host.plug(UPDATED), after={PLUGGED}, keeps_device=True
    ),
    "plug of a changed binding, by unplug and plug": Case(
        before=plugged(), verb=lambda host: host.plug(REPLUGGED), after={PLUGGED}, keeps_device=True
    ),
    "plug of a changed binding, by unplug and plug, that fails for the new one": Case(
        before=plugged(),
        verb=lambda host: host.plug(REPLUGGED),
        points={("plug", 1): 'case "$request" in *blue*) exit 1;; esac'},
        after={PLUGGED},
        keeps_device=True,
    ),
    "plug of a changed binding, with another device": Case(
        before=plugged(), verb=lambda host: host.plug(REPLACED), after={GONE, PLUGGED}
    ),
    "update by the script": Case(
        before=plugged(), verb=lambda host: host.update(UPDATED), after={PLUGGED}, keeps_device=True
    ),
    "update by the script that fails": Case(
        before=plugged(),
        verb=lambda host: host.update(UPDATED),
        points={("update", 1): """case "$request" in *'"tag":2'*) exit 1;; esac"""},
        after={PLUGGED},
        keeps_device=True,
    ),
    "update by the kernel": Case(
        before=plugged(),
        verb=lambda host: host.update({**OLD, "mtu": 1400}),
        after={PLUGGED},
        keeps_device=True,
    ),
    "activate": Case(
        before=plugged(COMING), verb=lambda host: host.activate(ID), after={PLUGGED}, keeps_device=True
    ),
    "activate that fails": Case(
        before=plugged(COMING),
        verb=lambda host: host.activate(ID),
        points={("activate", 1): "exit 1"},
        after={PLUGGED},
        keeps_device=True,
    ),
    "plug that activates": Case(
        before=plugged(COMING), verb=lambda host: host.plug(UPDATED), after={PLUGGED}, keeps_device=True
    ),
    "gc of a VIF that no guest came to": Case(
        before=plugged(COMING), verb=give_up, after={GONE, PLUGGED}
    ),
    "unplug": Case(before=plugged(), verb=lambda host: host.unplug(ID), after={GONE, PLUGGED}),
    "unplug that fails": Case(
        before=plugged(),
        verb=lambda host: host.unplug(ID),
        points={("unplug", 1): "exit 1"},
        after={DEBT, PLUGGED},
    ),
    "unplug of a debt": Case(before=in_debt, verb=lambda host: host.unplug(ID), after={GONE, DEBT}),
    "gc of a debt": Case(before=in_debt, verb=lambda host: host.gc(), after={GONE, DEBT}),
    "gc after a reboot (simulated)": Case(before=rebooted, verb=lambda host: host.gc(), after={GONE}),
    "plug after a reboot (simulated)": Case(
        before=rebooted, verb=lambda host: host.plug(OLD), after={GONE, PLUGGED}
    ),
    "plug of three": Case(
        verb=lambda host: host.plug_all([binding(number) for number in (1, 2, 3)]), after={GONE, PLUGGED}
    ),
    "unplug of three": Case(
        before=three_plugged, verb=lambda host: host.unplug_all(), after={GONE, PLUGGED}
    ),
}  # fmt: skip


def willing(verb: Verb) -> Verb:
    """The verb, whose errors are its business and not a crash."""

    def do(host: Host) -> None:
        with suppress(VifplugError):
            verb(host)

    return do


@pytest.fixture
def two(world: World) -> Iterator[World]:
    yield two_parts(world)
    nothing_runs()


def every_boundary(world: World, case: Case) -> Iterator[str]:
    """The case's own beginning again and again, and a crash in it one boundary later each time."""

    def set_points(on: bool) -> None:
        for (verb, point), do in case.points.items():
            at(world, verb, point, do if on else None)

    def prepare() -> None:
        if case.before is not None:
            case.before(world)
        set_points(True)

    def clean() -> None:
        """With a script that is well again, everything can be unplugged and every debt be paid."""
        set_points(False)
        with world.host() as host:
            host.unplug_all()
            host.gc()
            assert agree(world, host) == {}

    prepare()
    names = boundaries(world, willing(case.verb))
    assert len(names) >= 4
    clean()
    for number, name in enumerate(names, 1):
        prepare()
        device = links().get(TAP)

        def crash(boundary: int = number) -> None:
            with world.host(on_step=die_at(boundary)) as host:
                willing(case.verb)(host)

        assert ends(crash) == -9
        yield f"{number}: {name}"
        if case.keeps_device:
            assert device is not None
            assert links()[TAP].index == device.index
        clean()


QUICK = ("plug that fails", "unplug")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_a_crash_at_any_boundary_is_recovered_from(two: World, name: str) -> None:
    case = CASES[name]
    for where in every_boundary(two, case):
        with two.host() as host:
            recovered(host)
            if "reboot" in name:
                host.gc()
            states = agree(two, host)
            for vif_id in {ID, *states}:
                assert states.get(vif_id) in case.after, (where, states)
            assert recovered(host) == [], where


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_after_a_crash_the_same_verb_again_needs_no_recover(two: World, name: str) -> None:
    """The next verb on a VIF settles what it finds: an operator need not know that there was a crash."""
    case = CASES[name]
    for where in every_boundary(two, case):
        with two.host() as host:
            willing(case.verb)(host)
            if "gc" not in name and "three" not in name:
                states = agree(two, host)
                assert states.get(ID) in case.after, where
