"""A plug script that calls back into the host that calls it: it cannot deadlock it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

import vifplug
from vifplug.errors import ScriptFailed
from vifplug.host import State
from world import ID, World, binding, links

OTHER = binding(1)


@pytest.fixture
def calls_back(world: World) -> World:
    """A script whose verbs run what ``World.on`` says, with the real command at hand as $vifplug."""
    (world.folder / "vifplug.toml").write_text(
        f"""
        state_dir = "{world.folder}/state"
        lock_wait = 0.3
        [trust]
        directories = ["{world.scripts}"]
        """
    )
    for name, what in (("other", OTHER), ("own", binding(script="calls-back"))):
        (world.backend / f"{name}.json").write_text(json.dumps(what))
    source = Path(vifplug.__file__).parents[1]
    command = f"env PYTHONPATH={source} {sys.executable} -m vifplug --config {world.folder}/vifplug.toml"
    world.script(
        "calls-back",
        f"""#!/bin/sh
        vifplug="{command}"
        backend={world.backend}
        [ -f $backend/back-$1.do ] && . $backend/back-$1.do
        exit 0
        """,
    )
    return world


def test_a_script_may_ask_the_host_what_it_has(calls_back: World) -> None:
    calls_back.on(
        "back-plug", do="$vifplug list --json > $backend/list; $vifplug show $VIF_ID --json > $backend/show"
    )
    host = calls_back.host()
    host.plug(binding(script="calls-back"))
    listed = json.loads((calls_back.backend / "list").read_text())
    assert [(record["id"], record["state"]) for record in listed] == [(ID, "plugging")]
    assert json.loads((calls_back.backend / "show").read_text())["id"] == ID
    assert host.show(ID).state is State.PLUGGED


def test_a_script_may_plug_and_unplug_another_vif(calls_back: World) -> None:
    calls_back.on("back-plug", do="$vifplug plug $backend/other.json >&2 || exit 1")
    calls_back.on("back-unplug", do=f"$vifplug unplug {OTHER['id']} >&2 || exit 1")
    host = calls_back.host()
    host.plug(binding(script="calls-back"))
    assert {record.id: record.state for record in host.list()} == {
        ID: State.PLUGGED,
        OTHER["id"]: State.PLUGGED,
    }
    host.unplug(ID)
    assert (host.list(), links(), calls_back.ports()) == ([], {}, set())


def test_a_script_that_plugs_its_own_vif_is_told_that_it_is_busy(calls_back: World) -> None:
    calls_back.on("back-plug", do="$vifplug plug $backend/own.json || exit 1")
    host = calls_back.host()
    started = time.monotonic()
    with pytest.raises(ScriptFailed, match="busy"):
        host.plug(binding(script="calls-back"), seconds=5)
    assert time.monotonic() - started < 10
    assert (host.list(), links()) == ([], {})
