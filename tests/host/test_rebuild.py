"""A damaged ledger is set aside and made anew: from its backup, what is left of it, the kernel and the scripts."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crashing import child, ends, nothing_runs, two_parts
from dying import every_moment
from vifplug.config import Trust
from vifplug.errors import (
    Busy,
    DiskFull,
    LedgerCorrupt,
    LedgerError,
    LedgerReplaced,
    NotPlugged,
    PartlyKnown,
    ScriptFailed,
)
from vifplug.host import Host, Rebuilt, Record, State
from vifplug.host.gate import Gate
from vifplug.host.netlink import Netlink
from vifplug.host.rebuild import damage as found_wrong
from vifplug.host.rebuild import rebuild
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

BOOT = "11111111-2222-3333-4444-555555555555"
PAGE, SECTOR = 4096, 512


@pytest.fixture
def checking(world: World) -> World:
    """A world whose script can be asked whether it knows a VIF."""
    world.info(verbs=["plug", "unplug", "update", "check"])
    return world


def ledger(world: World) -> Path:
    return Path(world.config.state_dir) / "ledger.db"


def settled(path: Path) -> None:
    """Bring what is in the write-ahead log to the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def garbage(path: Path) -> None:
    for part in path.parent.glob("ledger.db-*"):
        part.unlink()
    path.write_bytes(random.Random(1).randbytes(5 * PAGE))


def page_of(path: Path, name: str) -> int:
    """The root page of a table or index, counted from 0."""
    with closing(sqlite3.connect(path)) as connection:
        [page] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    return int(page) - 1


def overwrite(path: Path, *pages: int) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(b"\xa5" * PAGE)


def ports(world: World) -> set[str]:
    return {link.name for link in links().values() if link.alias}


def by_id(records: list[Record]) -> dict[str, Record]:
    return {record.id: record for record in records}


