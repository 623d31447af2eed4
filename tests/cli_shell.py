"""The command: in this process for breadth, and as the real thing in a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from served import configuration
from vifplug.cli._frame import run
from world import World

COMMAND = [sys.executable, "-m", "vifplug"]

#: the test is run twice: the library does the work, and a daemon does it
both_ways = pytest.mark.parametrize("through", ["library", "daemon"], indirect=True)


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """A host's command line: the configuration of *world*, and its folder for files."""

    def __init__(
        self, world: World, capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.world = world
        self._capture = capture
        self._monkeypatch = monkeypatch
        self.config = world.folder / "vifplug.toml"
        self.socket = f"{world.config.state_dir}/vifplugd.sock"
        self.config.write_text(configuration(world))
        monkeypatch.setenv("VIFPLUG_CONFIG", str(self.config))
        for name in ("VIFPLUG_STATE_DIR", "VIFPLUG_SOCKET", "TRACEPARENT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv("NO_COLOR", raising=False)

    def file(self, content: Any, name: str = "binding.json") -> str:
        """A file with this JSON, or this text, or these bytes."""
        path: Path = self.world.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def __call__(self, *args: str, stdin: bytes = b"") -> Ended:
        """The command in this process."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capture.readouterr()
        status = run(list(args))
        out, err = self._capture.readouterr()
        assert "Traceback" not in err
        return Ended(status, out, err)

    def real(self, *args: str, **settings: Any) -> Ended:
        """The command in a process of its own."""
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        ended = subprocess.run([*COMMAND, *args], text=True, check=False, **settings)
        assert "Traceback" not in (ended.stderr or "")
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *args: str, **settings: Any) -> subprocess.Popen[str]:
        """The command in a process of its own, not waited for."""
        return subprocess.Popen(
            [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
        )
