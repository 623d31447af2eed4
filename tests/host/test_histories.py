"""Random histories: whatever is done, in whatever order, the host tells the truth about its VIFs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crashing import TWO_PARTS, agree, at, child, die_at, ends, nothing_runs, recovered, two_parts
from vifplug.errors import NotPlugged, UpdateRefused, VifplugError
from vifplug.host import Host, State
from vifplug.model import Vif, read_binding
from world import World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

NUMBERS = (1, 2, 3)
IDS = [str(binding(number)["id"]) for number in NUMBERS]

numbers = st.sampled_from(NUMBERS)
requests = st.builds(
    lambda number, script, mtu, tag, color: read_binding(
        binding(number, script, mtu=mtu, vif_details={"tag": tag, "color": color})
    ),
    numbers,
    st.sampled_from(["recorder", "recorder", None]),
    st.sampled_from([None, 1400]),
    st.integers(1, 2),
    st.sampled_from(["red", "blue"]),
)
crashing_verbs = st.sampled_from(["plug", "update", "unplug", "gc", "recover"])
script_verbs = st.sampled_from(["plug", "unplug", "update"])


class Histories(RuleBasedStateMachine):
    """The model knows, for each VIF, which requests it may be plugged with now; None stands for not plugged."""

    def __init__(self) -> None:
        super().__init__()
        self.world = two_parts(World(Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))))
        self.may_be: dict[str, list[Vif | None]] = {vif_id: [None] for vif_id in IDS}
        #: a crash left them in the middle, and no verb has been at them since
        self.interrupted: set[str] = set()
        #: a reboot took them, and no verb has been at them since
        self.lost: set[str] = set()
        self.generations: dict[str, int] = {}
        self.boots = 0
        self.script_there = True

    def teardown(self) -> None:
        for name in links():
            subprocess.run(["ip", "link", "delete", name], check=True)
        nothing_runs()
        shutil.rmtree(self.world.folder)

    def host(self, **keywords: object) -> Host:
        return self.world.host(boot_id=f"00000000-0000-4000-8000-{self.boots:012}", **keywords)

    def now(self, host: Host, vif_id: str) -> Vif | None:
        """The request that it is plugged with, by the ledger."""
        found = [r.request for r in host.list() if r.id == vif_id and r.state is State.PLUGGED]
        return found[0] if found else None

    def settled(
        self, host: Host, vif_id: str, *, certain: Vif | str | None = "no", also: Vif | None = None
    ) -> None:
        """A verb was at it: it is as the verb said, or, where the verb failed, as it was or as was wanted."""
        now = self.now(host, vif_id)
        if certain != "no":
            assert now == certain
        else:
            assert now in [*self.may_be[vif_id], also]
        self.may_be[vif_id] = [now]
        self.interrupted.discard(vif_id)
        if now is None or not host.show(vif_id).lost:
            self.lost.discard(vif_id)

    # --- verbs ---------------------------------------------------------------------------------

    @rule(vif=requests, refresh=st.booleans())
    def plug(self, vif: Vif, refresh: bool) -> None:
        with self.host() as host:
            before = self.now(host, vif.id)
            # a change that a crash interrupted is of a VIF that stays
            live = [
                r.request
                for r in host.list()
                if r.id == vif.id and r.state in (State.PLUGGED, State.UPDATING)
            ]
            kept = vif.id not in self.lost and bool(live) and live[0].plug_script == vif.plug_script
            try:
                plugged = host.plug(vif, refresh=refresh)
            except VifplugError:
                # a change under a guest that fails never takes the VIF away
                self.settled(host, vif.id, also=vif if kept else None)
                assert (self.may_be[vif.id] == [None]) <= (not kept)
                return
            newer = (
                plugged.generation >= self.generations.get(vif.id, 0)
                if kept
                else (plugged.generation > max(self.generations.values(), default=0))
            )
            assert newer
            assert plugged.changed or vif.id in self.interrupted or (before == vif and not refresh)
            self.generations[vif.id] = plugged.generation
            self.settled(host, vif.id, certain=vif)

    @rule(number=numbers)
    def plug_again(self, number: int) -> None:
        """The same request again gives the same answer, and asks the script for nothing."""
        vif_id = IDS[number - 1]
        if vif_id in self.interrupted | self.lost:
            return
        with self.host() as host:
            now = self.now(host, vif_id)
            if now is None or host.show(vif_id).error is not None:
                return
            calls = len(host.calls(vif_id)) if now.plug_script else 0
            again = host.plug(now)
            assert (again.changed, again.generation) == (False, host.show(vif_id).generation)
            assert again.xml == host.xml(vif_id)
            assert calls == (len(host.calls(vif_id)) if now.plug_script else 0)

    @rule(number=numbers, which=st.sampled_from(["any", "this", "older"]))
    def unplug(self, number: int, which: str) -> None:
        vif_id = IDS[number - 1]
        with self.host() as host:
            try:
                generation = host.show(vif_id).generation
            except NotPlugged:
                generation = 1
            if which == "older":
                states = [(r.id, r.generation, r.state) for r in host.list()]
                if [row for row in states if row[:2] == (vif_id, generation - 1)]:
                    return  # a debt of its own
                assert not host.unplug(vif_id, generation=generation - 1).changed
                assert states == [(r.id, r.generation, r.state) for r in host.list()]
                return
            try:
                host.unplug(vif_id, generation=generation if which == "this" else None)
            except VifplugError:
                assert not self.script_there or list(self.world.backend.glob("unplug.at.*"))
            self.settled(host, vif_id, certain=None)
            assert not [link for link in links().values() if (link.alias or "").endswith(vif_id)]

    @rule(vif=requests)
    def update(self, vif: Vif) -> None:
        with self.host() as host:
            before = self.now(host, vif.id)
            try:
                host.update(vif)
            except (NotPlugged, UpdateRefused):
                if vif.id not in self.lost:
                    self.settled(host, vif.id)
            except VifplugError:
                if vif.id in self.lost:
                    return
                self.settled(host, vif.id, also=vif)
                assert before is None or self.may_be[vif.id] != [None]
            else:
                self.settled(host, vif.id, certain=vif)

    @rule()
    def recover(self) -> None:
        with self.host() as host:
            recovered(host)
            for vif_id in set(self.interrupted):
                self.interrupted.discard(vif_id)
                if vif_id not in self.lost:
                    self.settled(host, vif_id)
            assert recovered(host) == []

    @rule()
    def gc(self) -> None:
        with self.host() as host:
            report = host.gc()
            for vif_id in self.lost - self.interrupted:  # what a crash left since is for recover
                assert vif_id not in {r.id for r in host.list() if r.state is State.PLUGGED}
                self.settled(host, vif_id, certain=None)
            self.lost &= self.interrupted
            assert not (set(report.paid) & set(report.owing))

    # --- what happens to a host --------------------------------------------------------------------

    @rule(verb=script_verbs, point=st.integers(0, 2))
    def the_script_fails_from_now_on(self, verb: str, point: int) -> None:
        at(self.world, verb, point, "exit 1")

    @rule()
    def the_script_is_well_again(self) -> None:
        for path in self.world.backend.glob("*.at.*"):
            path.unlink()

    @rule()
    def the_script_is_gone(self) -> None:
        (self.world.scripts / "recorder").unlink(missing_ok=True)
        self.script_there = False

    @precondition(lambda self: not self.script_there)
    @rule()
    def the_script_is_back(self) -> None:
        self.world.script("recorder", TWO_PARTS.replace("@BACKEND@", str(self.world.backend)))
        self.script_there = True

    @rule(vif=requests, verb=crashing_verbs, boundary=st.integers(1, 16))
    def a_crash(self, vif: Vif, verb: str, boundary: int) -> None:
        def work() -> None:
            verbs: dict[str, Callable[[Host], object]] = {
                "plug": lambda host: host.plug(vif),
                "update": lambda host: host.update(vif),
                "unplug": lambda host: host.unplug(vif.id),
                "gc": lambda host: host.gc(),
                "recover": lambda host: host.recover(),
            }
            with self.host(on_step=die_at(boundary)) as host, suppress(VifplugError):
                verbs[verb](host)

        assert ends(work) in (0, -9)
        for vif_id in [vif.id] if verb in ("plug", "update", "unplug") else IDS:
            if verb in ("plug", "update"):
                self.may_be[vif_id].append(vif)
            self.may_be[vif_id].append(None)
            self.interrupted.add(vif_id)

    @rule()
    def a_simulated_reboot(self) -> None:
        """Another boot id, and no device of before."""
        self.boots += 1
        for name in links():
            subprocess.run(["ip", "link", "delete", name], check=True)
        self.lost = {vif_id for vif_id in IDS if self.may_be[vif_id] != [None]}

    # --- what is always true -------------------------------------------------------------------------

    @invariant()
    def kernel_ledger_and_backend_agree(self) -> None:
        with self.host() as host:
            agree(self.world, host, but=self.interrupted | self.lost, ask=self.script_there)


@pytest.mark.parametrize("examples", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_no_history_makes_kernel_ledger_and_backend_disagree(netns: None, examples: int) -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


# --- two processes at once -------------------------------------------------------------------------


@pytest.fixture
def two(world: World) -> Iterator[World]:
    yield two_parts(world)
    nothing_runs()


def status(pid: int, flags: int = 0) -> int | None:
    """How a child ended, once it has; None for one that still runs (with WNOHANG)."""
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | flags)
    return None if info is None else info.si_status


def random_verbs(world: World, seed: int, rounds: int) -> None:
    """What one process does: verbs on three VIFs that the other is at as well."""
    random = Random(seed)
    fair = {"failed", "not_plugged", "update_refused", "undo_incomplete"}
    with world.host() as host:
        for _ in range(rounds):
            number = random.choice(NUMBERS)
            what = binding(
                number, vif_details={"tag": random.randint(1, 2), "color": random.choice(["red", "blue"])}
            )
            verbs: list[Callable[[], object]] = [
                partial(host.plug, what),
                partial(host.plug, what, refresh=True),
                partial(host.update, what),
                partial(host.unplug, what["id"]),
                partial(host.check, what["id"]),
                partial(host.plug_all, [binding(n) for n in NUMBERS]),
                host.unplug_all,
                host.recover,
                host.gc,
            ]
            try:
                random.choice(verbs)()
            except VifplugError as error:
                assert error.code in fair, error


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
def test_two_processes_on_one_state_directory_leave_all_in_agreement(two: World, seed: int) -> None:
    """``two_parts`` notices by itself (overlap) when its verbs ever run twice at once for one VIF."""
    at(two, "plug", 1, "[ $(( $(od -An -N1 -tu1 /dev/urandom) % 8 )) = 0 ] && exit 1")
    with (
        child(lambda: random_verbs(two, 2 * seed, 40)) as one,
        child(lambda: random_verbs(two, 2 * seed + 1, 40)) as other,
    ):
        assert [status(one), status(other)] == [0, 0]
    with two.host() as host:
        assert host.recover() == []
        agree(two, host)
        at(two, "plug", 1, None)
        host.unplug_all()
        host.gc()
        assert agree(two, host) == {}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 5))])
def test_a_process_that_keeps_dying_does_the_other_no_harm(two: World, seed: int) -> None:
    random = Random(seed)
    with child(lambda: random_verbs(two, seed, 60)) as steady:
        while status(steady, os.WNOHANG) is None:
            ends(
                lambda: random_verbs(two, random.getrandbits(32), 1000), kill_after=random.uniform(0.01, 0.15)
            )
        assert status(steady) == 0
    with two.host() as host:
        recovered(host)
        agree(two, host)
        host.unplug_all()
        host.gc()
        assert agree(two, host) == {}
