"""The whole terminal for a picture that is drawn again and again; as it was before, whatever happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType

#: xterm's control sequences (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html): the other screen, no
#: cursor, no wrapping at the edge; and back
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
#: a frame is shown when it is whole, by terminals that know how
_BEGIN, _END = "\x1b[?2026h\x1b[H", "\x1b[J\x1b[?2026l"
_REST_OF_LINE, _RESET = "\x1b[K", "\x1b[0m"


class Screen:
    """Used within a ``with``, by the main thread, where standard input and output are a terminal."""

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._before = termios.tcgetattr(self._in)
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @staticmethod
    def possible() -> bool:
        """Whether there is a terminal to draw on."""
        return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")

    def __enter__(self) -> Screen:
        self._handlers = {
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, self._on_resize),
            signal.SIGTSTP: signal.signal(signal.SIGTSTP, self._on_stop),
        }
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hide()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._wake)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        found = os.get_terminal_size(self._out)
        return found.columns or 80, found.lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, from the top; nothing is cleared before, so nothing flickers."""
        shown = f"{_RESET}{_REST_OF_LINE}\r\n".join(lines) + f"{_RESET}{_REST_OF_LINE}"
        self._write(f"{_BEGIN}{shown}{_END}")

    def wait(self, seconds: float) -> str | None:
        """A key that was pressed, "" when the size changed; None when neither came in time."""
        ready, _, _ = select.select([self._in, self._woken], [], [], max(seconds, 0))
        if self._woken in ready:
            os.read(self._woken, 64)
            return ""
        if self._in in ready:
            return os.read(self._in, 1).decode(errors="replace") or "q"  # its end: nobody is there any more
        return None

    def _show(self) -> None:
        tty.setcbreak(self._in, termios.TCSADRAIN)
        self._write(_ENTER)

    def _hide(self) -> None:
        self._write(_LEAVE)
        termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)

    def _write(self, text: str) -> None:
        left = memoryview(text.encode(errors="replace"))
        while left:
            left = left[os.write(self._out, left) :]

    def _on_resize(self, _number: int, _frame: FrameType | None) -> None:
        os.write(self._wake, b"w")

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its terminal as it was, and we ours when we go on."""
        self._hide()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._show()
        os.write(self._wake, b"w")
