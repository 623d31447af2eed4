"""A terminal: a pseudo-terminal with a command on it, and what its screen shows."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Terminal:
    """Runs a command within a ``with``. It knows as much of xterm as vifplug uses."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.columns, self.lines = columns, lines
        self._master, self._slave = os.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        #: all that was sent to it
        self.sent = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # whose Ctrl-C and Ctrl-Z reach it
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})},
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def modes(self) -> Any:
        """The terminal's settings, as tcgetattr(3) gives them."""
        return termios.tcgetattr(self._slave)

    def until(self, seen: Callable[[list[str]], bool], seconds: float = 20.0) -> list[str]:
        """The screen, as soon as it looks so."""
        give_up = time.monotonic() + seconds
        while not seen(screen := self.screen()):
            left = give_up - time.monotonic()
            assert left > 0, "\n".join(screen)
            self._read(left)
        return screen

    def ended(self, seconds: float = 20.0) -> int:
        """The exit status, when it ends."""
        status = self.process.wait(seconds)
        while self._read(0):
            pass
        return status

    def screen(self) -> list[str]:
        """The lines of the latest whole frame."""
        frames = self.sent.split("\x1b[?2026h")
        whole = [frame.partition("\x1b[?2026l")[0] for frame in frames[1:] if "\x1b[?2026l" in frame]
        return [_SEQUENCE.sub("", line).rstrip() for line in whole[-1].split("\r\n")] if whole else []

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        self.sent += os.read(self._master, 65536).decode()
        return True
