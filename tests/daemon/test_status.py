"""What runs now, and how fast calls have been."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.daemon.activity import Activity
from vifplug.errors import VifplugError
from vifplug.host.results import CallRecord, Step
from world import ID, World, binding


def a_call(seconds: float, outcome: str = "done", script: str = "s", verb: str = "plug") -> CallRecord:
    return CallRecord(
        vif_id=ID, generation=1, verb=verb, script=script, digest="d", attempt=1, started=1e9, seconds=seconds,
        outcome=outcome, exit_status=0, signal=None, message=None, reply=None, stderr="", traceparent="",
    )  # fmt: skip


def step(name: str, phase: Any, text: str = "") -> Step:
    return Step(vif_id=ID, name=name, phase=phase, seconds=0.0, text=text)


def test_a_verb_runs_from_its_begin_to_its_end() -> None:
    activity = Activity()
    with activity.verb("check", ID):
        (one,) = activity.running()
        assert (one.verb, one.vif_id, one.step, one.waiting) == ("check", ID, None, False)
    assert activity.running() == []


def test_a_verb_that_fails_no_longer_runs() -> None:
    activity = Activity()
    with pytest.raises(RuntimeError), activity.verb("plug", ID):
        raise RuntimeError
    assert activity.running() == []


def test_a_plug_waits_until_it_begins_a_step() -> None:
    activity = Activity()
    with activity.verb("plug", ID):
        assert [one.waiting for one in activity.running()] == [True]
        activity.on_step(step("intent", "begin"))
        assert [(one.waiting, one.step) for one in activity.running()] == [(False, "intent")]
        activity.on_step(step("intent", "end"))
        assert [(one.waiting, one.step) for one in activity.running()] == [(False, None)]


def test_the_script_and_its_verb_show_while_they_run() -> None:
    activity = Activity()
    with activity.verb("plug", ID):
        activity.on_step(step("undo script unplug", "begin", "/usr/lib/vifplug/scripts/linux-bridge"))
        (one,) = activity.running()
        assert (one.script, one.script_verb, one.step) == ("linux-bridge", "unplug", "undo script unplug")
        activity.on_step(step("undo script unplug", "failed", "it said no"))
        assert [(one.script, one.script_verb) for one in activity.running()] == [(None, None)]


def test_what_nobody_asked_for_runs_as_long_as_its_step() -> None:
    activity = Activity()
    activity.on_step(step("intent", "begin"))
    assert [(one.verb, one.vif_id, one.step) for one in activity.running()] == [(None, ID, "intent")]
    activity.on_step(step("intent", "end"))
    assert activity.running() == []


def test_verbs_of_many_threads_are_told_apart(world: World, tmp_path: Path) -> None:
    ids = [binding(number)["id"] for number in (1, 2, 3)]
    for vif_id in ids:
        os.mkfifo(tmp_path / f"begun-{vif_id}")
        os.mkfifo(tmp_path / f"go-{vif_id}")
    activity = Activity()
    world.on("plug", do=f"echo > {tmp_path}/begun-$VIF_ID; read line < {tmp_path}/go-$VIF_ID")
    with world.host(on_step=activity.on_step) as host:

        def plug(number: int) -> None:
            with activity.verb("plug", binding(number)["id"]):
                host.plug(binding(number))

        threads = [threading.Thread(target=plug, args=(number,)) for number in (1, 2, 3)]
        for thread, vif_id in zip(threads, ids, strict=True):
            thread.start()
            (tmp_path / f"begun-{vif_id}").read_text()
        running = activity.running()
        assert [one.vif_id for one in running] == ids
        assert {(one.script, one.script_verb) for one in running} == {("recorder", "plug")}
        for thread, vif_id in zip(threads, ids, strict=True):
            (tmp_path / f"go-{vif_id}").write_text("go\n")
            thread.join()
        assert activity.running() == []


def test_calls_are_kept_by_script_and_verb(world: World) -> None:
    activity = Activity()
    with world.host(on_call=activity.on_call) as host:
        host.plug(binding())
        world.on("unplug", status=1)
        with pytest.raises(VifplugError):
            host.unplug(ID)
    plug, unplug = activity.calls()
    assert (plug.script, plug.verb, plug.calls, plug.failures) == ("recorder", "plug", 1, 0)
    assert (unplug.verb, unplug.calls, unplug.failures) == ("unplug", 1, 1)
    assert 0 < plug.p50 == plug.p95 == plug.p99 == plug.mean < 60


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=300))
def test_a_quantile_is_the_call_that_so_many_were_not_slower_than(times: list[float]) -> None:
    activity = Activity()
    for seconds in times:
        activity.on_call(a_call(seconds))
    (stats,) = activity.calls()
    for part, found in ((50, stats.p50), (95, stats.p95), (99, stats.p99)):
        enough = math.ceil(part * len(times) / 100)
        assert sum(one <= found for one in times) >= enough
        assert sum(one < found for one in times) < enough
    assert min(times) <= stats.mean * (1 + 1e-9)


def test_the_times_are_those_of_the_last_calls_and_the_counts_those_of_all() -> None:
    activity = Activity()
    for _ in range(1000):
        activity.on_call(a_call(9.0, "failed"))
    for _ in range(1024):
        activity.on_call(a_call(1.0))
    (stats,) = activity.calls()
    assert (stats.calls, stats.failures) == (2024, 1000)
    assert (stats.mean, stats.p50, stats.p99) == (1.0, 1.0, 1.0)