@contextmanager
def guest(tap: str) -> Iterator[int]:
    """Hold a tap open, as a guest does."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(file, 0x400454CA, struct.pack("16sH22x", tap.encode(), 0x5002))
        yield file
    finally:
        os.close(file)


def sources(rebuilt: Rebuilt) -> dict[str, str]:
    return {vif.id: vif.source for vif in rebuilt.vifs}


# --- from the kernel and the scripts ------------------------------------------------------------


def test_without_a_backup_live_taps_get_their_records_back_and_stay_as_they_are(checking: World) -> None:
    ids = [str(binding(number)["id"]) for number in (1, 2, 3)]
    with checking.host() as host:
        for number in (1, 2):
            host.plug(binding(number, mtu=1400))
        host.plug(binding(3, script=None, queues=2))
        before = by_id(host.list())
    mark = {(link.alias or "").split(":")[1] for link in links().values()}
    there = links()
    garbage(ledger(checking))
    with pytest.raises(LedgerCorrupt, match="vifplug recover --rebuild"):
        checking.host()
    with guest(before[ids[0]].vif.devname):
        rebuilt = rebuild(checking.config)
        assert {name: link.index for name, link in links().items()} == {n: x.index for n, x in there.items()}
    assert sources(rebuilt) == dict.fromkeys(ids, "kernel")
    assert {rebuilt.ledger} == mark
    with checking.host() as host:
        found = by_id(host.list())
        for vif_id in ids:
            old, new = before[vif_id], found[vif_id]
            assert (new.state, new.device, new.lost) == (State.PLUGGED, old.device, False)
            assert new.generation > max(record.generation for record in before.values())
            assert (new.script and new.script.name) == (old.script and old.script.name)
            assert new.vif.queues == old.vif.queues
            assert new.error is not None
            assert new.error["code"] == "partly_known"
        assert found[ids[0]].vif.mtu == 1400
        assert host.check(ids[0]).ok
        for vif_id in ids:
            host.unplug(vif_id)
        assert host.list() == []
    assert links() == {}
    assert checking.ports() == set()


def test_the_guests_address_is_what_the_bridge_has_heard(checking: World) -> None:
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "br0", "up"], check=True)
    checking.on("plug", do="ip link set $VIF_DEVNAME master br0")
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    header, everybody, guest_address = bytes(10), b"\xff" * 6, bytes.fromhex("fa163e000000")
    with guest(TAP) as tap, Netlink() as netlink:
        until = time.monotonic() + 5
        while (
            not netlink.learnt() and time.monotonic() < until
        ):  # a port forwards a moment after its carrier came
            os.write(tap, header + everybody + guest_address + bytes(48))
        rebuild(checking.config)
    with checking.host() as host:
        record = host.show(ID)
        assert record.vif.address == "fa:16:3e:00:00:00"
        assert record.vif.network.bridge == "br0"
        assert record.vif.details["bridge"] == "br0"
        assert host.check(ID).ok


def test_a_guest_never_heard_of_has_no_address_on_record(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    rebuild(checking.config)
    with checking.host() as host:
        assert host.show(ID).vif.address is None
        assert not [drift for drift in host.check(ID).drift if drift.what.startswith("device")]


def test_a_script_that_says_yes_to_everything_is_not_believed(checking: World) -> None:
    checking.script(
        "yes",
        '#!/bin/sh\n[ "$1" = info ] && echo \'{"name": "x", "verbs": ["plug", "unplug", "check"]}\'\nexit 0\n',
    )
    with checking.host() as host:
        host.plug(binding())
        host.plug(binding(2, script=None))
    garbage(ledger(checking))
    rebuilt = rebuild(checking.config)
    assert {vif.id: vif.script for vif in rebuilt.vifs} == {ID: "recorder", binding(2)["id"]: None}
    with checking.host() as host:
        error = host.show(str(binding(2)["id"])).error
        assert error is not None
        assert "no plug script says that it knows it" in error["message"]


def test_of_two_scripts_that_know_a_vif_none_is_taken_and_both_are_named(checking: World) -> None:
    checking.script("twin", (checking.scripts / "recorder").read_text())
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    [found] = rebuild(checking.config).vifs
    assert found.script is None
    assert found.note is not None
    assert "several plug scripts say that they plugged it (recorder, twin)" in found.note


def test_a_script_that_hangs_is_ended_and_does_not_know_it(checking: World) -> None:
    checking.script(
        "slow",
        '#!/bin/sh\n[ "$1" = info ] && echo \'{"name": "x", "verbs": ["plug", "unplug", "check"]}\' && exit\nsleep 60',
    )
    deadlines = msgspec.structs.replace(checking.config.deadlines, check=0.3)
    config = msgspec.structs.replace(checking.config, deadlines=deadlines)
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    assert [vif.script for vif in rebuild(config).vifs] == ["recorder"]
    nothing_runs()


@pytest.mark.slow
def test_of_the_shipped_scripts_the_bridges_own_knows_a_tap_in_a_bridge(world: World) -> None:
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "br0", "up"], check=True)
    trust = Trust(directories=[], allow=[], packaged=True)
    config = msgspec.structs.replace(world.config, trust=trust, script={})
    with Host(config) as host:
        host.plug(binding(script="linux-bridge", vif_details={"bridge": "br0"}))
    garbage(ledger(world))
    assert [vif.script for vif in rebuild(config).vifs] == ["linux-bridge"]
    with Host(config) as host:
        host.unplug(ID)
    assert set(links()) == {"br0"}


def test_devices_of_other_ledgers_and_of_nobody_stay_out_of_it(checking: World) -> None:
    config = msgspec.structs.replace(checking.config, state_dir=str(checking.folder / "other"))
    with Host(config) as other, checking.host() as host:
        other.plug(binding(7, script=None))
        host.plug(binding(1))
        host.backup()
    subprocess.run(["ip", "tuntap", "add", "mine", "mode", "tap"], check=True)
    garbage(ledger(checking))
    assert sources(rebuild(checking.config)) == {binding(1)["id"]: "backup"}
    with Host(config) as other:
        assert len(other.list()) == 1
    assert "mine" in links()


# --- after it -----------------------------------------------------------------------------------


def test_a_vif_known_by_its_device_is_plugged_again_under_its_guest(checking: World) -> None:
    """A platform that restarts plugs every live VIF again, each with its whole binding."""
    with checking.host() as host:
        host.plug(binding(vif_details={"tag": 7}), owner=1001)
    garbage(ledger(checking))
    rebuild(checking.config)
    there = links()[TAP].index
    with guest(TAP), checking.host() as host:
        plugged = host.plug(binding(vif_details={"tag": 7}), owner=1001)
        assert (plugged.changed, links()[TAP].index) == (True, there)
        assert not host.plug(binding(vif_details={"tag": 7})).changed
        record = host.show(ID)
        assert (record.error, record.vif.address) == (None, "fa:16:3e:00:00:00")
        assert record.request.details["tag"] == 7
    assert "unplug" not in checking.asked()


def test_also_when_no_script_knew_it_and_its_plug_fails_at_first(checking: World) -> None:
    checking.info(verbs=["plug", "unplug"])  # nobody can be asked
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    assert [vif.script for vif in rebuild(checking.config).vifs] == [None]
    there = links()[TAP].index
    with guest(TAP), checking.host() as host:
        checking.on("plug", status=1)
        with pytest.raises(ScriptFailed):
            host.plug(binding())
        checking.on("plug")
        host.plug(binding())
        assert links()[TAP].index == there
        assert host.show(ID).error is None
    with checking.host() as host:
        host.unplug(ID)
    assert checking.ports() == set()
    assert links() == {}


def test_a_crash_while_it_is_plugged_again_does_not_take_it_from_its_guest(checking: World) -> None:
    checking.info(verbs=["plug", "unplug"])
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    rebuild(checking.config)
    there = links()[TAP].index
    checking.on("plug", do="kill -9 $PPID")
    with guest(TAP):
        assert ends(lambda: checking.host().plug(binding())) == -9
        checking.on("plug")
        with checking.host() as host:
            assert [one.now for one in host.recover()] == ["plugged"]
            assert (host.show(ID).error, links()[TAP].index) == (None, there)


def test_a_vif_of_which_not_all_is_known_is_not_repaired_by_guesswork(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    rebuild(checking.config)
    asked = checking.asked()
    with checking.host() as host, pytest.raises(PartlyKnown, match="plug it again with its binding"):
        host.repair(ID)
    assert checking.asked() == asked


# --- from the backup and what can be read --------------------------------------------------------


def test_a_backup_older_than_two_plugs_and_an_unplug(checking: World) -> None:
    ids = [str(binding(number)["id"]) for number in range(1, 6)]
    with checking.host() as host:
        for number in (1, 2, 3):
            host.plug(binding(number, vif_details={"tag": number}), owner=1000 + number)
        host.backup()
        for number in (4, 5):
            host.plug(binding(number, vif_details={"tag": number}))
        host.unplug(ids[2])
        before = by_id(host.list())
        latest = max(record.generation for record in before.values())
    garbage(ledger(checking))
    rebuilt = rebuild(checking.config)
    assert sources(rebuilt) == dict(zip(ids, ["backup"] * 3 + ["kernel"] * 2, strict=True))
    assert (rebuilt.damage, rebuilt.backup) == (
        "file is not a database",
        str(ledger(checking).with_name("ledger.backup")),
    )
    assert "since the backup of" in " ".join(rebuilt.not_restored)
    with checking.host() as host:
        found = by_id(host.list())
        for vif_id in ids[:2]:
            assert found[vif_id] == before[vif_id]
            assert host.check(vif_id).ok
        gone = found[ids[2]]
        assert gone.error is not None
        assert "its device is gone: it may have been unplugged since" in gone.error["message"]
        assert [drift.what for drift in host.check(ids[2]).drift] == ["device", "port"]
        assert [found[vif_id].script for vif_id in ids[3:]] == [before[vif_id].script for vif_id in ids[3:]]
        assert host.plug(binding(6)).generation > latest + 1000
        host.unplug_all()
        host.gc()
        assert host.list() == []
    assert (links(), checking.ports()) == ({}, set())


def test_the_log_of_script_calls_says_what_was_unplugged_after_the_backup(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding(1))
        host.plug(binding(2))
        host.backup()
        host.unplug(str(binding(1)["id"]))
    path = ledger(checking)
    settled(path)
    overwrite(path, page_of(path, "vif"))
    rebuilt = rebuild(checking.config)
    assert sources(rebuilt) == {binding(2)["id"]: "backup"}
    assert [line for line in rebuilt.not_restored if "its unplug is in the log" in line]


def test_what_can_be_read_of_the_damaged_ledger_goes_before_the_backup(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding(1))
        host.plug(binding(2))
        host.backup()
        host.update(binding(1, mtu=1300))
        host.unplug(str(binding(2)["id"]))
        host.plug(binding(3))
        before = host.list()
        calls = host.calls(str(binding(1)["id"]))
    path = ledger(checking)
    settled(path)
    overwrite(path, page_of(path, "call_started"))  # an index: no record is on it
    with checking.host() as host, pytest.raises(LedgerCorrupt):
        host.plug(binding(4))
    assert set(links()) == {record.vif.devname for record in before}
    rebuilt = rebuild(checking.config)
    assert set(sources(rebuilt).values()) == {"ledger"}
    assert (rebuilt.not_restored, rebuilt.backup) == ([], None)
    with checking.host() as host:
        *found, interrupted = host.list()
        assert found == before
        assert (interrupted.id, interrupted.state) == (binding(4)["id"], State.PLUGGING)
        assert [one.now for one in host.recover()] == ["unplugged"]
        assert host.calls(str(binding(1)["id"])) == calls


def test_a_verb_in_the_middle_is_finished_after_the_rebuild_and_what_it_left_running_is_ended(
    world: World,
) -> None:
    two_parts(world)
    (world.backend / "plug.at.1").write_text("kill -9 $PPID; sleep 60\n")
    assert ends(lambda: world.host().plug(binding())) == -9
    path = ledger(world)
    settled(path)
    overwrite(path, page_of(path, "call_vif"))
    rebuilt = rebuild(world.config)
    assert rebuilt.ended >= 1
    nothing_runs()
    assert [(vif.source, vif.state) for vif in rebuilt.vifs] == [("ledger", State.PLUGGING)]
    with world.host() as host:
        assert [one.now for one in host.recover()] == ["unplugged"]
    assert links() == {}
    assert not list(world.backend.glob("wire-*"))


def test_a_vif_in_the_middle_when_the_backup_was_made_is_not_taken_from_its_guest_later(
    checking: World,
) -> None:
    def backs_up() -> None:
        checking.on("plug", do="kill -9 $PPID")
        assert ends(lambda: checking.host().plug(binding())) == -9
        checking.on("plug")
        with checking.host() as host:
            host.backup()

    backs_up()
    with checking.host() as host:
        host.recover()
        host.plug(binding())
    there = links()[TAP].index
    garbage(ledger(checking))
    [found] = rebuild(checking.config).vifs
    assert (found.source, found.state) == ("backup", State.PLUGGED)
    with guest(TAP), checking.host() as host:
        assert host.recover() == []
        host.plug(binding())
        assert links()[TAP].index == there


def test_a_device_name_that_has_passed_to_another_vif_is_that_ones(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding(1, devname="tapshared"))
        host.backup()
        host.unplug(str(binding(1)["id"]))
        host.plug(binding(2, devname="tapshared"))
    garbage(ledger(checking))
    rebuilt = rebuild(checking.config)
    assert sources(rebuilt) == {binding(2)["id"]: "kernel"}
    assert "tapshared has become that of VIF" in rebuilt.not_restored[0]


def test_after_a_reboot_vifs_of_the_backup_are_lost_as_ever(checking: World) -> None:
    with checking.host(boot_id="before") as host:
        host.plug(binding())
        host.backup()
    subprocess.run(["ip", "link", "delete", TAP], check=True)
    garbage(ledger(checking))
    rebuild(checking.config, boot_id="after")
    with checking.host(boot_id="after") as host:
        assert (host.show(ID).lost, host.show(ID).error) == (True, None)
        assert host.gc().forgotten == [ID]
    assert checking.ports() == set()


# --- every kind of damage -------------------------------------------------------------------------


def zero_length(path: Path) -> None:
    garbage(path)
    path.write_bytes(b"")


def missing(path: Path) -> None:
    for part in path.parent.glob("ledger.db*"):
        part.unlink()


def truncated(path: Path) -> None:
    settled(path)
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE + 100)


def first_page(path: Path) -> None:
    settled(path)
    overwrite(path, 0)


def text_that_is_none(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE vif SET vif = CAST(x'7bff' AS TEXT), state = 'plugged'")


def generation_lost(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta")


@pytest.mark.parametrize("backed_up", [True, False], ids=["with a backup", "without"])
@pytest.mark.parametrize(
    "damage",
    [garbage, zero_length, missing, truncated, first_page, text_that_is_none, generation_lost],
    ids=lambda damage: damage.__name__.replace("_", " "),
)
def test_whatever_happened_to_it_what_is_plugged_is_on_record_again(
    checking: World, damage: Callable[[Path], None], backed_up: bool
) -> None:
    with checking.host() as host:
        for number in (1, 2):
            host.plug(binding(number))
        if backed_up:
            host.backup()
        before = by_id(host.list())
    there = {name: link.index for name, link in links().items()}
    path = ledger(checking)
    damage(path)
    left = path.read_bytes() if path.exists() else None
    with pytest.raises(LedgerError), checking.host() as host:
        host.list()
        host.plug(binding(3))
    wrong = found_wrong(checking.config)
    assert (path.read_bytes() if path.exists() else None) == left, "looked at, and left as it is"
    rebuilt = rebuild(checking.config)
    assert wrong == rebuilt.damage
    assert found_wrong(checking.config) is None
    with checking.host() as host:
        found = by_id(host.list())
        assert found.keys() == before.keys()
        for vif_id, record in found.items():
            assert (record.script, record.device) == (before[vif_id].script, before[vif_id].device)
            if backed_up:
                assert record == before[vif_id]
            assert host.check(vif_id).ok
        assert host.plug(binding(3)).generation > 2
        assert {name: link.index for name, link in links().items()}.items() >= there.items()
        host.unplug_all()
        assert not host.gc().devices
    assert (links(), checking.ports()) == ({}, set())
    assert rebuilt.set_aside is not None
    if left is not None:
        assert (Path(rebuilt.set_aside) / "ledger.db").read_bytes() == left, "set aside as it was"


def test_a_lost_write_ahead_log_is_noticed_by_the_backup(checking: World) -> None:
    path = ledger(checking)
    with checking.host() as host:
        host.plug(binding(1))
    settled(path)
    stale = path.read_bytes()
    with checking.host() as host:
        host.plug(binding(2))
        host.backup()
        host.plug(binding(3))
    for part in path.parent.glob("ledger.db*"):
        part.unlink()
    path.write_bytes(stale)
    with checking.host() as host, pytest.raises(LedgerCorrupt, match="its own backup"):
        host.backup()
    rebuilt = rebuild(checking.config)
    assert rebuilt.damage is not None
    assert "it lost what was recorded last" in rebuilt.damage
    with checking.host() as host:
        assert len(host.list()) == 3
        assert not host.gc().devices


def test_without_a_backup_a_ledger_that_lost_its_log_gets_its_devices_back(checking: World) -> None:
    path = ledger(checking)
    with checking.host() as host:
        host.plug(binding(1))
    settled(path)
    stale = path.read_bytes()
    with checking.host() as host:
        host.plug(binding(2))
    path.write_bytes(stale)
    rebuilt = rebuild(checking.config)
    assert (rebuilt.damage, rebuilt.set_aside) == (None, None)
    assert sources(rebuilt) == {binding(2)["id"]: "kernel"}
    with checking.host() as host:
        assert len(host.list()) == 2


class Sample:
    """A ledger with forty VIFs, of which two have their taps here, to be damaged again and again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.path = ledger(world)
        with world.host() as host:
            for number in (1, 2):
                host.plug(binding(number, script=None))
            self.boot = host.boot_id
            made = host._ledger
            with made.one_commit() as together:
                for number in range(3, 41):
                    vif = host.list()[0].vif
                    vif_id = str(binding(number)["id"])
                    vif = msgspec.structs.replace(
                        vif, id=vif_id, devname=f"tap{number}", details={"x": "y" * 900}
                    )
                    together.begin_plug(vif, None, "")
            for row in made.all(State.PLUGGING):
                made.plugged(row, row.record.vif, {}, None, [])
            host.backup()
            with made.one_commit() as together:
                for row in made.all()[2:12]:
                    together.unplugged(row, [])
            self.id = made.id
            self.records = by_id(host.list())
            self.generation = made.generation()
        settled(self.path)
        self.content = self.path.read_bytes()
        self.backup = (self.path.parent / "ledger.backup").read_bytes()
        self.there = {name: link.index for name, link in links().items()}

    def damaged(self, content: bytes, backup: bytes | None) -> None:
        shutil.rmtree(self.path.parent)
        self.path.parent.mkdir(mode=0o700)
        (self.path.parent / "locks").touch()
        self.path.write_bytes(content)
        if backup is not None:
            (self.path.parent / "ledger.backup").write_bytes(backup)

    def agrees(self, rebuilt: Rebuilt) -> None:
        """Whatever was lost, nothing wrong is on record, and what has a device is."""
        with self.world.host() as host:
            found = by_id(host.list())
            assert rebuilt.ledger == self.id
            assert host._ledger.generation() >= self.generation
            assert {name: link.index for name, link in links().items()} == self.there
            assert {record.device for record in found.values()} >= set(self.there)
            for vif in rebuilt.vifs:
                if vif.source == "ledger":
                    assert found[vif.id] == self.records[vif.id]
            for vif_id, record in self.records.items():
                if vif_id in found and found[vif_id].error is None:
                    assert found[vif_id] == record
            assert not host.gc().devices


