"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_shell import Shell
from served import Served
from world import World


@pytest.fixture
def through(request: pytest.FixtureRequest) -> str:
    """Who does the work: the library, or a daemon (see cli_shell.both_ways)."""
    return str(getattr(request, "param", "library"))


@pytest.fixture
def vifplug(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, through: str
) -> Iterator[Shell]:
    """The command, on a host of this test's own."""
    shell = Shell(world, capsys, monkeypatch)
    if through == "library":
        yield shell
        return
    with Served(shell.config, shell.socket, "--debug") as daemon:
        yield shell
        assert '"path": "/v1/' in daemon.log(), "the daemon was asked"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe: who opens it waits for who opens its other end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path
