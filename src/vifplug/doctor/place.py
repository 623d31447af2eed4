"""Where the checks look: this host as it is, unless a test points elsewhere."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from ..config import Config
from ..errors import ConfigError
from .check import Unseen
from .records import Records, read_records

if TYPE_CHECKING:
    from ..host.netlink import Link
    from ..script.catalogue import Catalogue, Entry
    from .switch import Switch

#: seconds that a program may take to answer
_PATIENCE = 3.0
_TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: what is read of any one file
_MOST = 1 << 20


Answer = TypeVar("Answer")


class Said(NamedTuple):
    """What a program said."""

    status: int
    out: str
    err: str


class Place:
    """A host.

    ``root``: the directory that stands for ``/`` wherever files are read. The network is that of the
    calling thread's namespace, and what is tried is tried there.
    """

    def __init__(
        self,
        config: Config,
        *,
        root: Path = Path("/"),
        config_error: ConfigError | None = None,
    ) -> None:
        self.config = config
        self.config_error = config_error
        self.root = root
        self.privileged = os.geteuid() == 0

    # --- files -------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """Where the absolute path ``name`` is here."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """The text of a file, None where there is none. Raises Unseen for one that may not be read."""
        try:
            with self.path(name).open("rb") as file:
                return file.read(_MOST).decode(errors="replace")
        except PermissionError:
            raise Unseen(f"{name} may not be read by this user") from None
        except (OSError, ValueError):
            return None

    def number(self, name: str) -> int | None:
        """The number that a file holds, as those below /proc/sys do; None where there is none."""
        try:
            return int((self.read(name) or "").split()[0])
        except (IndexError, ValueError):
            return None

    def files(self, *directories: str, suffix: str) -> list[str]:
        """Names of configuration files, as systemd and its kin read them: by file name, whatever the directory;
        of two with one name the first directory's."""
        found: dict[str, str] = {}
        for directory in directories:
            try:
                names = os.listdir(self.path(directory))  # noqa: PTH208
            except PermissionError:
                raise Unseen(f"{directory} may not be read by this user") from None
            except OSError:
                continue
            for name in names:
                if name.endswith(suffix):
                    found.setdefault(name, f"{directory}/{name}")
        return [found[name] for name in sorted(found)]

    # --- processes and programs --------------------------------------------------------------

    @cached_property
    def processes(self) -> dict[str, list[int]]:
        """Process ids by name (the kernel's, of at most 15 bytes), of this network namespace where that can be seen."""
        ours = os.readlink("/proc/thread-self/ns/net")  # noqa: PTH115
        found: dict[str, list[int]] = {}
        for pid in self.pids():
            folder = self.path(f"/proc/{pid}")
            try:
                name = (folder / "comm").read_text(errors="replace").strip()
            except OSError:
                continue  # it has ended
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns/net") != ours:  # noqa: PTH115
                    continue  # it looks after the network of a container, say
            found.setdefault(name, []).append(pid)
        return found

    def pids(self) -> Iterator[int]:
        return (int(name) for name in os.listdir(self.path("/proc")) if name.isdigit())  # noqa: PTH208

    def program(self, name: str) -> str | None:
        """Where a program is; None when it is not installed."""
        places = os.pathsep.join(str(self.path(place)) for place in _TOOLS.split(":"))
        return shutil.which(name, path=places)

    def run(self, name: str, *arguments: str) -> Said:
        """Run a program. Raises Unseen when it is not installed or does not end."""
        path = self.program(name)
        if path is None:
            raise Unseen(f"{name} is not installed", f"install {name}, and run vifplug doctor again")
        environ = {"PATH": _TOOLS, "LC_ALL": "C", "HOME": "/"}
        try:
            done = subprocess.run(
                [path, *arguments], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", check=False, timeout=_PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unseen(
                f"'{name} {' '.join(arguments)}' did not end within {_PATIENCE:g} s",
                f"see what keeps it: {name} {' '.join(arguments)}",
            ) from None
        except OSError as error:
            raise Unseen(f"{path} cannot be run: {error.strerror}", f"install {name} anew") from None
        return Said(done.returncode, done.stdout, done.stderr.strip())

    def ask(self, kind: type[Answer], name: str, *arguments: str) -> Answer:
        """What a program answers in JSON. Raises Unseen where it refuses, or says something else."""
        said = self.run(name, *arguments)
        command = f"{name} {' '.join(arguments)}"
        if said.status != 0:
            reason = (said.err.splitlines() or [f"exit status {said.status}"])[0]
            raise Unseen(f"'{command}' refuses: {reason}")
        try:
            return msgspec.json.decode(said.out or "null", type=kind)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unseen(f"'{command}' says what cannot be understood: {error}", command) from None

    @cached_property
    def switch(self) -> Switch:
        """Open vSwitch, where the plug scripts would look for it."""
        from .switch import Switch

        environ: dict[str, str] = {}
        for name in ("openvswitch", "ovn"):
            if name in self.config.script:
                environ |= self.config.script[name].environment
        return Switch(environ, self.root)

    # --- scripts, the network, and what is on record --------------------------------------------------

    @cached_property
    def links(self) -> dict[str, Link]:
        """The devices of this network namespace."""
        from ..host.netlink import Netlink

        with Netlink() as netlink:
            return {link.name: link for link in netlink.links()}

    @cached_property
    def vif_links(self) -> list[Link]:
        """The devices that some vifplug on this host made, by their mark."""
        return [link for link in self.links.values() if (link.alias or "").startswith("vifplug:")]

    @cached_property
    def ledger(self) -> Records:
        """What the ledger has, or that it cannot be read. Raises Unseen for who may not."""
        try:
            return read_records(self.path(self.config.state_dir) / "ledger.db")
        except PermissionError:
            raise Unseen(f"the ledger in {self.config.state_dir} may not be read by this user") from None
        except (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError) as error:
            return Records(damage=str(error))

    @property
    def records(self) -> Records:
        """The VIFs on record; none when there is no ledger. Raises Unseen where it cannot be read."""
        if self.ledger.ledger is None and self.ledger.damage != "ok":
            raise Unseen(
                f"the ledger in {self.config.state_dir} cannot be read: {self.ledger.damage}",
                "see what the check 'ledger' says: vifplug doctor --only ledger",
            )
        return self.ledger

    @cached_property
    def catalogue(self) -> Catalogue:
        """The scripts that the configuration trusts."""
        from ..script.catalogue import Catalogue

        return Catalogue(self.config)

    @cached_property
    def scripts(self) -> list[Entry]:
        """Every script in a trusted place, and whether it would run."""
        return self.catalogue.entries()

    @cached_property
    def boot_id(self) -> str:
        return (self.read("/proc/sys/kernel/random/boot_id") or "").strip()

    def uses(self, *scripts: str) -> bool:
        """Whether a VIF on record was plugged with one of these scripts. Raises Unseen where nobody can tell."""
        return any(vif.script in scripts for vif in self.records.current)
