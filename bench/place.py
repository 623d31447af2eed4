"""Where the benchmark runs: a network namespace and a folder of its own, and nothing left of either."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from vifplug import Host
from vifplug.config import Config, Trust
from vifplug.model import read_binding, to_json

from .floor import Floor

_CLONE_NEWNET = 0x40000000
_IN_MEMORY = ("tmpfs", "ramfs")
#: where the benchmark keeps its files unless told otherwise: the checkout's own cache, on the disk that it is on
CACHE = Path(__file__).resolve().parent.parent / ".cache"

MTU = 1450


class NotPossible(Exception):
    """The benchmark cannot run here; the message says why."""


def enter_own_network() -> None:
    """Move this thread, and all that it starts, into a fresh network namespace: it ends with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        why = os.strerror(ctypes.get_errno())
        raise NotPossible(f"no network namespace can be made ({why}): run './dev bench', or run it as root")


def file_system_of(path: Path) -> str:
    """The type of the file system that ``path`` is on, as /proc/self/mountinfo has it (proc(5))."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        point = left.split()[4]
        if path.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


class Place:
    """The folder: state directories, a trusted directory for scripts, the floor's database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scripts = folder / "scripts"
        self.scripts.mkdir()
        #: in a user namespace of an ordinary user, root's directories above us belong to "nobody"
        self._owners = sorted({part.stat().st_uid for part in (folder, *folder.parents)} | {os.geteuid()})
        shown = to_json(read_binding(binding(0))).decode()
        #: what the floor's database keeps of each VIF: as much as the ledger does
        self.texts = (shown, shown, "x" * 160)

    def config(self, state: str = "state") -> Config:
        return Config(
            state_dir=str(self.folder / state),
            trust=Trust(directories=[str(self.scripts)], allow=[], owners=self._owners),
        )

    def config_file(self, state: str = "state") -> Path:
        """The same configuration, for the command line."""
        path = self.folder / "vifplug.toml"
        trust = msgspec.json.encode(self._owners).decode()
        path.write_text(f'state_dir = "{self.folder / state}"\n[trust]\nowners = {trust}\n')
        return path

    @contextmanager
    def host(self, state: str = "state") -> Iterator[Host]:
        with Host(self.config(state)) as host:
            yield host

    @contextmanager
    def floor(self) -> Iterator[Floor]:
        floor = Floor(self.folder, self.texts)
        try:
            yield floor
        finally:
            floor.close()
            for path in self.folder.glob("floor.db*"):
                path.unlink()

    def script(self, name: str, text: str) -> Path:
        path = self.scripts / name
        path.write_text(text)
        path.chmod(0o755)
        return path


@contextmanager
def own_place(parent: Path) -> Iterator[Place]:
    """A fresh folder under ``parent``, which has to be on a disk; it goes when we leave."""
    try:
        parent.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    except OSError as error:
        raise NotPossible(
            f"no folder can be made in {parent} ({error.strerror}): choose another with --dir"
        ) from error
    try:
        kind = file_system_of(folder)
        if kind in _IN_MEMORY:
            raise NotPossible(
                f"{parent} is in memory ({kind}), where a commit costs nothing: choose a disk with --dir"
            )
        yield Place(folder)
    finally:
        shutil.rmtree(folder)


def binding(number: int, script: str | None = None, **details: Any) -> bytes:
    """A port binding as JSON, with about as much in it as Neutron tells of a port."""
    if script is not None:
        details["vif_plug_script"] = script
    return msgspec.json.encode(
        {
            "id": vif_id(number),
            "vif_type": "ethernet",
            "address": f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
            "mtu": MTU,
            "vif_details": details,
            "network": {
                "id": "0f6e2f9c-6d0c-4a53-9d8e-6d0b8f6c9a11",
                "label": "tenant",
                "subnets": [
                    {"cidr": "10.0.0.0/16", "gateway": "10.0.0.1", "addresses": [f"10.0.{number >> 8}.7"]}
                ],
            },
            "instance": {"id": "9a3f2d84-11f2-4b53-8f1b-5d8c2a9e7700", "name": "guest"},
        }
    )


def vif_id(number: int) -> str:
    return f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01"


def tap(number: int) -> str:
    """A device name of the floor's own: as long as vifplug's, and never one of them."""
    return f"flr{number:08x}-7d"


def host_mac(number: int) -> bytes:
    return bytes([0xFE, 0x16, 0x3E, 0, number >> 8, number & 255])
