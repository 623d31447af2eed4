"""vifplugd as it is: a process of its own, on a host of a test's own."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.vifplugd import start
from vifplug.client import Client
from vifplug.config.example import toml
from world import World

#: seconds that a daemon may take to start or to stop
_PATIENCE = 30.0


def configuration(world: World, more: str = "", **daemon: Any) -> str:
    """The world's configuration as a file has it. vifplugd does nothing by itself that a test does not ask for."""
    lines = {"on_drift": "report", "interval": 86400.0, "backup_every": 86400.0, **daemon}
    trust = f"directories = {toml(world.config.trust.directories)}\nallow = []\npackaged = false"
    return (
        f"state_dir = {toml(world.config.state_dir)}\n[trust]\n{trust}\n[deadlines]\ngrace = 0.2\n[daemon]\n"
        + "".join(f"{key} = {toml(value)}\n" for key, value in lines.items())
        + more
    )


class Served:
    """The daemon with the configuration in a file, from ``start`` to ``stop``."""

    def __init__(self, config: Path, socket_path: str, *options: str) -> None:
        self.config = config
        self._options = options
        self.socket = socket_path
        self.process: subprocess.Popen[bytes] | None = None
        self._log = config.with_suffix(".log")

    @classmethod
    def of(cls, world: World, more: str = "", **daemon: Any) -> Served:
        """Not started yet."""
        config = world.folder / "vifplugd.toml"
        config.write_text(configuration(world, more, **daemon))
        return cls(config, daemon.get("socket") or f"{world.config.state_dir}/vifplugd.sock")

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: object, ___: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it has said that it is ready (sd_notify)."""
        ready = str(self.config.with_suffix(".ready"))
        self.process = start(self.config, self._log, ready, *self._options)

    def stop(self) -> None:
        """As a service manager stops it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_PATIENCE)
            finally:
                self.process.kill()
                self.process.wait()
                self.process = None

    def kill(self) -> None:
        """As a crash ends it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self) -> str:
        return self._log.read_text()

    def client(self, **settings: Any) -> Client:
        return Client(self.socket, **{"timeout": _PATIENCE, **settings})
