"""The ledger's backup: whole or not there, made only when something changed, and never of a damaged ledger."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from dying import every_moment
from vifplug.errors import Busy, DiskFull, LedgerCorrupt
from vifplug.host import database
from vifplug.host.backup import Backups
from vifplug.host.ledger import Ledger
from vifplug.host.locks import Locks
from vifplug.model.vif import Ethernet, Vif
from world import ID, World, binding


def vif(number: int) -> Vif:
    vif_id = f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01"
    return Vif(id=vif_id, shape=Ethernet(), devname=f"tap{number}", address="fa:16:3e:00:00:01")


def plug(ledger: Ledger, *numbers: int) -> None:
    with ledger.one_commit() as together:
        for number in numbers:
            together.begin_plug(vif(number), None, "")


def backups(ledger: Ledger, state_dir: Path) -> Backups:
    return ledger.backups(Locks(state_dir))


def held(path: Path) -> list[int]:
    """The generations in a backup, which must be a ledger that vifplug opens."""
    copy = path.parent / "opened"
    copy.mkdir(mode=0o700, exist_ok=True)
    (copy / "ledger.db").write_bytes(path.read_bytes())
    with closing(Ledger(copy, "boot")) as ledger:
        return [row.record.generation for row in ledger.all()]


def test_a_backup_holds_what_was_on_record_when_it_was_made(world: World) -> None:
    with world.host() as host:
        host.plug(binding())
        host.plug(binding(2))
        backup = host.backup()
        host.unplug(ID)
        assert (backup.vifs, backup.changed) == (2, True)
        assert held(Path(backup.path)) == [1, 2]
        assert Path(backup.path) == Path(world.config.state_dir) / "ledger.backup"
        assert Path(backup.path).stat().st_mode & 0o777 == 0o600


def test_it_is_made_anew_only_when_something_has_changed(state_dir: Path) -> None:
    with closing(Ledger(state_dir, "boot")) as ledger, closing(Ledger(state_dir, "boot")) as other:
        ours = backups(ledger, state_dir)
        assert ours.make(1).changed
        before = (state_dir / "ledger.backup").stat()
        again = ours.make(1)
        assert (again.changed, again.vifs) == (False, 0)
        assert (state_dir / "ledger.backup").stat() == before
        plug(other, 1)  # by another process
        assert ours.make(1).changed
        plug(ledger, 2)
        assert (ours.make(1).changed, ours.make(1).changed) == (True, False)
        (state_dir / "ledger.backup").unlink()
        assert ours.make(1).changed
        assert held(state_dir / "ledger.backup") == [1, 2]


def test_writers_go_on_while_it_is_made(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit in the middle of a backup is made at once, and the backup is of the moment before it."""
    with closing(Ledger(state_dir, "boot")) as ledger, closing(Ledger(state_dir, "boot")) as other:
        plug(ledger, *range(1, 2001))
        made = []

        def check(self: Backups, path: Path) -> None:
            with closing(sqlite3.connect(path)) as connection:
                made.append(connection.execute("SELECT count(*) FROM vif").fetchone()[0])

        connect = sqlite3.connect

        def copying(name: object, *rest: object, **keywords: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(name, *rest, **keywords)  # type: ignore[call-overload]
            if str(name).endswith("?mode=ro"):  # a reading has begun when the commit comes
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM vif").fetchone()
                plug(other, 9999)
            return connection

        monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
        monkeypatch.setattr(Backups, "_check", check)
        monkeypatch.setattr(sqlite3, "connect", copying)
        backups(ledger, state_dir).make(1)
        assert made == [2000]
        assert len(ledger.all()) == 2001


def test_two_processes_do_not_make_it_at_once(state_dir: Path) -> None:
    with closing(Ledger(state_dir, "boot")) as ledger:
        with Locks(state_dir).named(["vifplug ledger backup"], 1), pytest.raises(Busy):
            backups(ledger, state_dir).make(0)
        threads = [threading.Thread(target=backups(ledger, state_dir).make, args=(30,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert held(state_dir / "ledger.backup") == []


def test_killed_at_any_moment_there_is_the_old_backup_or_the_new(state_dir: Path) -> None:
    found = []
    with closing(Ledger(state_dir, "boot")) as ledger:
        plug(ledger, 1)
        backups(ledger, state_dir).make(1)
        old = (state_dir / "ledger.backup").read_bytes()
        plug(ledger, 2)

    def work() -> None:
        with closing(Ledger(state_dir, "boot")) as ledger:
            backups(ledger, state_dir).make(1)

    def before() -> None:
        (state_dir / "ledger.backup").write_bytes(old)

    for _ in every_moment(work, before):
        found.append(held(state_dir / "ledger.backup"))
        assert found[-1] in ([1], [1, 2])
    assert [1] in found
    assert [1, 2] in found
    work()
    assert not list(state_dir.glob("*.new*"))


def test_a_full_disk_leaves_the_old_backup_whole(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk], check=True)
    try:
        with closing(Ledger(disk / "state", "boot")) as ledger:
            ours = backups(ledger, disk / "state")
            plug(ledger, 1)
            ours.make(1)
            plug(ledger, *range(2, 150))
            with (
                (disk / "ballast").open("wb", buffering=0) as ballast,
                pytest.raises(OSError, match="No space"),
            ):
                while True:
                    ballast.write(bytes(4096))
            with pytest.raises(DiskFull, match="no backup of the ledger was made, the one before is kept"):
                ours.make(1)
            (disk / "ballast").unlink()
            assert held(disk / "state/ledger.backup") == [1]
            assert not list((disk / "state").glob("*.new*"))
            assert ours.make(1).vifs == 149
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_damaged_ledger_is_no_backup(state_dir: Path) -> None:
    with closing(Ledger(state_dir, "boot")) as ledger:
        plug(ledger, *range(1, 60))
        ours = backups(ledger, state_dir)
        ours.make(1)
        before = (state_dir / "ledger.backup").read_bytes()
        plug(ledger, 60)
        ledger._database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = (state_dir / "ledger.db").stat().st_size
        with (state_dir / "ledger.db").open("r+b") as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(os.urandom(4096))
        with pytest.raises(LedgerCorrupt, match="vifplug recover --rebuild"):
            ours.make(1)
        assert (state_dir / "ledger.backup").read_bytes() == before


def test_a_row_that_cannot_be_read_is_no_backup_either(state_dir: Path) -> None:
    with closing(Ledger(state_dir, "boot")) as ledger:
        plug(ledger, 1)
        ledger._database._writer.execute("UPDATE vif SET request = '{'")
        with pytest.raises(LedgerCorrupt, match="1 of its rows cannot be read"):
            backups(ledger, state_dir).make(1)
        assert not (state_dir / "ledger.backup").exists()


def test_a_ledger_that_lost_its_last_commits_does_not_replace_the_backup(state_dir: Path) -> None:
    with closing(Ledger(state_dir, "boot")) as ledger:
        plug(ledger, 1)
    stale = (state_dir / "ledger.db").read_bytes()
    with closing(Ledger(state_dir, "boot")) as ledger:
        plug(ledger, 2)
        backups(ledger, state_dir).make(1)
    (state_dir / "ledger.db").write_bytes(stale)
    with (
        closing(Ledger(state_dir, "boot")) as ledger,
        pytest.raises(LedgerCorrupt, match="come to generation 1, and its own backup to 2"),
    ):
        backups(ledger, state_dir).make(1)
    assert held(state_dir / "ledger.backup") == [1, 2]
