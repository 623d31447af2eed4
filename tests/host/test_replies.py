"""What a script answered, over the life of a VIF."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from vifplug.errors import DiskFull, ScriptFailed
from vifplug.host import State, Step
from world import ID, TAP, World, binding, links

ANSWER_1342 = """echo '{"vif": {"mtu": 1342}}'"""


def test_an_old_answer_does_not_outlive_a_changed_request(world: World) -> None:
    world.on("plug", do=ANSWER_1342)
    host = world.host()
    host.plug(binding())
    updated = host.update(binding(mtu=1300))
    assert updated.vif.mtu == 1300
    assert links()[TAP].mtu == 1300
    assert host.check(ID).ok


def test_an_answer_is_kept_through_a_change_of_something_else(world: World) -> None:
    world.on("plug", do=ANSWER_1342)
    host = world.host()
    host.plug(binding())
    assert host.update(binding(link_state="down")).vif.mtu == 1342


def test_a_script_that_answers_nothing_more_is_believed_when_plugged_again(world: World) -> None:
    world.on("plug", do=ANSWER_1342)
    host = world.host()
    host.plug(binding(mtu=1400))
    world.on("plug")
    assert host.plug(binding(mtu=1400), refresh=True).vif.mtu == 1400


@pytest.fixture
def small_state(world: World, tmp_path: Path) -> Iterator[Path]:
    """The world's state directory on a real file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk], check=True)
    world.config = msgspec.structs.replace(world.config, state_dir=str(disk / "state"))
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill_at(step_name: str, disk: Path) -> object:
    def on_step(step: Step) -> None:
        if step.name == step_name and step.phase == "begin":
            fill(disk)

    return on_step


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(4096))


def test_a_disk_that_fills_before_the_intent_leaves_nothing_changed(world: World, small_state: Path) -> None:
    with pytest.raises(DiskFull, match="disk that holds .* is full"):
        world.host(on_step=fill_at("intent", small_state)).plug(
            binding(vif_details={"ballast": "x" * 50_000})
        )
    assert (links(), world.asked(), world.host().list()) == ({}, [], [])


def test_a_disk_that_is_full_is_said_to_be_also_when_a_ledger_is_only_opened(
    world: World, small_state: Path
) -> None:
    with world.host():  # the last to close it removes its shared memory
        pass
    fill(small_state)
    with pytest.raises(DiskFull, match="disk that holds .* is full"):
        world.host().list()


def test_a_disk_that_fills_before_the_outcome_is_undone_and_recovered(
    world: World, small_state: Path
) -> None:
    noisy = "dd if=/dev/zero bs=1000 count=60 2>/dev/null | tr '\\0' x >&2"
    world.on("plug", do=noisy)
    with pytest.raises(DiskFull):
        world.host(on_step=fill_at("outcome", small_state)).plug(binding())
    assert world.asked() == ["plug", "unplug"]
    assert (links(), world.ports()) == ({}, set())
    (small_state / "ballast").unlink()
    world.host().recover()
    assert world.host().list() == []


def test_a_failed_update_keeps_what_was_answered(world: World) -> None:
    world.info(verbs=["plug", "unplug", "update"], update_fields=["details.tag"])
    world.on("plug", do=ANSWER_1342)
    host = world.host()
    host.plug(binding(vif_details={"tag": 1}))
    world.on("update", status=1)
    with pytest.raises(ScriptFailed):
        host.update(binding(vif_details={"tag": 2}))
    record = host.show(ID)
    assert (record.state, record.vif.mtu, record.vif.details["tag"]) == (State.PLUGGED, 1342, 1)
    assert links()[TAP].mtu == 1342
