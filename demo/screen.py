"""What the demo shows: headings, steps with their times, and a verdict. Colours on a terminal only."""

from __future__ import annotations

import os
import sys

from vifplug.host import Step

_BOLD, _DIM, _GREEN, _RED, _CYAN = "1", "2", "32", "31", "36"


class Screen:
    def __init__(self) -> None:
        self._colours = (
            sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        self._chapters = 0
        #: whether something was not as it should be
        self.failed = False
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show a tick shows a question mark
            reconfigure(errors="replace")

    def title(self, text: str, *lines: str) -> None:
        print(self._paint(text, _BOLD))
        for line in lines:
            print(self._paint(line, _DIM))

    def chapter(self, text: str) -> None:
        self._chapters += 1
        print(f"\n{self._paint(f'{self._chapters}  {text}', _BOLD)}")

    def note(self, text: str) -> None:
        print(f"   {self._paint(text, _DIM)}")

    def step(self, step: Step) -> None:
        """A listener for Host: one line when a step has ended."""
        if step.phase != "begin":
            self._verdict(step.phase == "end", f"{step.name:<18}{step.seconds * 1000:8.1f} ms", step.text)

    def fact(self, good: bool, left: str, right: str) -> None:
        """Something that must be so."""
        self._verdict(good, f"{left:<28}", right)

    def block(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            print(f"     {self._paint(line, _CYAN)}")

    def end(self, good: str, bad: str) -> None:
        print(f"\n{self._paint(bad, _RED) if self.failed else self._paint(good, _BOLD)}")

    def _verdict(self, good: bool, left: str, right: str) -> None:
        self.failed |= not good
        mark = self._paint("✓", _GREEN) if good else self._paint("✗", _RED)
        print(f"   {mark} {left}  {self._paint(right, _DIM if good else _RED)}".rstrip(), flush=True)

    def _paint(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colours and text else text
