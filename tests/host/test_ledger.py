"""The ledger on a real disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vifplug.errors import (
    DeviceTaken,
    DiskFull,
    LedgerCorrupt,
    LedgerError,
    NoPermission,
    NotPlugged,
    ScriptFailed,
)
from vifplug.host import database
from vifplug.host.ledger import Ledger
from vifplug.host.results import CallRecord, ScriptRef, State
from vifplug.model.vif import Ethernet, Vhostuser, Vif

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
OTHER = "5d1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e02"
SCRIPT = ScriptRef(name="s", path="/usr/lib/vifplug/scripts/s", digest="sha256:00")


def vif(vif_id: str = ID, devname: str = "tap4c1b1b0a-7d", **fields: object) -> Vif:
    return Vif(id=vif_id, shape=Ethernet(), devname=devname, address="fa:16:3e:00:00:01", **fields)  # type: ignore[arg-type]


def call(vif_id: str = ID, started: float = 1.0) -> CallRecord:
    return CallRecord(
        vif_id=vif_id, generation=1, verb="plug", script="s", digest="sha256:00", attempt=1, started=started,
        seconds=0.5, outcome="done", exit_status=0, signal=None, message=None, reply={"vif": {"mtu": 1400}},
        stderr="hello", traceparent="00-1-2-01",
    )  # fmt: skip


def test_a_plug_is_on_record_from_its_intent_to_its_unplug(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    row = ledger.begin_plug(vif(), SCRIPT, "mark")
    seen = ledger.current(ID)
    assert seen is not None
    assert (seen.record.state, seen.record.generation, seen.mark) == (State.PLUGGING, 1, "mark")
    ledger.plugged(row, vif(mtu=1400), {"mtu": 1400}, "br0", [call()])
    seen = ledger.current(ID)
    assert seen is not None
    assert (seen.record.state, seen.mark, seen.master, seen.reply) == (
        State.PLUGGED,
        None,
        "br0",
        {"mtu": 1400},
    )
    assert (seen.record.request.mtu, seen.record.vif.mtu, seen.record.script) == (None, 1400, SCRIPT)
    row = ledger.begin_unplug(seen, "mark 2")
    assert row.record.state is State.UNPLUGGING
    ledger.unplugged(row, [call()])
    assert ledger.current(ID) is None
    assert len(ledger.calls(ID)) == 2


def test_generations_count_up_across_vifs_unplugs_and_reopening(state_dir: Path) -> None:
    generations = []
    for vif_id, name in ((ID, "tap1"), (OTHER, "tap2"), (ID, "tap1")):
        ledger = Ledger(state_dir, "boot")
        row = ledger.begin_plug(vif(vif_id, name), None, "")
        generations.append(row.record.generation)
        ledger.unplugged(row, [])
        ledger.close()
    assert generations == [1, 2, 3]


def test_two_vifs_cannot_have_one_device_name(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger.begin_plug(vif(), None, "")
    with pytest.raises(DeviceTaken, match=f"tap4c1b1b0a-7d is taken by VIF {ID}"):
        ledger.begin_plug(vif(OTHER), None, "")
    assert ledger.current(OTHER) is None


def test_a_debt_does_not_stand_in_the_way_of_a_new_plug(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger.owes(ledger.begin_plug(vif(), SCRIPT, ""), ScriptFailed("no"), [])
    assert ledger.current(ID) is None
    row = ledger.begin_plug(vif(), None, "")
    assert [(r.record.state, r.record.generation) for r in ledger.all()] == [
        (State.DEBT, 1), (State.PLUGGING, 2),
    ]  # fmt: skip
    ledger.plugged(row, vif(), {}, None, [])
    assert len(ledger.debts()) == 1, "another script's debt is still owed"
    debt = ledger.debts()[0]
    assert (debt.record.error, debt.record.attempts) == ({"code": "failed", "message": "no"}, 1)


def test_a_plug_by_the_same_script_takes_its_debt_over(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger.owes(ledger.begin_plug(vif(), SCRIPT, ""), ScriptFailed("no"), [])
    ledger.plugged(ledger.begin_plug(vif(), SCRIPT, ""), vif(), {}, None, [])
    assert ledger.debts() == []


def test_another_boot_makes_a_vif_lost(state_dir: Path) -> None:
    Ledger(state_dir, "before").begin_plug(vif(), None, "")
    row = Ledger(state_dir, "after").current(ID)
    assert row is not None
    assert row.record.lost


def test_an_update_keeps_the_present_request_until_it_is_done(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger.plugged(ledger.begin_plug(vif(), None, ""), vif(), {}, None, [])
    row = ledger.current(ID)
    assert row is not None
    updating = ledger.begin_update(row, vif(mtu=1300), "mark")
    seen = ledger.current(ID)
    assert seen is not None
    assert (seen.record.state, seen.record.request.mtu) == (State.UPDATING, None)
    assert seen.record.next_request == vif(mtu=1300)
    ledger.update_failed(updating, ScriptFailed("no"), [])
    seen = ledger.current(ID)
    assert seen is not None
    assert (seen.record.state, seen.record.request.mtu, seen.record.next_request) == (
        State.PLUGGED,
        None,
        None,
    )
    assert seen.record.error == {"code": "failed", "message": "no"}
    updating = ledger.begin_update(seen, vif(mtu=1300), "mark")
    ledger.plugged(updating, vif(mtu=1300), {}, None, [])
    seen = ledger.current(ID)
    assert seen is not None
    assert (seen.record.request.mtu, seen.record.next_request, seen.record.error) == (1300, None, None)


def many(ledger: Ledger, number: int) -> None:
    with ledger.one_commit() as together:
        for n in range(number):
            together.begin_plug(vif(f"{n:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01", f"tap{n}"), None, "")


def test_pages_are_oldest_first_and_leave_nothing_out(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    many(ledger, 25)
    seen: list[int] = []
    while page := ledger.all(limit=10, after=seen[-1] if seen else None):
        seen += [row.record.generation for row in page]
        ledger.unplugged(page[-1], [])  # what a page ends with may be gone when the next one is asked for
    assert seen == list(range(1, 26))


def test_a_page_may_begin_after_a_vif_too(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    many(ledger, 5)
    _, second, *_ = ledger.all()
    assert [row.record.generation for row in ledger.all(after=second.record.id)] == [3, 4, 5]
    assert [row.record.generation for row in ledger.all(after="2", limit=1)] == [3]
    with pytest.raises(NotPlugged, match=f"{ID} is not on record"):
        ledger.all(after=ID)


def test_a_page_may_be_of_one_state(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    many(ledger, 6)
    for row in ledger.all()[::2]:
        ledger.owes(row, ScriptFailed("no"), [])
    debts = ledger.all(State.DEBT, limit=2)
    assert [row.record.generation for row in debts] == [1, 3]
    assert [row.record.generation for row in ledger.all(State.DEBT, after=3)] == [5]
    assert [row.record.generation for row in ledger.all(State.PLUGGING)] == [2, 4, 6]


def test_counts_are_by_state_and_type_and_read_no_vif(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    assert ledger.counts() == []
    many(ledger, 3)
    socket = Vif(id=ID, shape=Vhostuser(path="/run/s"), devname="tapx", address="fa:16:3e:00:00:01")
    ledger.plugged(ledger.begin_plug(socket, None, ""), socket, {}, None, [])
    assert {(count.state, count.type, count.vifs) for count in ledger.counts()} == {
        (State.PLUGGING, "ethernet", 3),
        (State.PLUGGED, "vhostuser", 1),
    }
    plan = ledger._database.query(
        "EXPLAIN QUERY PLAN SELECT state, type, count(*) FROM vif GROUP BY state, type"
    )
    assert [step for *_, step in plan] == ["SCAN vif USING COVERING INDEX vif_kinds"]


def test_old_and_many_calls_are_dropped(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger.unmark(ID, [call(started=float(n)) for n in range(10)])
    ledger.unmark(OTHER, [call(OTHER, 9.0)])
    assert ledger.prune_calls(before=2.0, keep=5) == 2 + 3
    assert [c.started for c in ledger.calls(ID)] == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert len(ledger.calls(OTHER)) == 1


def test_a_damaged_ledger_is_said_and_left_alone(state_dir: Path) -> None:
    Ledger(state_dir, "boot").close()
    path = state_dir / "ledger.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(LedgerCorrupt, match=r"ledger\.db is damaged"):
        Ledger(state_dir, "boot")
    assert path.read_bytes() == b"not a database" * 1000


def test_a_row_that_cannot_be_read_is_damage_too(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger.begin_plug(vif(), None, "")
    ledger._database._writer.execute("UPDATE vif SET request = '{'")
    with pytest.raises(LedgerCorrupt, match="a row cannot be read"):
        ledger.current(ID)


def test_a_newer_ledger_is_not_touched(state_dir: Path) -> None:
    ledger = Ledger(state_dir, "boot")
    ledger._database._writer.execute("PRAGMA user_version = 99")
    ledger.close()
    with pytest.raises(LedgerError, match="newer vifplug"):
        Ledger(state_dir, "boot")


def test_a_ledger_locked_by_another_process_is_an_error_of_its_own(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    ledger = Ledger(state_dir, "boot")
    holder = sqlite3.connect(state_dir / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked by another process"):
        ledger.begin_plug(vif(), None, "")
    holder.execute("ROLLBACK")
    holder.close()
    assert ledger.begin_plug(vif(), None, "").record.generation == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(4096))


def test_a_full_disk_is_said_and_nothing_is_recorded(small_disk: Path) -> None:
    ledger = Ledger(small_disk / "state", "boot")
    fill(small_disk)
    with pytest.raises(DiskFull, match="disk that holds .* is full"):
        for number in range(200):
            ledger.begin_plug(vif(f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01", f"tap{number}"), None, "")
    recorded = len(ledger.all())
    (small_disk / "ballast").unlink()
    ledger.begin_plug(vif(), None, "")
    assert len(ledger.all()) == recorded + 1


def test_a_disk_full_from_the_start_is_said(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(DiskFull):
        Ledger(small_disk / "state", "boot")


@pytest.mark.real_root
def test_a_state_directory_that_others_may_write_is_refused(state_dir: Path) -> None:
    state_dir.mkdir()
    state_dir.chmod(0o777)
    with pytest.raises(NoPermission, match="writable by nobody else.*0777"):
        Ledger(state_dir, "boot")
    state_dir.chmod(0o700)
    os.chown(state_dir, 1234, 0)
    with pytest.raises(NoPermission, match="belongs to uid 1234"):
        Ledger(state_dir, "boot")


def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path / "file", "boot")


def test_a_ledger_that_lost_its_content_is_not_taken_for_a_new_one(state_dir: Path) -> None:
    Ledger(state_dir, "boot").close()
    (state_dir / "locks").touch()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (state_dir / name).unlink(missing_ok=True)
    (state_dir / "ledger.db").write_bytes(b"")
    with pytest.raises(LedgerCorrupt, match="it is empty, and this state directory has been used before"):
        Ledger(state_dir, "boot")


@pytest.mark.real_root
def test_a_state_directory_under_somebody_elses_is_refused_to_root(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 1234, 0)
    with pytest.raises(NoPermission, match=r"theirs belongs to uid 1234 .* set state_dir"):
        Ledger(theirs / "state", "boot")
    os.chown(theirs, 0, 0)
    theirs.chmod(0o777)
    with pytest.raises(NoPermission, match="mode 0777"):
        Ledger(theirs / "state", "boot")
