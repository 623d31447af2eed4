"""vifplugd as a process of its own, from the moment that it says it is ready."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vifplug.client import Client
from vifplug.config.example import toml

from .place import Place

#: seconds that it may take to stop
_PATIENCE = 60.0


def start(config: Path, log: Path, told_at: str, *options: str) -> subprocess.Popen[bytes]:
    """Start it, and return when it is ready; ``told_at`` is where it says so (sd_notify), at most 107 bytes.

    Raises RuntimeError with the end of its log when it ends in place of that.
    """
    Path(told_at).unlink(missing_ok=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VIFPLUG_")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, log.open("ab") as file:
        told.bind(told_at)
        told.settimeout(0.2)
        process = subprocess.Popen(
            [sys.executable, "-m", "vifplug.daemon", "--config", str(config), *options],
            env={**environ, "NOTIFY_SOCKET": told_at},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        while True:
            try:
                if b"READY=1" in told.recv(4096):
                    return process
            except TimeoutError:
                if process.poll() is not None:
                    raise RuntimeError(f"vifplugd did not start: {log.read_text()[-2000:]}") from None


class Served:
    """A place with the daemon at work in it."""

    def __init__(self, place: Place, state: str = "served", **daemon: object) -> None:
        config = place.config(state)
        settings = {"interval": 86400.0, "backup_every": 86400.0, "rate": 65536, **daemon}
        self.folder = place.folder
        self.socket = f"{config.state_dir}/vifplugd.sock"
        self.file = place.folder / f"{state}.toml"
        self.file.write_text(
            f"state_dir = {toml(config.state_dir)}\n"
            f"[trust]\ndirectories = {toml(config.trust.directories)}\nallow = []\n"
            f"owners = {toml(config.trust.owners)}\n[daemon]\n"
            + "".join(f"{name} = {toml(value)}\n" for name, value in settings.items())
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = start(self.file, self.file.with_suffix(".log"), str(self.folder / "ready"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """The daemon started, and a client of it."""
        self.start()
        try:
            with Client(self.socket) as client:
                yield client
        finally:
            self.stop()

    def memory(self) -> dict[str, float]:
        """MiB, resident and proportional: what it shares with others counts in part (proc(5), smaps_rollup)."""
        assert self._process is not None
        facts = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines()[1:]
        )
        return {name: round(int(facts[name].split()[0]) / 1024, 1) for name in ("Rss", "Pss")}
