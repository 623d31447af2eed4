"""Processes that outlive the command that starts them, known by name, and ended by process id and no other way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from .place import CloudError, Place

#: those that this very process has started
_children: dict[int, subprocess.Popen[bytes]] = {}


class Processes:
    """Those of one cloud. Each has a log ``log/NAME.log`` and a file ``pid/NAME``."""

    def __init__(self, place: Place) -> None:
        self._pids = place.folder("pid")
        self._logs = place.folder("log")

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
    ) -> None:
        """In a session of its own."""
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                env=dict(env) if env is not None else None,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _children[process.pid] = process
        (self._pids / name).write_text(f"{process.pid} {_born(process.pid)}")

    def pid(self, name: str) -> int | None:
        """Of the process, if it lives; a number that another process has by now is not its."""
        try:
            number, born = (self._pids / name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(number) if _born(int(number)) == born else None

    def names(self) -> list[str]:
        return sorted(path.name for path in self._pids.iterdir())

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def kill(self, name: str) -> None:
        """As kill -9 does: it and all of its process group, at once."""
        pid = self.pid(name)
        if pid is None:
            raise CloudError(f"{name} does not run: {self._end_of_log(name)}")
        os.killpg(pid, signal.SIGKILL)
        self._gone([name], 10)

    def stop(self, *names: str, patience: float = 10.0) -> None:
        """SIGTERM for all, and after ``patience`` seconds SIGKILL for their process groups."""
        for name in names:
            self._signal(name, signal.SIGTERM, group=False)
        self._gone(names, patience)
        for name in names:
            self._signal(name, signal.SIGKILL, group=True)
        self._gone(names, 10)
        for name in names:
            (self._pids / name).unlink(missing_ok=True)

    def wait(
        self, what: str, done: Callable[[], object], *, of: Iterable[str] = (), seconds: float = 90
    ) -> float:
        """Until it holds; returns after how many seconds. Raises CloudError when one of the processes that it depends
        on ends, with the end of its log."""
        began = time.monotonic()
        names = list(of)
        while not done():
            for name in names:
                if self.pid(name) is None:
                    raise CloudError(f"{what}: {name} ended: {self._end_of_log(name)}")
            if time.monotonic() - began > seconds:
                raise CloudError(f"{what}: not after {seconds:.0f} s" + "".join(
                    f"; {name}: {self._end_of_log(name)}" for name in names
                ))  # fmt: skip
            time.sleep(0.05)
        return time.monotonic() - began

    def _gone(self, names: Iterable[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(self.pid(name) is not None for name in names):
            time.sleep(0.02)

    def _signal(self, name: str, number: int, *, group: bool) -> None:
        pid = self.pid(name)
        try:
            if pid is not None:
                (os.killpg if group else os.kill)(pid, number)
        except ProcessLookupError:
            return

    def _end_of_log(self, name: str) -> str:
        try:
            lines = self.log(name).read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(lines[-15:]) or f"(nothing in {self.log(name)})"


def _born(pid: int) -> str | None:
    """When the process was started, in clock ticks since the kernel was (proc(5), /proc/pid/stat); None for no
    process, or one that has ended and is not reaped."""
    if pid in _children:
        _children[pid].poll()  # reaped, if it has ended
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]
