"""What a host has that a script could change: kernel, processes, files, and the backend's own word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from ..errors import HostError, InvalidInput
from ..host.netlink import Netlink

#: where a script might leave files; each is private to the kit
FILES = ("/run", "/tmp", "/dev/shm")  # noqa: S108
_ASKED = """\
address show
route show table all
rule show
neigh show nud permanent
neigh show proxy
"""
#: what the kernel does by itself, and when it pleases
_BY_ITSELF = re.compile(
    r"proto kernel|scope link .*inet6|inet6 fe80:|lookup (local|main|default)$|ff02::|224\.0\.0\."
)
_QUEUES = ("noqueue", "pfifo_fast", "fq_codel", "mq", "fq")


class Snapshot(Struct, frozen=True):
    """Lines that say what there is, each with its kind in front: ``link``, ``route``, ``file`` …"""

    lines: frozenset[str]

    def beyond(self, other: Snapshot) -> list[str]:
        """What is here and not in ``other``."""
        return sorted(self.lines - other.lines)

    def differences(self, after: Snapshot) -> list[str]:
        """What ``after`` has more (+) or less (-)."""
        return [f"+ {line}" for line in after.beyond(self)] + [f"- {line}" for line in self.beyond(after)]

    def without(self, pattern: str) -> Snapshot:
        """Without the lines in which ``pattern`` is found."""
        return Snapshot(frozenset(line for line in self.lines if not re.search(pattern, line)))


def look(roots: Sequence[str], watch: Sequence[str], environment: Mapping[str, str], own: str) -> Snapshot:
    """The host as it is now. ``roots`` are searched for files, but for what lies below ``own``.

    Raises InvalidInput for a command of ``watch`` that fails.
    """
    lines = [*_links(), *_ip(), *_queues(), *_filters(), *_processes(), *_files(roots, own)]
    for command in watch:
        lines += [f"watch {line}" for line in _watched(command, environment)]
    return Snapshot(frozenset(lines))


def _watched(command: str, environment: Mapping[str, str]) -> list[str]:
    done = subprocess.run(
        ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, env={**os.environ, **environment},
    )  # fmt: skip
    if done.returncode != 0:
        raise InvalidInput(
            f"watch: {command!r} ended with exit status {done.returncode}: {done.stdout.strip() or 'it said nothing'}",
            field="watch", value=command,
        )  # fmt: skip
    return done.stdout.splitlines()


def _links() -> list[str]:
    with Netlink() as netlink:
        links = list(netlink.links())
    names = {link.index: link.name for link in links}
    return [
        f"link {link.name} ({link.kind or 'physical'}){' up' if link.up else ''}"
        + (f" master {names.get(link.master, link.master)}" if link.master else "")
        for link in links
    ]


def _ip() -> list[str]:
    lines = []
    for family in ("-4", "-6"):
        command = ["ip", family, "-oneline", "-force", "-batch", "-"]
        done = subprocess.run(command, input=_ASKED, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HostError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        lines += [line for text in done.stdout.splitlines() if (line := _ip_line(text))]
    return lines


def _ip_line(text: str) -> str:
    text = " ".join(text.partition("\\")[0].split())
    text = re.sub(r" (linkdown|dead|onlink|STALE|pref medium)\b", "", text)
    if not text or _BY_ITSELF.search(text):
        return ""
    if found := re.match(r"\d+: (\S+) (inet6? .*)", text):
        return f"address {found[1]} {found[2]}"
    if re.match(r"\d+:\s*from", text):
        return f"rule {text}"
    if text.endswith("PERMANENT") or " proxy" in text:
        return f"neighbour {text}"
    return f"route {text}"


def _queues() -> list[str]:
    done = subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True, check=False)
    words = (line.split() for line in done.stdout.splitlines())
    return [
        f"queue {line[1]} {line[3]} {line[4]}" for line in words if len(line) > 4 and line[1] not in _QUEUES
    ]


def _filters() -> list[str]:
    if shutil.which("nft") is None:
        return []
    done = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=False)
    table, chain, lines = "", "", []
    for line in (line.strip() for line in done.stdout.splitlines()):
        if line.startswith("table "):
            table, chain = line.removesuffix("{").strip(), ""
            lines.append(f"filter {table}")
        elif line.startswith(("chain ", "set ", "map ")):
            chain = line.removesuffix("{").strip()
            lines.append(f"filter {table} {chain}")
        elif line != "}":
            lines.append(f"filter {table} {chain}: {line}")
    return lines


def processes() -> dict[int, str]:
    """The processes of this PID namespace but the kit's own, with their command lines."""
    found = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            state = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if state not in "ZX":
            found[int(entry)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _processes() -> list[str]:
    commands = sorted(processes().values())
    return [f"process {command} ({commands[:at].count(command) + 1})" for at, command in enumerate(commands)]


def _files(roots: Sequence[str], own: str) -> list[str]:
    found = []
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__" and f"{folder}/{name}" != own]
            found += [f"file {folder}/{name}" for name in (*folders, *files)]
    return found
