"""This Debian with packages installed into it, of which the real one sees nothing.

An overlay over the whole root file system, in a mount namespace of its own: what is installed, written
and removed there goes into a folder of the test's. The network is the test's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

OVERLAY = """
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
"""
#: ends when its standard input does; then the mounts are gone with their namespace
_KEEPER = (
    OVERLAY
    + """
for tree in proc sys dev; do mount --rbind "/$tree" "$1/root/$tree"; done
for tree in run tmp; do mount -t tmpfs -o mode=755 tmpfs "$1/root/$tree"; done
echo ready
exec cat
"""
)


def build(script: str, into: Path) -> Path:
    """What a script of packaging/ makes."""
    done = subprocess.run(
        [ROOT / "packaging" / script, into],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


class Debian:
    """Use it in a with statement."""

    #: the namespaces that a command is run in
    _namespaces: tuple[str, ...] = ("mount",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Debian:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _KEEPER, "sh"]
        self._keeper = subprocess.Popen(
            [*command, str(self._folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._keeper is not None
        self._keeper.communicate()

    @property
    def _root(self) -> str:
        """Its root directory, in its mount namespace."""
        return f"{self._folder}/root"

    @property
    def _inside(self) -> int:
        """A process whose namespaces are the system's."""
        assert self._keeper is not None
        return self._keeper.pid

    def run(self, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in there, in the calling thread's network namespace."""
        done = subprocess.run(
            [
                *("nsenter", f"--target={self._inside}", *(f"--{name}" for name in self._namespaces)),
                *("chroot", self._root),
                *("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                *("LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *command),
            ],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str, mode: str = "644") -> None:
        self.run(
            "sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1" && chmod "$2" "$1"', "sh", path, mode, stdin=text
        )

    def outside(self, path: str) -> Path:
        """Where a file of it is seen from outside."""
        return Path(f"/proc/{self._inside}/root{self._root}{path}")

    def install(self, *packages: Path) -> None:
        """Debian packages from outside. All that they depend on must be installed already, or among them."""
        names = []
        for package in packages:
            names.append(f"/tmp/{package.name}")
            self.outside(names[-1]).write_bytes(package.read_bytes())
        self.run("dpkg", "--install", *names)
