"""Processes that die in the middle of a verb, a backend that notices, and what must be true afterwards."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from vifplug.host import Host, Recovered, State, Step
from world import World, links

#: A backend where each port is two things, so that it can be half there. A verb that starts while
#: another one of the same VIF still runs (the lock dies with the last process of a verb) leaves
#: "overlap". At VERB.at.N the file of that name is sourced: before, between and after the two things.
TWO_PARTS = """#!/bin/sh
b=@BACKEND@
[ "$1" = info ] && { [ -f $b/info.json ] && cat $b/info.json && exit 0; exit 64; }
exec 9>$b/lock-$VIF_ID
flock -n 9 || echo "$1 $VIF_ID" >> $b/overlap
request=$(cat)
verb=$1
at() { if [ -f $b/$verb.at.$1 ]; then . $b/$verb.at.$1; fi; }
keep() { echo "$request" > $b/new-$1-$VIF_ID; mv $b/new-$1-$VIF_ID $b/$1-$VIF_ID; }
at 0
case $verb in
plug|update) keep wire; at 1; keep port; at 2 ;;
unplug) rm -f $b/port-$VIF_ID $b/active-$VIF_ID; at 1; rm -f $b/wire-$VIF_ID; at 2 ;;
activate) at 1; echo 1 > $b/active-$VIF_ID; at 2 ;;
check) [ -f $b/port-$VIF_ID ] && [ -f $b/wire-$VIF_ID ] || echo '{"ok": false}'; at 1; at 2 ;;
*) exit 64 ;;
esac
"""


def two_parts(world: World, *, update_fields: tuple[str, ...] = ("details.tag",)) -> World:
    """The world with that backend, whose script offers check and a live update of ``update_fields``."""
    world.script("recorder", TWO_PARTS.replace("@BACKEND@", str(world.backend)))
    world.info(verbs=["plug", "unplug", "update", "check", "activate"], update_fields=list(update_fields))
    return world


def at(world: World, verb: str, point: int, do: str | None) -> None:
    """What the script of ``two_parts`` does at a point of a verb; None: nothing again."""
    path = world.backend / f"{verb}.at.{point}"
    if do is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(do + "\n")


# --- processes that die ----------------------------------------------------------------------


@contextmanager
def child(work: Callable[[], object]) -> Iterator[int]:
    """Fork a process that does ``work`` and exits with 0, or with 1 and its traceback on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12, where xdist has a thread
        pid = os.fork()
    if pid == 0:
        _do_and_exit(work)
    try:
        yield pid
    finally:
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _do_and_exit(work: Callable[[], object]) -> NoReturn:
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def ends(work: Callable[[], object], *, kill_after: float | None = None) -> int:
    """Do ``work`` in a process; SIGKILL it after so many seconds. How it ended: a status, or minus a signal."""
    with child(work) as pid:
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(None if kill_after is None else kill_after * 1000):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        finally:
            os.close(pidfd)
    assert info is not None
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


def die_at(boundary: int) -> Callable[[Step], None]:
    """A listener that kills its own process at the n-th boundary of steps, counted from 1."""
    count = itertools.count(1)

    def on_step(step: Step) -> None:
        if next(count) == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_step


def boundaries(world: World, verb: Callable[[Host], object], **keywords: Any) -> list[str]:
    """Every boundary that a verb passes, as "begin intent", …; found by doing it, in a process of its own."""
    path = world.folder / "boundaries"
    path.unlink(missing_ok=True)

    def work() -> None:
        with (
            path.open("a") as file,
            world.host(on_step=lambda step: file.write(f"{step.phase} {step.name}\n"), **keywords) as host,
        ):
            verb(host)

    assert ends(work) == 0
    return path.read_text().splitlines()


# --- afterwards ------------------------------------------------------------------------------


def recovered(host: Host) -> list[Recovered]:
    """Recover, as a fresh process would.

    A process that is killed while it starts a script leaves, for the microseconds before that
    child becomes the script, a copy of its locks: asked in that moment, recover says "busy".
    """
    for _ in range(1000):
        found = host.recover()
        if all(one.now != "busy" for one in found):
            return found
    raise AssertionError(f"busy for ever: {found}")


def agree(world: World, host: Host, *, but: Collection[str] = (), ask: bool = True) -> dict[str, State]:
    """Kernel, ledger and the backend of ``two_parts`` tell one story; returns the ledger's: a state for each VIF.

    A VIF is plugged, with its device and both parts of its port as the record has them; or it is
    not on record, and nothing of it is anywhere; or the ledger says what it owes, and its device
    is gone; or it is plugged, and the ledger says why a change of it could not be put back.

    ``but``: VIFs that a crash left in the middle, say. ``ask``: whether there is a script to ask.
    """
    backend = world.backend
    assert not (backend / "overlap").exists(), (backend / "overlap").read_text()
    records = [record for record in host.list() if record.id not in but]
    assert {record.state for record in records} <= {State.PLUGGED, State.DEBT}, records
    plugged = {record.id: record for record in records if record.state is State.PLUGGED}
    owing = {record.id for record in records if record.state is State.DEBT}
    unsure = {vif_id for vif_id, record in plugged.items() if record.error is not None}
    devices = {(link.alias or "").rsplit(":", 1)[-1] for link in links().values()}
    assert devices - set(but) == set(plugged)
    for vif_id in set(plugged) - unsure if ask else ():
        report = host.check(vif_id)
        assert report.ok, report
        assert report.script in ("asked", "no script")
    with_script = {vif_id for vif_id in set(plugged) - unsure if plugged[vif_id].script is not None}
    for part in ("wire", "port"):
        there = {path.name.removeprefix(f"{part}-"): path for path in backend.glob(f"{part}-*")}
        there = {vif_id: path for vif_id, path in there.items() if vif_id not in but}
        assert with_script <= set(there) <= with_script | owing | unsure, (part, set(there), records)
        for vif_id in with_script:
            request = json.loads(there[vif_id].read_text())
            assert request["vif"]["details"] == plugged[vif_id].request.details
            assert request["generation"] == plugged[vif_id].generation
            if request["migration"] is not None and not plugged[vif_id].request.arriving:
                assert (backend / f"active-{vif_id}").exists()
    for record in records:
        if record.state is State.DEBT:
            assert record.error is not None
            assert record.attempts > 0
    return dict.fromkeys(owing, State.DEBT) | dict.fromkeys(plugged, State.PLUGGED)


def marked_processes() -> dict[int, str]:
    """Processes of plug scripts in this test's network namespace: what each one is called."""
    here = Path("/proc/thread-self/ns/net").readlink()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "ns/net").readlink() == here and b"VIFPLUG_CALL=" in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:  # gone meanwhile
            continue
    return found


def nothing_runs() -> None:
    """No script runs on; for the sake of the tests after this one, what does is ended all the same."""
    left = marked_processes()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, left
