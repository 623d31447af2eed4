"""Who has taps open: QEMU, as a rule, which tells its guest's name on its command line."""

from __future__ import annotations

import contextlib
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from ..doctor.place import Place
    from .kernel import Kernel

_NODE = "/dev/net/tun"
_MACVTAP = re.compile(r"/dev/tap([0-9]+)")


class Holder(Struct, frozen=True):
    """A process that has a tap open."""

    pid: int
    #: the program, as the kernel knows it (of at most 15 bytes)
    program: str
    #: the guest's name, where the process is QEMU and was told one
    guest: str | None = None


def holders(place: Place, kernel: Kernel) -> dict[str, Holder]:
    """By device; only of processes in this network namespace, and of those that this user may look at.

    A tap's descriptor tells its name in fdinfo ("iff:", Documentation/networking/tuntap); a macvtap's node is
    named by the device's index.
    """
    by_index = {str(one.index): one.name for one in kernel.devices.values() if one.kind == "macvtap"}
    here = os.readlink("/proc/thread-self/ns/net")  # noqa: PTH115
    found: dict[str, Holder] = {}
    for pid in place.pids():
        if pid == os.getpid():
            continue  # we stand in for a guest
        names = set(_open_taps(place.path(f"/proc/{pid}"), by_index))
        if names and _lives_in(place.path(f"/proc/{pid}"), here):
            holder = _holder(place.path(f"/proc/{pid}"), pid)
            found.update(dict.fromkeys(names, holder))
    return found


def _open_taps(process: Path, by_index: dict[str, str]) -> list[str]:
    found = []
    with contextlib.suppress(OSError):  # it has ended, or is not ours to look at
        for number in os.listdir(process / "fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                node = os.readlink(process / "fd" / number)  # noqa: PTH115
                if node == _NODE:
                    text = (process / "fdinfo" / number).read_text(errors="replace")
                    found += re.findall(r"^iff:\s*(\S+)", text, re.MULTILINE)
                elif (match := _MACVTAP.fullmatch(node)) and match[1] in by_index:
                    found.append(by_index[match[1]])
    return found


def _lives_in(process: Path, namespace: str) -> bool:
    """Whether a thread of it is in that network namespace: a program may serve several."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(process / "task"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                if os.readlink(process / "task" / thread / "ns" / "net") == namespace:  # noqa: PTH115
                    return True
    return False


def _holder(process: Path, pid: int) -> Holder:
    program, guest = "?", None
    with contextlib.suppress(OSError):
        program = (process / "comm").read_text(errors="replace").strip()
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        if "qemu" in program.lower() or "kvm" in program.lower():
            guest = guest_name(words)
    return Holder(pid, program, guest)


def guest_name(words: list[str]) -> str | None:
    """The guest's name in QEMU's command line ("-name web1", "-name guest=web1,debug-threads=on")."""
    for word, value in pairwise(words):
        if word in ("-name", "--name"):
            parts = value.replace(",,", "\0").split(",")
            named = [part.removeprefix("guest=") for part in parts if part.startswith("guest=")]
            first = named[0] if named else parts[0] if "=" not in parts[0] else ""
            return first.replace("\0", ",") or None
    return None
