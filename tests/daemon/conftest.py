"""Fixtures of the daemon's tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import msgspec
import pytest

from vifplug.config import Daemon
from watched import Watched
from world import World


@pytest.fixture
def daemon_settings() -> Daemon:
    """What a module or a class may have otherwise."""
    return Daemon(on_drift="report", interval=86400, backup_every=86400)


@pytest.fixture
def daemon(world: World, daemon_settings: Daemon) -> Iterator[Watched]:
    """vifplugd within this process, at a socket that every user can reach."""
    world.folder.chmod(0o711)
    settings = msgspec.structs.replace(daemon_settings, socket=f"{world.folder}/vifplugd.sock")
    with Watched(world, msgspec.structs.replace(world.config, daemon=settings)) as watched:
        yield watched
    gc.collect()  # what a thread left open fails the test that did it, not a later one
