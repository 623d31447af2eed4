"""A process that has taps open as QEMU has them, until it is ended."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType

#: opens each tap by TUNSETIFF, with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR (linux/if_tun.h), and says so
_TAKE = """
import fcntl, struct, sys
files = []
for name in sys.argv[1:]:
    files.append(open("/dev/net/tun", "r+b", buffering=0))
    fcntl.ioctl(files[-1], 0x400454CA, struct.pack("16sH22x", name.encode(), 0x5002))
print("taken", flush=True)
sys.stdin.read()
"""


class Taker:
    """It has the taps from the beginning of the block to its end, or until it is killed."""

    def __init__(self, *taps: str) -> None:
        self._taps = taps

    def __enter__(self) -> Taker:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TAKE, *self._taps],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if said != b"taken\n":
            self.kill()
            raise AssertionError(f"{self._taps} cannot be taken: {said!r}")
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """As a guest that crashes."""
        self._process.kill()
        self._process.communicate()
