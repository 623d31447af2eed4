"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli_shell import Shell
from world import World


@pytest.fixture
def vifplug(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command, on a host of this test's own."""
    return Shell(world, capsys, monkeypatch)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe: who opens it waits for who opens its other end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path
