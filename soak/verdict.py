"""What must be true afterwards. Everything is looked at from outside: kernel, backend, /proc, the ledger's file."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from vifplug.client import Client

from .place import Site
from .plan import BRIDGE, OWN_BRIDGE
from .scripts import FOLDER

#: seconds within which all has to come to rest
PATIENCE = 30.0
#: seconds between two looks
_LOOK = 0.2


def within(seconds: float, look: Callable[[], list[str]]) -> list[str]:
    """What is wrong; nothing as soon as a look finds nothing, else what the last one found."""
    until = time.monotonic() + seconds
    while (wrong := look()) and time.monotonic() < until:
        time.sleep(_LOOK)
    return wrong


def agree(site: Site, client: Client, *, healed: bool) -> list[str]:
    """Record, kernel and backends tell one story, nothing is at work, and only those owe who are made to."""
    wrong: list[str] = [f"still at work: {dict(one)}" for one in client.status()["running"]]
    records = client.list()
    plugged = {record.id: record for record in records if record.state == "plugged"}
    debts = [record for record in records if record.state == "debt"]
    for record in records:
        if record.state not in ("plugged", "debt"):
            wrong.append(f"{record.id} is {record.state}: {record.error}")
    links, ports = site.links(), site.ports()
    for record in plugged.values():
        wrong += _as_recorded(record, links, ports)
    owing = {record.id for record in debts}
    for debt in debts:
        grudge = not healed and debt.request["details"].get("mood") == "grudge"
        # what a script owes for a VIF that it has plugged anew is paid with that one's unplug
        anew = debt.id in plugged and _script(plugged[debt.id]) == _script(debt)
        if not (grudge or anew):
            wrong.append(
                f"{debt.id} owes (generation {debt.generation}, {debt.attempts} attempts): {debt.error}"
            )
    devices = {record.vif["devname"] for record in plugged.values()}
    wrong += [f"device {name} belongs to nobody" for name in site.taps().keys() - devices]
    with_port = {record.id for record in plugged.values() if _script(record) in FOLDER}
    wrong += [f"port {vif_id} belongs to nobody" for vif_id in ports.keys() - with_port - owing]
    own = {name for name in links if name == OWN_BRIDGE}
    if own and not any(link.get("master") == OWN_BRIDGE for link in links.values()):
        wrong.append(f"the bridge {OWN_BRIDGE} has no port left")
    return wrong + running(site)


def _as_recorded(record: Any, links: dict[str, Any], ports: dict[str, Any]) -> list[str]:
    """How a plugged VIF differs from what its record says."""
    name, vif = record.vif["devname"], record.vif
    link = links.get(name)
    if link is None:
        return [f"{record.id} is plugged, and there is no device {name}"]
    found = {"MAC": link["address"], "MTU": link["mtu"], "alias": link["ifalias"].rsplit(":", 1)[-1]}
    meant = {"MAC": "fe" + vif["address"][2:], "MTU": vif["mtu"], "alias": record.id}
    script = _script(record)
    if script == "linux-bridge":
        found["bridge"], meant["bridge"] = link.get("master"), vif["details"]["bridge"]
    if script in FOLDER:
        found["port of generation"] = ports.get(record.id, {}).get("generation")
        meant["port of generation"] = record.generation
    wrong = [
        f"{record.id}: {what} is {found[what]} instead of {meant[what]}"
        for what in meant
        if found[what] != meant[what]
    ]
    told = ports.get(record.id, {}).get("vif")
    if told is not None and told["details"] != record.request["details"]:
        wrong.append(f"{record.id}: its port has {told['details']} instead of {record.request['details']}")
    if record.error is not None:
        wrong.append(f"{record.id} is plugged with an error: {record.error}")
    return wrong


def _script(record: Any) -> str | None:
    return record.script["name"] if record.script is not None else None


def running(site: Site) -> list[str]:
    """No script runs but those that stay up, and the daemon has reaped its children."""
    wrong = [
        f"process {process} is left; of {process.origin()}"
        for process in site.processes().values()
        if not (process.resident and process.parent == site.pid)
    ]
    wrong += [
        f"child {pid} of the daemon is a zombie"
        for pid, parent, state in _all()
        if (parent, state) == (site.pid, "Z")
    ]
    return wrong


def _all() -> Iterator[tuple[int, int, str]]:
    """Every process with its parent and its state, proc(5)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # gone meanwhile
            continue
        yield int(path.parent.name), int(parent), state


def nothing_left(site: Site, client: Client) -> list[str]:
    """No VIF, no device, no port, no process."""
    wrong = [f"{record.id} is on record: {record.state} {record.error}" for record in client.list()]
    wrong += [f"device {name} is left" for name in site.links().keys() - {"lo", BRIDGE}]
    wrong += [f"port {vif_id} is left" for vif_id in site.ports()]
    return wrong + running(site)


def never(site: Site) -> list[str]:
    """What may not have happened at any moment."""
    overlap = site.backend / "overlap"
    wrong = (
        [f"two calls at once: {line}" for line in overlap.read_text().splitlines()]
        if overlap.exists()
        else []
    )
    stray: Counter[str] = Counter()
    for line in site.log.read_text().splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            if told["level"] in ("error", "critical"):
                stray[f"{told['logger']}: {told['message']}"] += 1
        elif not line.startswith((" ", "Traceback", "Exception in", "During", "The above")) and line:
            stray[line] += 1  # what an uncaught exception says
    wrong += [f"the daemon's log, {count} times: {line[:600]}" for line, count in stray.most_common(10)]
    with closing(sqlite3.connect(f"file:{site.state}/ledger.db?mode=ro", uri=True)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        wrong.append(f"the ledger: {verdict}")
    return wrong


def holdings(site: Site) -> Counter[str]:
    """What the daemon holds: descriptors by kind, threads, children."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{site.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[f"descriptor {_without_numbers(str(entry.readlink()))}"] += 1
    for task in Path(f"/proc/{site.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            found[f"thread {_without_numbers((task / 'comm').read_text().strip())}"] += 1
    found["children"] = sum(process.parent == site.pid for process in site.processes().values())
    return found


def _without_numbers(text: str) -> str:
    return re.sub("[0-9]+", "N", text)
