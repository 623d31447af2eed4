"""SIGKILL from outside, at any moment of any verb, hundreds of times on one state directory.

The seed decides what is done and when it is to die; where exactly it dies, the machine decides too.
Each crash is followed by a recovery, which is itself killed now and then, and then kernel, ledger
and backend must agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import pytest

from crashing import agree, at, ends, nothing_runs, recovered, two_parts
from vifplug.errors import VifplugError
from vifplug.host import Host, State
from world import World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

NUMBERS = range(1, 9)
IDS = [str(binding(number)["id"]) for number in NUMBERS]


@pytest.fixture
def two(world: World) -> Iterator[World]:
    yield two_parts(world)
    nothing_runs()


def a_verb(random: Random) -> tuple[str, set[str], Callable[[Host], object]]:
    """Its name, the ids that it is about, and what it does."""
    number = random.choice(NUMBERS)
    vif_id = IDS[number - 1]
    details = {"tag": random.randint(1, 3), "color": random.choice(["red", "blue"])}
    one = binding(number, vif_details=details, mtu=random.choice([1400, 1500]))
    everything = [binding(n, vif_details=details) for n in NUMBERS]
    return random.choice(
        [
            ("plug", {vif_id}, lambda host: host.plug(one)),
            ("plug", {vif_id}, lambda host: host.plug(one)),
            ("refresh", {vif_id}, lambda host: host.plug(one, refresh=True)),
            ("update", {vif_id}, lambda host: host.update(one)),
            ("unplug", {vif_id}, lambda host: host.unplug(vif_id)),
            ("check", {vif_id}, lambda host: host.check(vif_id)),
            ("plug all", set(IDS), lambda host: host.plug_all(everything)),
            ("unplug all", set(IDS), lambda host: host.unplug_all()),
            ("gc", set(IDS), lambda host: host.gc()),
        ]
    )


class Storm:
    """Random verbs that die at random moments, on one world."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = Random(seed)
        self.kills = 0
        self._seconds: dict[str, float] = {}
        self._states: dict[str, State] = {}
        self._indexes: dict[str, int] = {}

    def crash(self, name: str, work: Callable[[Host], object]) -> None:
        """Do it in a process that dies somewhere on the way, or just after."""

        def do() -> None:
            with self.world.host() as host, suppress(VifplugError):
                work(host)

        usual = self._seconds.get(name, 0.05)
        started = time.monotonic()
        status = ends(do, kill_after=self.random.uniform(0, usual * 1.1))
        if status == 0:
            self._seconds[name] = time.monotonic() - started
        else:
            assert status == -9
            self.kills += 1
            self._seconds[name] = usual * 1.02

    def round(self) -> None:
        name, about, work = a_verb(self.random)
        failing = self.random.choice([None, None, None, None, "plug", "unplug", "update"])
        if failing:
            at(self.world, failing, 1, "exit 1")
        self.crash(name, work)
        while self.random.random() < 0.3:
            self.crash("recover", lambda host: host.recover())
        with self.world.host() as host:
            recovered(host)
            states = agree(self.world, host)
            for vif_id in set(IDS) - about:
                assert states.get(vif_id) == self._states.get(vif_id), (name, vif_id)
            self._states = states
        indexes = {name: link.index for name, link in links().items()}
        if name in ("refresh", "update", "check"):  # a guest may hold the very device open
            assert indexes.items() >= self._indexes.items()
        self._indexes = indexes
        if failing:
            at(self.world, failing, 1, None)

    def end(self) -> None:
        with self.world.host() as host:
            host.unplug_all()
            host.gc()
            assert agree(self.world, host) == {}


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(1, 25), *(pytest.param(seed, 250, marks=pytest.mark.slow) for seed in (2, 3, 4))],
)
def test_whatever_moment_it_dies_at_all_agree_again(two: World, seed: int, rounds: int) -> None:
    storm = Storm(two, seed)
    for _ in range(rounds):
        storm.round()
    storm.end()
    assert storm.kills > rounds / 3


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(11, 5), *(pytest.param(seed, 40, marks=pytest.mark.slow) for seed in (12, 13))],
)
def test_it_may_die_in_the_middle_of_many_at_once(two: World, seed: int, rounds: int) -> None:
    """Eight threads share commits and removals: what one round of them holds is done for all or for none."""
    storm = Storm(two, seed)
    everything = [binding(number, vif_details={"tag": number}) for number in NUMBERS]
    for _ in range(rounds):
        storm.crash("plug all", lambda host: host.plug_all(everything))
        with two.host() as host:
            recovered(host)
            assert set(agree(two, host)) <= set(IDS)
        storm.crash("unplug all", lambda host: host.unplug_all())
        with two.host() as host:
            recovered(host)
            assert set(agree(two, host)) <= set(IDS)
    storm.end()
    assert storm.kills > rounds / 3


@pytest.mark.parametrize("seed", [21, pytest.param(22, marks=pytest.mark.slow)])
def test_it_may_die_while_it_makes_its_ledger(two: World, seed: int) -> None:
    """The very first verb on a host, in a state directory that is not there yet."""
    storm = Storm(two, seed)
    for number in range(20):
        (two.folder / f"host{number}").mkdir()
        fresh = two_parts(World(two.folder / f"host{number}"))
        storm.world = fresh
        storm.crash("first plug", lambda host: host.plug(binding(1)))
        with fresh.host() as host:
            recovered(host)
            host.gc()
            agree(fresh, host)
        storm.end()
    assert storm.kills > 5
