"""Hosts for the doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from doctored import Patient
from vifplug.config import Config
from world import World


@pytest.fixture
def patient(world: World) -> Patient:
    """This host, in a network namespace and with a state directory of this test's own."""
    return Patient(world.config)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Patient:
    """A tree of files that stands for a host; it has no process and no program but those that a test puts there."""
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    return Patient(Config(state_dir="/state"), root)
