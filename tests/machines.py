"""QEMU by itself, under emulation, with its monitor at a socket; and the guest that tests boot."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import guest_image
from daemons import until

QEMU = "qemu-system-x86_64"
_INSTALL = "install it with: apt-get install --no-install-recommends qemu-system-x86"
_BOOTED = 60.0


class Machine:
    """A QEMU that runs until the block ends. One that does not boot stands still in its firmware.

    ``fds``: descriptors that it inherits. ``uid``: the user it runs as, with no capability at all.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        boots: bool = False,
        machine: str = "pc",
        fds: Sequence[int] = (),
        uid: int | None = None,
    ) -> None:
        self.socket = str(folder / "qmp.sock")
        self._console = folder / "console"
        self._fds = fds
        command = [QEMU, "-nodefaults", "-machine", f"{machine},accel=tcg", "-m", "128", "-display", "none"]
        command += ["-global", "virtio-net-pci.romfile=", "-serial", f"file:{self._console}"]
        command += ["-qmp", f"unix:{self.socket},server=on,wait=off"]
        if boots:
            made = guest_image.made()
            command += ["-kernel", f"{made}/vmlinuz", "-initrd", f"{made}/initrd"]
            command += ["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]
        if uid is not None:
            folder.chmod(0o777)
            who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]
            command = [*who, "--bounding-set=-all", *command]
        self._command = [*command, *arguments]

    def __enter__(self) -> Machine:
        try:
            self._process = subprocess.Popen(
                self._command, pass_fds=self._fds, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise AssertionError(f"{QEMU} is not here; {_INSTALL}") from None
        try:
            until(self._listens)
        except BaseException:
            self.kill()
            raise
        return self

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._process.communicate()[1].decode()
        return Path(self.socket).exists()

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_said(self, text: str) -> None:
        """Wait until the guest has said it on its console."""
        until(lambda: self._console.exists() and text in self._console.read_text(), _BOOTED)