@pytest.fixture
def sample(world: World) -> Sample:
    return Sample(world)


_settings = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(
    sectors=st.lists(st.integers(0, 1 << 16), min_size=1, max_size=12),
    chance=st.randoms(use_true_random=False),
    kept=st.booleans(),
)
@_settings
@pytest.mark.slow
def test_whatever_sectors_of_the_disk_were_overwritten(
    sample: Sample, sectors: list[int], chance: random.Random, kept: bool
) -> None:
    content = bytearray(sample.content)
    for number in sectors:
        start = number * SECTOR % len(content)
        content[start : start + SECTOR] = chance.randbytes(SECTOR)
    sample.damaged(bytes(content), sample.backup if kept else None)
    rebuilt = rebuild(sample.world.config)
    sample.agrees(rebuilt)
    if kept:
        with sample.world.host() as host:
            assert {record.id for record in host.list()} >= sample.records.keys()


@given(length=st.integers(0, 1 << 20), kept=st.booleans())
@_settings
@pytest.mark.slow
def test_wherever_it_was_cut_off(sample: Sample, length: int, kept: bool) -> None:
    sample.damaged(sample.content[: length % len(sample.content)], sample.backup if kept else None)
    sample.agrees(rebuild(sample.world.config))


@given(start=st.integers(0, 1 << 20), junk=st.binary(min_size=1, max_size=300))
@_settings
@pytest.mark.slow
def test_a_damaged_backup_does_no_harm_either(sample: Sample, start: int, junk: bytes) -> None:
    backup = bytearray(sample.backup)
    start %= len(backup)
    backup[start : start + len(junk)] = junk
    sample.damaged(b"no ledger at all" * 1000, bytes(backup))
    sample.agrees(rebuild(sample.world.config))


