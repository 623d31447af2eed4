"""A mark that everything a script starts carries with it, so that all of it can be ended.

A script's descendants can leave its process group and its session, be adopted by init and clear
their environment. What they cannot shed without CAP_SETGID are supplementary groups: a mark is two
random group ids that nobody uses. Where groups cannot be set (a user namespace of an ordinary
user), the call id in ``VIFPLUG_CALL`` stands in; a process that clears its environment sheds that.
Both are drawn here and nowhere else: what a caller sends, a trace id say, is never part of a mark.

Moving each script into a cgroup of its own would cost 5 to 16 ms a call, ten times the script.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator

from msgspec import Struct

from ..errors import HostError, InvalidInput

#: Group ids far above what distributions, directories and containers hand out.
_FIRST_GROUP = 0x7E000000
_GROUPS = 1 << 24
#: seconds that killed processes may take to be gone
_PATIENCE = 5.0


class Mark(Struct, frozen=True):
    """What tells the processes of one operation from all others on the host."""

    groups: tuple[int, int]
    #: 32 hexadecimal digits, for the variable
    call: str

    @classmethod
    def new(cls) -> Mark:
        """A mark that nothing carries yet."""
        drawn = os.urandom(22)
        first, second = int.from_bytes(drawn[:3]), int.from_bytes(drawn[3:6])
        return cls((_FIRST_GROUP + first, _FIRST_GROUP + second), drawn[6:].hex())

    def to_text(self) -> str:
        """The mark for the ledger."""
        return f"{self.groups[0]}:{self.groups[1]}:{self.call}"

    @classmethod
    def from_text(cls, text: str) -> Mark:
        """The mark that ``to_text`` wrote. Raises InvalidInput for anything else."""
        try:
            first, second, call = text.split(":")
            mark = cls((int(first), int(second)), call)
            good = len(bytes.fromhex(call)) == 16 and all(
                _FIRST_GROUP <= group < _FIRST_GROUP + _GROUPS for group in mark.groups
            )
        except ValueError:
            good = False
        if not good:
            raise InvalidInput(f"{text!r} is not a mark", field="mark", value=text)
        return mark


def kill_marked(mark: Mark, grace: float = 0.0) -> int:
    """End every process that carries ``mark``; return how many there were.

    SIGTERM first if ``grace`` (seconds) is more than 0, SIGKILL to what is left after it, again and
    again until a search finds nothing. Raises HostError if something cannot be ended.
    """
    ended: set[int] = set()
    if grace > 0:
        ended |= signal_marked(mark, signal.SIGTERM, grace)
    give_up = time.monotonic() + _PATIENCE
    quiet = 0
    while quiet < 2:  # one search can be passed by a chain of processes that fork and end
        found = signal_marked(mark, signal.SIGKILL, max(0.0, give_up - time.monotonic()))
        quiet = 0 if found else quiet + 1
        ended |= found
        if found and time.monotonic() >= give_up:
            names = ", ".join(f"{pid} ({_name(pid)})" for pid in sorted(found))
            raise HostError(
                f"processes that a plug script started do not end: {names}; look at them with ps -l",
                pids=sorted(found),
            )
    return len(ended)


def signal_marked(mark: Mark, number: signal.Signals, patience: float) -> set[int]:
    """Send ``number`` to all that carry the mark now; wait until they are gone, at most ``patience`` seconds."""
    poll = select.poll()
    found: dict[int, int] = {}
    try:
        for pid in _marked(mark):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            # The number may have passed to another process since we looked: look again, holding it.
            if not _carries(pid, mark):
                os.close(fd)
                continue
            found[fd] = pid
            poll.register(fd, select.POLLIN)
            try:
                signal.pidfd_send_signal(fd, number)
                if number == signal.SIGTERM:  # a stopped process acts on it only when continued
                    signal.pidfd_send_signal(fd, signal.SIGCONT)
            except ProcessLookupError:
                pass  # gone by itself
            except PermissionError as error:
                raise HostError(
                    f"may not end process {pid} ({_name(pid)}) of a plug script: {error}"
                ) from error
        until = time.monotonic() + patience
        waiting = len(found)
        while waiting and (left := until - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000 + 1):
                poll.unregister(fd)
                waiting -= 1
    finally:
        for fd in found:
            os.close(fd)
    return set(found.values())


def _marked(mark: Mark) -> Iterator[int]:
    own = os.getpid()
    for entry in os.listdir("/proc"):  # noqa: PTH208 (pathlib is slow to import)
        if entry.isdigit() and int(entry) != own and _carries(int(entry), mark):
            yield int(entry)


def _carries(pid: int, mark: Mark) -> bool:
    """Whether ``pid`` lives and carries the mark."""
    status = _read(f"/proc/{pid}/status")
    facts = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
    if not facts or (facts[b"State"].strip()[:1] in b"ZX" and int(facts[b"Threads"]) <= 1):
        return False
    if set(mark.groups) <= {int(group) for group in facts[b"Groups"].split()}:
        return True
    return f"VIFPLUG_CALL={mark.call}".encode() in _read(f"/proc/{pid}/environ").split(b"\0")


def _read(path: str) -> bytes:
    """A file of a process, or nothing when the process is gone or not ours to look at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(fd)


def _name(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").decode(errors="replace").strip() or "gone"
