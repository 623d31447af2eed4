"""Contenders that need another Python than the benchmark's: each such Python is a process that is told what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from .turns import Took

#: Nova and os-vif look for devices in /sys, which shows those of the namespace that it was mounted in
_OWN_SYS = ["unshare", "--mount", "sh", "-ec", 'mount -t sysfs sysfs /sys; exec "$@"', "sh"]
ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """``python -m bench.MODULE ARGUMENTS…`` in a ``with``; it answers each line of words with one line (``peer``)."""

    def __init__(self, python: Path, module: str, *arguments: str | Path) -> None:
        self._name = module
        self._command = [
            *_OWN_SYS,
            str(python),
            "-m",
            f"bench.{module}",
            *map(str, arguments),
        ]

    def __enter__(self) -> Worker:
        environ = {
            **os.environ,
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "PYTHONSAFEPATH": "1",
        }
        self._process = subprocess.Popen(
            self._command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._hear("does not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process as process:  # which closes its standard input, and it ends
            if kind is not None:
                process.kill()

    def asked(self, *words: str) -> Callable[[], Took]:
        """What asks it for one thing, and waits until it is done; it says itself how long it took."""
        line = " ".join(words) + "\n"

        def ask() -> Took:
            assert self._process.stdin is not None
            self._process.stdin.write(line)
            return self._hear(f"failed at '{line.strip()}'")

        return ask

    def _hear(self, what: str) -> Took:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if not said.startswith("done "):
            raise RuntimeError(f"{self._name} {what}: {said or 'it ended'}")
        return Took(said.removeprefix("done "))