# --- killed, side by side, out of room --------------------------------------------------------------


@pytest.mark.parametrize("step", [101, pytest.param(7, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_next_rebuild_comes_to_the_same(checking: World, step: int) -> None:
    with checking.host() as host:
        for number in (1, 2, 3):
            host.plug(binding(number))
        host.backup()
        host.plug(binding(4))
        host.unplug(str(binding(3)["id"]))
    path = ledger(checking)
    settled(path)
    overwrite(path, page_of(path, "vif"))
    kept = checking.folder / "kept"
    shutil.copytree(path.parent, kept)
    expected = {str(binding(number)["id"]) for number in (1, 2, 4)}
    there = links()

    def before() -> None:
        shutil.rmtree(path.parent)
        shutil.copytree(kept, path.parent)

    moments = 0
    for moment in every_moment(lambda: rebuild(checking.config), before, step):
        moments = moment
        rebuild(checking.config)
        with checking.host() as host:
            assert {record.id for record in host.list()} == expected, moment
            assert {record.script and record.script.name for record in host.list()} == {"recorder"}
            assert not host.gc().devices
        [aside] = path.parent.glob("ledger.damaged-*")
        assert {part.name for part in aside.iterdir()} >= {"ledger.db", "rebuilt.json"}, moment
        assert (aside / "ledger.db").read_bytes() == (kept / "ledger.db").read_bytes()
        assert not (path.parent / "ledger.rebuilding").exists()
    assert moments > 100
    assert links() == there


def test_one_rebuilds_and_whoever_comes_meanwhile_finds_it_done(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    start = threading.Barrier(4)
    found: list[Rebuilt] = []

    def one() -> None:
        start.wait()
        found.append(rebuild(checking.config))

    namespaced = [threading.Thread(target=one) for _ in range(4)]
    for thread in namespaced:
        thread.start()
    for thread in namespaced:
        thread.join()
    assert sorted(bool(rebuilt.damage) for rebuilt in found) == [False, False, False, True]
    assert len(list(ledger(checking).parent.glob("ledger.damaged-*"))) == 1


def test_while_another_process_rebuilds_one_is_told_so(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    config = msgspec.structs.replace(checking.config, lock_wait=0.05)
    with (
        Gate(Path(config.state_dir)).alone(1),
        pytest.raises(Busy, match="is being rebuilt by another process"),
    ):
        rebuild(config)


def test_a_host_that_was_open_meanwhile_writes_nowhere_and_spoils_nothing(checking: World) -> None:
    with checking.host() as open_one:
        open_one.plug(binding())
        path = ledger(checking)
        settled(path)
        overwrite(path, page_of(path, "call_vif"))
        with pytest.raises(LedgerCorrupt):
            open_one.calls(ID)
        rebuild(checking.config)
        with checking.host() as after:
            after.plug(binding(2))
            with pytest.raises(LedgerReplaced, match="nothing was recorded; open it anew"):
                open_one.plug(binding(3))
            with pytest.raises(LedgerReplaced):
                open_one.list()
            open_one.close()
            after.plug(binding(4))
            ids = {str(binding(number)["id"]) for number in (2, 4)} | {ID}
            assert {record.id for record in after.list()} == ids
        with checking.host() as later:
            assert {record.id for record in later.list()} == ids
    assert len(ports(checking)) == 3


def test_a_verb_under_way_while_it_is_rebuilt_ends_undone_or_on_record(checking: World) -> None:
    """The process that plugs has its intent in a ledger that is not the ledger any more when it is done."""
    gate = checking.folder / "gate"
    checking.on("plug", do=f"touch {gate}; while [ -e {gate} ]; do sleep 0.01; done")

    def plugs() -> None:
        with checking.host() as host, pytest.raises(LedgerReplaced):
            host.plug(binding())

    with child(plugs) as pid:
        until = time.monotonic() + 10
        while not gate.exists():
            assert time.monotonic() < until
        path = ledger(checking)
        garbage(path)
        rebuilt = rebuild(checking.config)
        assert rebuilt.vifs == [], "what is at work elsewhere is left to it"
        gate.unlink()
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert ended.si_status == 0
    assert links() == {}
    assert checking.asked()[-2:] == ["plug", "unplug"]
    with checking.host() as host, pytest.raises(NotPlugged):
        host.show(ID)


def test_a_full_disk_is_said_and_nothing_is_lost(checking: World) -> None:
    disk = checking.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk], check=True)
    try:
        config = msgspec.structs.replace(checking.config, state_dir=str(disk / "state"))
        with Host(config) as host:
            host.plug(binding())
            host.backup()
        garbage(disk / "state/ledger.db")
        with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
            while True:
                ballast.write(bytes(4096))
        with pytest.raises(DiskFull):
            rebuild(config)
        (disk / "ballast").unlink()
        assert sources(rebuild(config)) == {ID: "backup"}
        with Host(config) as host:
            host.unplug(ID)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_however_little_room_there_is_it_is_rebuilt_or_said_and_then_rebuilt_when_there_is(
    checking: World,
) -> None:
    """A disk with a little more room each time: it runs full at every stage of a rebuild."""
    disk = checking.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk], check=True)
    try:
        config = msgspec.structs.replace(checking.config, state_dir=str(disk / "state"))
        with Host(config) as host:
            host.plug(binding())
            host.backup()
            host.plug(binding(2))
        garbage(disk / "state/ledger.db")
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        refused = 0
        while True:
            try:
                rebuilt = rebuild(config)
                break
            except DiskFull:
                refused += 1
                os.truncate(ballast, ballast.stat().st_size - 4096)
        assert refused > 10
        assert sources(rebuilt) == {ID: "backup", binding(2)["id"]: "kernel"}
        assert len(list((disk / "state").glob("ledger.damaged-*/ledger.db"))) == 1
        with Host(config) as host:
            host.unplug_all()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_cannot_be_read_any_more_is_damage_too(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
        host.backup()
    path = ledger(checking)
    path.unlink()
    path.symlink_to("/proc/self/mem")  # whose first page gives EIO, as a bad sector does
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()
    assert found_wrong(checking.config) is not None
    assert sources(rebuild(checking.config)) == {ID: "backup"}
    with checking.host() as host:
        host.unplug(ID)


# --- left alone ------------------------------------------------------------------------------------


def test_a_whole_ledger_is_left_in_place(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
        record = host.show(ID)
        status = ledger(checking).stat()
        assert found_wrong(checking.config) is None
        rebuilt = rebuild(checking.config)
        assert (rebuilt.damage, rebuilt.set_aside, rebuilt.vifs) == (None, None, [])
        assert ledger(checking).stat().st_ino == status.st_ino
        assert host.show(ID) == record
        host.unplug(ID)


def test_a_ledger_of_a_newer_vifplug_is_left_in_place(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
    with closing(sqlite3.connect(ledger(checking))) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="newer vifplug"):
        rebuild(checking.config)
    path = ledger(checking)
    settled(path)
    overwrite(path, page_of(path, "call_vif"))
    with pytest.raises(LedgerError, match="is damaged, and a newer vifplug wrote it"):
        rebuild(checking.config)
    assert path.exists()


def test_where_there_was_no_ledger_there_is_a_new_one(world: World) -> None:
    assert found_wrong(world.config) is None
    assert not Path(world.config.state_dir).exists()
    rebuilt = rebuild(world.config)
    assert (rebuilt.damage, rebuilt.vifs) == (None, [])
    with world.host() as host:
        assert host.list() == []


def test_what_was_set_aside_is_not_used_for_a_later_rebuild(checking: World) -> None:
    """A VIF unplugged after the first rebuild stays unplugged after the second."""
    with checking.host() as host:
        host.plug(binding(1))
        host.plug(binding(2))
    path = ledger(checking)
    settled(path)
    overwrite(path, page_of(path, "call_vif"))
    assert len(rebuild(checking.config).vifs) == 2
    with checking.host() as host:
        host.unplug(str(binding(1)["id"]))
        host.backup()
    garbage(path)
    assert sources(rebuild(checking.config)) == {binding(2)["id"]: "backup"}
    assert len(list(path.parent.glob("ledger.damaged-*"))) == 2


def test_the_report_is_kept_with_what_was_set_aside(checking: World) -> None:
    with checking.host() as host:
        host.plug(binding())
    garbage(ledger(checking))
    rebuilt = rebuild(checking.config)
    assert rebuilt.set_aside is not None
    kept = msgspec.json.decode((Path(rebuilt.set_aside) / "rebuilt.json").read_bytes(), type=Rebuilt)
    assert msgspec.structs.replace(kept, seconds=0) == msgspec.structs.replace(rebuilt, seconds=0)
