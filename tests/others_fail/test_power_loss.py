"""Power loss on a real file system: what had reached the disk at that moment is all that the host finds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from vifplug.host import Host, State, Step
from world import ID, World, binding

pytestmark = pytest.mark.real_root  # loop devices


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    place = image.with_suffix(".mounted")
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


@pytest.fixture
def disk(world: World) -> Iterator[Path]:
    """The world's state directory on a disk of its own; the image holds what the kernel wrote to that disk."""
    image = world.folder / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    config = world.config
    with mounted(image) as place:
        world.config = msgspec.structs.replace(config, state_dir=str(place / "state"))
        yield image
    world.config = config


def found_after_power_loss(world: World, disk: Path) -> list[State]:
    """Copy the disk as it is this moment, caches left behind, and look at it as after a restart."""
    copy = disk.with_name("copy")
    shutil.copyfile(disk, copy)
    with (
        mounted(copy) as place,
        Host(msgspec.structs.replace(world.config, state_dir=str(place / "state"))) as host,
    ):
        return [record.state for record in host.list()]


def test_what_a_step_has_recorded_survives_power_loss_right_after_it(world: World, disk: Path) -> None:
    found: list[tuple[str, list[State]]] = []

    def on_step(step: Step) -> None:
        if step.phase == "end" and step.name in ("intent", "outcome"):
            found.append((step.name, found_after_power_loss(world, disk)))

    with world.host(on_step=on_step) as host:
        host.plug(binding(mtu=1400))
        host.update(binding(mtu=1300))
        host.unplug(ID)
    assert found == [
        ("intent", [State.PLUGGING]),
        ("outcome", [State.PLUGGED]),
        ("intent", [State.UPDATING]),
        ("outcome", [State.PLUGGED]),
        ("intent", [State.UNPLUGGING]),
        ("outcome", []),
    ]
