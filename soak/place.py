"""The host of the soak: a network namespace, a folder, the daemon; and what the kernel says is in them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from bench.place import Place
from bench.vifplugd import start
from vifplug.client import Client
from vifplug.config.example import toml

from .plan import BRIDGE
from .scripts import texts

#: the group whose members may plug
GROUP = 54321
#: seconds that the daemon may take to start, or to stop
_PATIENCE = 60.0


class Site:
    """Folder, scripts, backend and configuration; and the daemon, which comes and goes."""

    def __init__(self, place: Place, socket_folder: Path) -> None:
        self.folder = place.folder
        self.backend = place.folder / "backend"
        self.backend.mkdir()
        self.state = place.folder / "state"
        self.socket = str(socket_folder / "vifplugd.sock")
        self.log = place.folder / "vifplugd.log"
        self.process: subprocess.Popen[bytes] | None = None
        for name, text in texts(str(self.backend)).items():
            place.script(name, text)
        config = place.config()
        self._config = place.folder / "soak.toml"
        self._config.write_text(
            f"state_dir = {toml(str(self.state))}\n"
            f"[trust]\ndirectories = {toml(config.trust.directories)}\nallow = []\n"
            f"owners = {toml(config.trust.owners)}\n"
            "[deadlines]\nplug = 10.0\nunplug = 10.0\nupdate = 10.0\ncheck = 10.0\ngrace = 0.2\n"
            "[script.hanger.deadlines]\nplug = 0.5\nupdate = 0.5\n"
            f"[daemon]\nsocket = {toml(self.socket)}\npluggers = [{toml(f'@{GROUP}')}]\n"
            "interval = 5.0\ndrain = 5.0\nbackup_every = 5.0\n"
        )
        ip("link", "set", "lo", "up")
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("link", "set", BRIDGE, "up")

    # --- the daemon --------------------------------------------------------------------------

    def start(self) -> int:
        """Start the daemon, and return its pid when it has said that it is ready (sd_notify)."""
        self.process = start(self._config, self.log, f"{self.socket}.ready")
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send the daemon a signal that ends it, and wait until it has ended."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(_PATIENCE)

    def ended(self, seconds: float) -> int | None:
        """How the daemon ended, when it does so within so many seconds."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def client(self) -> Client:
        return Client(self.socket, timeout=_PATIENCE)

    # --- what is there -----------------------------------------------------------------------

    def links(self) -> dict[str, dict[str, Any]]:
        """Every device as ``ip`` shows it, by name."""
        shown = subprocess.run(["ip", "-j", "-d", "link"], check=True, capture_output=True).stdout
        return {link["ifname"]: link for link in json.loads(shown)}

    def taps(self) -> dict[str, dict[str, Any]]:
        """The devices that bear vifplug's alias, by name."""
        return {
            name: link
            for name, link in self.links().items()
            if link.get("ifalias", "").startswith("vifplug:")
        }

    def ports(self) -> dict[str, dict[str, Any]]:
        """What the folder that is a backend knows, by VIF."""
        found = {}
        for path in self.backend.glob("port-*"):
            with contextlib.suppress(FileNotFoundError):  # unplugged meanwhile
                found[path.name.removeprefix("port-")] = json.loads(path.read_text())
        return found

    def processes(self) -> dict[int, Process]:
        """What runs in this network namespace, but ourselves, our children and the daemon: scripts and theirs."""
        here = Path("/proc/self/ns/net").readlink()
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            if pid == os.getpid():
                continue
            try:
                if (entry / "ns/net").readlink() == here:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent != os.getpid():
                        found[pid] = Process(pid, parent, b" ".join(words).decode(errors="replace").strip())
            except OSError:  # gone meanwhile
                continue
        return found


class Process:
    """One process: its parent, and the words it was started with."""

    def __init__(self, pid: int, parent: int, command: str) -> None:
        self.pid = pid
        self.parent = parent
        self.command = command

    @property
    def resident(self) -> bool:
        """A script that stays up, and waits for its next request."""
        return self.command.endswith(" serve")

    def origin(self) -> str:
        """The script call that it comes from, as its environment tells."""
        try:
            environ = Path(f"/proc/{self.pid}/environ").read_text(errors="replace").split("\0")
            groups = re.findall(
                r"^Groups:\s*(.*)$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE
            )
        except OSError:
            return "nothing: it has ended"
        told = [
            word for word in environ if word.startswith(("VIF_ID=", "VIFPLUG_CALL=", "VIF_DETAILS_MOOD="))
        ]
        return " ".join([*told, *groups])

    def __repr__(self) -> str:
        return f"{self.pid} ({self.command or 'no command line'}, child of {self.parent})"


def ip(*words: str, check: bool = True) -> bool:
    """Run ip; whether it succeeded."""
    return subprocess.run(["ip", *words], check=check, capture_output=True).returncode == 0
