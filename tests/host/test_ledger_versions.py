"""A ledger that an older vifplug wrote is brought up, whole, whatever happens on the way; a newer one is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from crashing import ends
from dying import every_moment
from vifplug.errors import DiskFull, LedgerError, ScriptFailed
from vifplug.host import State
from vifplug.host.ledger import Ledger
from vifplug.host.migrations import MIGRATIONS
from vifplug.host.rebuild import rebuild
from world import ID, World, binding, links

#: written by vifplug 0.1 with version 1 of the schema: three VIFs plugged, three in the middle, one debt
VERSION_1 = Path(__file__).parent / "ledger_v1.sql"

BEFORE = {
    1: State.PLUGGED,
    2: State.PLUGGED,
    3: State.PLUGGING,
    4: State.UPDATING,
    5: State.UNPLUGGING,
    6: State.DEBT,
    7: State.PLUGGED,
}


def old_ledger(state_dir: Path, text: str | None = None) -> Path:
    """A state directory with a ledger of version 1."""
    state_dir.mkdir(mode=0o700, exist_ok=True)
    (state_dir / "locks").touch()
    path = state_dir / "ledger.db"
    for name in state_dir.glob("ledger.db*"):
        name.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(text or VERSION_1.read_text())
    return path


def as_version_1(path: Path) -> None:
    """Take a ledger of today back to version 1: what an older vifplug would have written."""
    with closing(sqlite3.connect(path)) as connection:
        columns = "id, generation, state, devname, request, vif, next_request, script, reply, master, boot_id, mark,"
        columns += "attempts, error, created, changed"
        rows = connection.execute(f"SELECT {columns} FROM vif").fetchall()  # noqa: S608
        others = {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
            for table in ("meta", "call", "info", "resident")
        }
    old_ledger(path.parent, f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(f"INSERT INTO vif VALUES ({','.join('?' * 16)})", rows)  # noqa: S608
        for table, values in others.items():
            if values:
                marks = ",".join("?" * len(values[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def contents(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_nothing_is_lost_on_the_way_to_version_2(state_dir: Path) -> None:
    old_ledger(state_dir)
    with closing(Ledger(state_dir, "another boot")) as ledger:
        rows = ledger.all()
        assert {row.record.generation: row.record.state for row in rows} == BEFORE
        assert ledger.id == "0a888095"
        first, *_ = rows
        assert (first.record.vif.mtu, first.record.request.mtu, first.master) == (1400, None, "br-data")
        assert first.reply == {"mtu": 1400}
        assert first.record.script is not None
        assert all(row.record.owner is None for row in rows)
        changed = rows[3].record.next_request
        assert changed is not None
        assert changed.mtu == 1300
        assert [row.record.id[:8] for row in rows if row.mark] == [
            "00000003",
            "00000004",
            "00000005",
        ]
        assert [call.stderr for call in ledger.calls(first.record.id)] == ["made br-data\n"]
        assert ledger.info(first.record.script.digest) is not None
        assert len(ledger.residents()) == 1
        assert {(count.state, count.type): count.vifs for count in ledger.counts()} == {
            (State.PLUGGED, "ethernet"): 2,
            (State.PLUGGED, "vhostuser"): 1,
            (State.PLUGGING, "ethernet"): 1,
            (State.UPDATING, "ethernet"): 1,
            (State.UNPLUGGING, "ethernet"): 1,
            (State.DEBT, "ethernet"): 1,
        }
        assert ledger.begin_plug(rows[0].record.vif, None, "", 4711).record.generation == 8


def test_a_ledger_brought_up_is_like_one_made_now(tmp_path: Path) -> None:
    old = old_ledger(tmp_path / "old")
    for state_dir in (tmp_path / "old", tmp_path / "new"):
        Ledger(state_dir, "boot").close()
    assert [name for name, _ in schema(old)] == [name for name, _ in schema(tmp_path / "new/ledger.db")]


def test_the_older_ledger_is_kept_so_that_one_can_go_back(state_dir: Path) -> None:
    path = old_ledger(state_dir)
    before = contents(path)
    Ledger(state_dir, "boot").close()
    kept = state_dir / "ledger.db.v1"
    assert contents(kept) == before
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not list(state_dir.glob("*.new*"))


def test_vifs_in_use_stay_plugged_while_their_ledger_is_brought_up(world: World) -> None:
    path = Path(world.config.state_dir) / "ledger.db"
    with world.host() as host:
        host.plug(binding())
        host.plug(binding(2))
        [untouched, _] = host.list()
    device = links()[untouched.vif.devname]
    as_version_1(path)
    asked = world.asked()
    with world.host() as host:
        assert not host.plug(binding()).changed
        assert host.check(ID).ok
        assert host.show(ID).owner is None
        host.unplug(binding(2)["id"])
        assert [record.id for record in host.list()] == [ID]
    assert links() == {device.name: device}
    assert world.asked() == [*asked, "unplug"]


def test_a_verb_that_was_interrupted_before_the_upgrade_is_finished_after_it(world: World) -> None:
    world.on("plug", do="kill -9 $PPID")
    assert ends(lambda: world.host().plug(binding())) == -9
    as_version_1(Path(world.config.state_dir) / "ledger.db")
    with world.host() as host:
        assert [(one.was, one.now) for one in host.recover()] == [(State.PLUGGING, "unplugged")]
    assert links() == {}
    assert world.asked() == ["plug", "unplug"]


def test_killed_at_any_moment_of_the_upgrade_the_next_start_finishes_it(state_dir: Path) -> None:
    """Each SQL statement, sync and rename of the upgrade, from the first to the last."""
    path = state_dir / "ledger.db"
    old_ledger(state_dir)
    before = contents(path)
    moments = []
    for moment in every_moment(lambda: Ledger(state_dir, "boot").close(), lambda: old_ledger(state_dir)):
        with closing(Ledger(state_dir, "boot")) as ledger:
            assert {row.record.generation: row.record.state for row in ledger.all()} == BEFORE
        assert contents(state_dir / "ledger.db.v1") == before
        moments.append(moment)
    assert len(moments) > 20


def test_of_several_that_come_at_once_one_brings_it_up(state_dir: Path) -> None:
    before = contents(old_ledger(state_dir))
    start = threading.Barrier(4)
    found: list[int] = []

    def opens() -> None:
        start.wait()
        with closing(Ledger(state_dir, "boot")) as ledger:
            found.append(len(ledger.all()))

    threads = [threading.Thread(target=opens) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [7, 7, 7, 7]
    kept = state_dir / "ledger.db.v1"
    assert list(state_dir.glob("ledger.db.v*")) == [kept]
    assert contents(kept) == before


def test_a_process_of_the_older_vifplug_goes_on_beside_the_newer(state_dir: Path) -> None:
    """An upgrade of the package does not wait for a plug that is under way."""
    path = old_ledger(state_dir)
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        assert older.execute("SELECT count(*) FROM vif").fetchone() == (7,)
        with closing(Ledger(state_dir, "boot")) as ledger:
            older.execute(
                "INSERT INTO vif (id, generation, state, devname, request, vif, next_request, script, reply, master,"
                " boot_id, mark, attempts, error, created, changed) SELECT '00000008-7d5e-4f0a-9c55-2f7a3c1d9e01', 8,"
                " state, 'tap8', request, vif, next_request, script, reply, master, boot_id, mark, attempts, error,"
                " created, changed FROM vif WHERE generation = 1"
            )
            newest = ledger.all()[-1].record
            assert (newest.generation, newest.owner) == (8, None)
            assert (State.PLUGGED, None, 1) in {(n.state, n.type, n.vifs) for n in ledger.counts()}


def test_a_full_disk_leaves_the_older_ledger_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", disk], check=True)
    try:
        path = old_ledger(disk / "state")
        before = contents(path)
        with (
            (disk / "ballast").open("wb", buffering=0) as ballast,
            pytest.raises(OSError, match="No space left"),
        ):
            while True:
                ballast.write(bytes(4096))
        with pytest.raises(DiskFull):
            Ledger(disk / "state", "boot")
        (disk / "ballast").unlink()
        assert contents(path) == before
        Ledger(disk / "state", "boot").close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_newer_ledger_is_refused_and_what_was_kept_of_it_is_named(state_dir: Path) -> None:
    path = state_dir / "ledger.db"
    Ledger(state_dir, "boot").close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = contents(path)
    with pytest.raises(
        LedgerError, match="newer vifplug .version 99, this one knows 2.: install that version again$"
    ):
        Ledger(state_dir, "boot")
    kept = state_dir / "ledger.db.v2"
    kept.touch()
    with pytest.raises(LedgerError, match=f"or go back to .* kept in {kept}"):
        Ledger(state_dir, "boot")
    assert contents(path) == before


def test_an_older_ledger_that_is_damaged_is_rebuilt_as_one_of_today(world: World) -> None:
    path = old_ledger(Path(world.config.state_dir))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'call_vif'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    rebuilt = rebuild(world.config)
    assert rebuilt.damage is not None
    assert {vif.generation: vif.state for vif in rebuilt.vifs} == BEFORE
    assert {vif.source for vif in rebuilt.vifs} == {"ledger"}
    with closing(Ledger(path.parent, "boot")) as ledger:
        assert {row.record.generation: row.record.state for row in ledger.all()} == BEFORE
        assert ledger.id == "0a888095"
        assert len(ledger.calls(ledger.all()[0].record.id)) == 1
        assert {count.type for count in ledger.counts()} == {"ethernet", "vhostuser"}


# --- who plugged it ---------------------------------------------------------------------------


def test_a_vif_belongs_to_who_bound_it_as_it_is(world: World) -> None:
    def owner() -> int | None:
        return host.show(ID).owner

    with world.host() as host:
        host.plug(binding(), owner=1001)
        assert owner() == 1001
        for refresh in (False, True):
            host.plug(binding(), owner=1002, refresh=refresh)
            assert owner() == 1001
        host.plug(binding(mtu=1400), owner=1002)
        assert owner() == 1002
        host.plug(binding(queues=2), owner=1003)
        assert owner() == 1003
        host.update(binding(queues=2, mtu=1300), owner=1004)
        assert owner() == 1004
        world.on("plug", status=1)
        with pytest.raises(ScriptFailed):
            host.plug(binding(queues=2, mtu=1300, vif_details={"secret": "of 1005"}), owner=1005)
        assert owner() == 1004
        world.on("plug")
        host.unplug(ID)
        host.plug(binding(), owner=1002)
        assert owner() == 1002


def test_a_reboot_does_not_change_the_owner_and_nor_does_a_debt(world: World) -> None:
    with world.host(boot_id="before") as host:
        host.plug(binding(), owner=1001)
    with world.host(boot_id="after") as host:
        host.plug(binding(), owner=1002)
        assert host.show(ID).owner == 1001
        world.on("unplug", status=1)
        with pytest.raises(Exception, match="on record"):
            host.unplug(ID)
        assert host.show(ID).owner == 1001
        world.on("unplug")


def test_without_an_owner_it_is_the_callers_own(world: World) -> None:
    with world.host() as host:
        host.plug(binding())
        assert host.show(ID).owner == 0
