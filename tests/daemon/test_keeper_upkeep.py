"""What the keeper does at its start and every so often: crashes, reboots, debts, orphans; and that nothing ends it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crashing import agree, at, ends, marked_processes, nothing_runs, two_parts
from keeping import PATIENCE, ip, kept
from vifplug.config import Daemon
from vifplug.daemon import keeper as keeper_module
from vifplug.daemon.events import Events
from vifplug.daemon.keeper import Keeper
from vifplug.errors import DiskFull, ScriptFailed
from vifplug.host import Host, Record, State, Step
from vifplug.host.watch import LinkWatch
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

OLD_BOOT = "00000000-0000-4000-8000-000000000001"
KEEP = Daemon(interval=86400, after_reboot="keep")


def nth(number: int) -> str:
    return str(binding(number)["id"])


@pytest.fixture
def two(world: World) -> Iterator[World]:
    yield two_parts(world)
    nothing_runs()


class Clock:
    """A wall clock that goes forward when told."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["device", "script plug", "reply", "outcome"])
def test_what_a_killed_process_left_is_recovered_at_the_start(two: World, step: str) -> None:
    def work() -> None:
        def on_step(told: Step) -> None:
            if (told.name, told.phase) == (step, "begin"):
                os.kill(os.getpid(), signal.SIGKILL)

        with two.host(on_step=on_step) as host:
            host.plug(binding())

    assert ends(work) == -signal.SIGKILL
    with kept(two) as together:
        recovered = together.hear("recovered")
        assert (recovered.vif_id, recovered.data["was"], recovered.data["now"]) == (
            ID,
            "plugging",
            "unplugged",
        )
        assert agree(two, together.host) == {}


def test_scripts_that_run_on_are_ended_and_their_vifs_recovered_side_by_side(two: World) -> None:
    """Ten plugs hang when their host is killed; the keeper that comes after it ends them all."""
    hang = two.folder / "hang"
    os.mkfifo(hang)
    at(two, "plug", 1, f"read x < {hang}")

    def work() -> None:
        with two.host() as host:
            threads = [threading.Thread(target=host.plug, args=(binding(number),)) for number in range(1, 11)]
            for thread in threads:
                thread.start()
            until = time.monotonic() + PATIENCE
            while len(list(two.backend.glob("wire-*"))) < 10:
                assert time.monotonic() < until
            os.kill(os.getpid(), signal.SIGKILL)

    assert ends(work) == -signal.SIGKILL
    at(two, "plug", 1, None)
    with kept(two) as together:
        assert {together.hear("recovered").vif_id for _ in range(10)} == {nth(n) for n in range(1, 11)}
        assert marked_processes() == {}
        assert agree(two, together.host) == {}


def test_a_vif_at_work_elsewhere_is_left_to_it(two: World) -> None:
    begun, go_on = two.folder / "begun", two.folder / "go-on"
    for fifo in (begun, go_on):
        os.mkfifo(fifo)
    at(two, "plug", 1, f"echo > {begun}; read x < {go_on}")
    with kept(two) as together, two.host() as other:
        plugging = threading.Thread(target=other.plug, args=(binding(),))
        plugging.start()
        begun.read_text()
        together.round()
        go_on.write_text("\n")
        plugging.join(PATIENCE)
        assert agree(two, other) == {ID: State.PLUGGED}
        assert together.kinds() == []


# --- reboots: simulated by another boot id, and by devices that are gone ---------------------------


def rebooted(world: World, *numbers: int) -> None:
    with world.host(boot_id=OLD_BOOT) as host:
        host.plug_all([binding(number) for number in numbers])
    for name in links():
        ip("link", "delete", name)


def test_after_a_simulated_reboot_backends_are_told_by_policy(two: World) -> None:
    rebooted(two, 1, 2, 3)
    with kept(two) as together:
        said = together.hear("reboot").data
        assert (said["vifs"], said["policy"]) == (3, "unplug")
        assert {together.hear("forgotten").vif_id for _ in range(3)} == {nth(1), nth(2), nth(3)}
        assert agree(two, together.host) == {}


def test_after_a_simulated_reboot_vifs_are_kept_by_policy(two: World) -> None:
    rebooted(two, 1, 2)
    with kept(two, KEEP) as together:
        assert together.hear("reboot").data["policy"] == "keep"
        together.host.plug(binding(9, script=None, mtu=1400))
        ip("link", "set", "tap00000009-7d", "mtu", "1300")
        together.keeper.poke()
        together.hear("repaired")
        assert {event.vif_id for event in together.said} == {None, nth(9)}
        assert [(record.state, record.lost) for record in together.host.list()][:2] == [
            (State.PLUGGED, True),
        ] * 2  # fmt: skip
        together.host.plug(binding(1))
        assert together.host.check(nth(1)).ok


def test_after_a_simulated_reboot_a_backend_that_is_not_up_yet_is_told_later(two: World) -> None:
    rebooted(two, 1)
    at(two, "unplug", 0, "echo still starting >&2; exit 69")
    clock = Clock()
    with kept(two, clock=clock) as together:
        owing = together.hear("debt-owing")
        assert "still starting" in owing.data["message"]
        assert owing.data["again_in"] == 10
        at(two, "unplug", 0, None)
        clock.ahead = 11
        together.keeper.poke()
        assert together.hear("debt-paid", "debt-owing").kind == "debt-paid"
        assert agree(two, together.host) == {}


# --- debts ---------------------------------------------------------------------------------------


def owe(host: Host, *numbers: int) -> None:
    host.plug_all([binding(number) for number in numbers])
    for answer in host.unplug_all([nth(number) for number in numbers]):
        assert isinstance(answer, ScriptFailed)


def test_a_debt_is_tried_again_with_longer_and_longer_waits(two: World) -> None:
    at(two, "unplug", 0, f"echo try >> {two.backend}/tries; exit 1")
    tries = two.backend / "tries"
    clock = Clock()
    with kept(two, clock=clock) as together:
        owe(together.host, 1)
        waits = []
        for _ in range(4):
            [debt] = together.host.list(State.DEBT)
            before = len(tries.read_text().splitlines())
            clock.ahead = debt.changed + 10 * 2 ** (debt.attempts - 1) - time.time() - 2
            together.round()  # two seconds early: nothing is asked
            assert len(tries.read_text().splitlines()) == before
            clock.ahead += 2
            together.keeper.poke()
            waits.append(together.hear("debt-owing").data["again_in"])
            assert len(tries.read_text().splitlines()) == before + 1
        assert waits == [20, 40, 80, 160]
        at(two, "unplug", 0, None)
        clock.ahead += 161
        together.keeper.poke()
        paid = together.hear("debt-paid")
        assert paid.vif_id == nth(1)
        assert agree(two, together.host) == {}


def test_a_debt_whose_backend_hangs_delays_neither_other_debts_nor_repairs(two: World) -> None:
    """More of them hang than may be at work at once for one script."""
    hang = two.folder / "hang"
    os.mkfifo(hang)
    (two.folder / "well").mkdir()
    recorder = (two.scripts / "recorder").read_text()
    two.script("well", recorder.replace(str(two.backend), str(two.folder / "well")))
    (two.folder / "well" / "unplug.at.0").write_text("exit 1\n")
    at(two, "unplug", 0, "exit 1")
    clock = Clock()
    with kept(two, clock=clock) as together:
        owe(together.host, *range(1, 21))
        together.host.plug_all([binding(30, script="well"), binding(31, mtu=1400)])
        with pytest.raises(ScriptFailed):
            together.host.unplug(nth(30))
        at(two, "unplug", 0, f"echo x >> {two.backend}/hung; read x < {hang}")
        (two.folder / "well" / "unplug.at.0").unlink()
        clock.ahead = 11
        together.keeper.poke()
        assert together.hear("debt-paid", "debt-owing").vif_id == nth(30)
        ip("link", "set", "tap0000001f-7d", "mtu", "1300")
        assert together.hear("repaired").vif_id == nth(31)
        assert together.keeper.alive
        assert len((two.backend / "hung").read_text().splitlines()) <= 8
        at(two, "unplug", 0, None)
        release = os.open(hang, os.O_RDWR)
        os.write(release, b"\n" * 20)  # a line for each that hangs
        for _ in range(20):
            assert together.hear("debt-paid", "debt-owing").kind == "debt-paid"
        os.close(release)
        assert agree(two, together.host) == {nth(31): State.PLUGGED}


def test_each_debt_of_a_vif_waits_for_itself(two: World) -> None:
    clock = Clock()
    with kept(two, clock=clock) as together:
        at(two, "unplug", 0, "exit 1")
        owe(together.host, 1)
        together.host.plug(binding(1, vif_details={"tag": 2}))
        with pytest.raises(ScriptFailed):
            together.host.unplug(nth(1))  # and the older one is tried with it
        assert sorted(record.attempts for record in together.host.list(State.DEBT)) == [1, 2]
        at(two, "unplug", 0, f'echo "$request" >> {two.backend}/unplugged')
        clock.ahead = 11
        together.keeper.poke()
        newer = together.hear("debt-paid").data["generation"]
        together.round()
        assert [record.generation < newer for record in together.host.list()] == [True]
        assert '"tag":2' in (two.backend / "unplugged").read_text()
        clock.ahead = 21
        together.keeper.poke()
        together.hear("debt-paid")
        assert agree(two, together.host) == {}


def test_a_debt_that_the_next_unplug_will_pay_is_left_to_it(two: World) -> None:
    clock = Clock()
    with kept(two, clock=clock) as together:
        at(two, "unplug", 0, "exit 1")
        owe(together.host, 1)
        at(two, "unplug", 0, f"echo try >> {two.backend}/tries")
        together.host.plug(binding(1, vif_details={"tag": 2}))
        clock.ahead = 11
        together.round()
        assert not (two.backend / "tries").exists()
        assert together.kinds() == []


# --- what nobody owns ------------------------------------------------------------------------------


def test_devices_that_no_vif_owns_are_removed_and_no_others(two: World) -> None:
    with two.host() as host:
        host.plug(binding(1))
        for name, alias in (("orphan0", f"vifplug:{host._ledger.id}:{ID}"), ("plain0", "somebody")):
            ip("tuntap", "add", name, "mode", "tap")
            ip("link", "set", name, "alias", alias)
    with kept(two) as together:
        assert together.hear("orphan-removed").data["device"] == "orphan0"
        assert set(links()) == {"plain0", "tap00000001-7d"}


def test_the_log_is_trimmed(two: World) -> None:
    two.config = msgspec.structs.replace(
        two.config, log=msgspec.structs.replace(two.config.log, keep_calls=1)
    )
    with kept(two) as together:
        for _ in range(3):
            together.host.plug(binding(), refresh=True)
        assert len(together.host.calls(ID)) > 1
        together.keeper.poke()
        until = time.monotonic() + PATIENCE
        while len(together.host.calls(ID)) > 1:
            assert time.monotonic() < until


# --- nothing ends it ---------------------------------------------------------------------------------


def test_a_damaged_record_is_said_and_the_keeper_goes_on(two: World) -> None:
    with kept(two) as together:
        together.host.plug_all([binding(1, mtu=1400), binding(2, mtu=1400)])
        ledger = sqlite3.connect(Path(two.config.state_dir) / "ledger.db", isolation_level=None)
        [(request,)] = ledger.execute("SELECT request FROM vif WHERE id = ?", (nth(1),)).fetchall()
        ledger.execute("UPDATE vif SET request = 'nonsense' WHERE id = ?", (nth(1),))
        ip("link", "set", "tap00000001-7d", "mtu", "1300")
        failed = together.hear("keeper-failed")
        assert failed.data["error"]["code"] == "ledger_corrupt"
        ip("link", "set", "tap00000002-7d", "mtu", "1300")
        assert together.hear("repaired").vif_id == nth(2)
        together.keeper.poke()
        ledger.execute("UPDATE vif SET request = ? WHERE id = ?", (request, nth(1)))
        ledger.close()
        together.keeper.poke()
        assert together.hear("repaired").vif_id == nth(1)
        assert together.keeper.alive


def test_a_vif_that_a_rebuilt_ledger_does_not_know_whole_is_told_and_left_alone(two: World) -> None:
    with two.host() as host:
        host.plug_all([binding(1), binding(2, mtu=1400)])
    ledger = sqlite3.connect(Path(two.config.state_dir) / "ledger.db", isolation_level=None)
    ledger.execute(
        "UPDATE vif SET error = ? WHERE id = ?",
        ('{"code": "partly_known", "message": "the ledger was rebuilt", "known_from": "kernel"}', nth(1)),
    )
    ledger.close()
    with kept(two) as together:
        assert [drift["what"] for drift in together.hear("drift").data["drift"]] == ["record"]
        ip("link", "set", "tap00000001-7d", "down")
        assert len(together.hear("drift", vif_id=nth(1)).data["drift"]) == 2
        ip("link", "set", "tap00000002-7d", "mtu", "1300")
        assert together.hear("repaired", "repair-failed").vif_id == nth(2)


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """The state directory on a real file system of 512 KiB."""
    disk = world.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", disk], check=True)
    world.config = msgspec.structs.replace(world.config, state_dir=str(disk / "state"))
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_said_and_the_keeper_goes_on_once_there_is_room(
    world: World, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vifplug.daemon.patience.FIRST", 0.2)
    monkeypatch.setattr("vifplug.daemon.patience._REPAIRS", 1000)
    with kept(world) as together:
        together.host.plug(binding(mtu=1400))
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        for mtu in range(1300, 1400):  # what is in the log already takes the first of them
            ip("link", "set", TAP, "mtu", str(mtu))
            if together.hear("repaired", "repair-failed").kind == "repair-failed":
                break
        assert together.said[-1].data["error"]["code"] == "disk_full"
        ballast.unlink()
        together.hear("repaired", "recovered")  # by when the disk was full: before the intent, or the outcome
        assert together.host.check(ID).drift == []
        assert together.keeper.alive


def test_a_repair_that_was_left_in_the_middle_is_finished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, simulated by a ledger that takes the intent and no outcome."""
    monkeypatch.setattr("vifplug.daemon.patience.FIRST", 0.5)
    with kept(world) as together:
        together.host.plug(binding(mtu=1400))

        def full(*_: object) -> None:
            raise DiskFull("no room for the outcome")

        with monkeypatch.context() as patched:
            patched.setattr(together.host._ledger, "plugged", full)
            patched.setattr(together.host._ledger, "update_failed", full)
            ip("link", "set", TAP, "mtu", "1300")
            together.hear("repair-failed")
        assert together.host.show(ID).state is State.UPDATING
        assert together.hear("recovered").data["now"] == "plugged"
        assert together.host.check(ID).drift == []


@pytest.mark.slow
def test_without_a_socket_to_watch_with_it_says_so_and_compares_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    refused.set()

    def watch() -> LinkWatch:
        if refused.is_set():
            raise OSError(24, "Too many open files")
        return LinkWatch()

    monkeypatch.setattr(keeper_module, "LinkWatch", watch)
    with world.host() as host:
        host.plug(binding(mtu=1400))
    ip("link", "set", TAP, "mtu", "1300")
    with kept(world) as together:
        assert "Too many open files" in together.hear("keeper-failed").data["error"]["message"]
        together.hear("repaired")
        until = time.monotonic() + PATIENCE
        while together.keeper._looks:
            assert time.monotonic() < until
        ip("link", "set", TAP, "mtu", "1300")
        refused.clear()
        together.hear("repaired")
        assert together.kinds().count("keeper-failed") == 1


def test_a_bug_in_one_look_is_said_with_its_traceback_and_it_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper_module, "FIRST", 0.2)
    with kept(world) as together:
        together.host.plug_all([binding(1, mtu=1400), binding(2, mtu=1400)])
        of = together.host.drifts.of

        def broken(vif_id: str) -> object:
            return 1 // 0 if vif_id == nth(1) else of(vif_id)

        monkeypatch.setattr(together.host.drifts, "of", broken)
        ip("link", "set", "tap00000001-7d", "mtu", "1300")
        assert together.hear("keeper-failed").data["error"]["code"] == "bug"
        ip("link", "set", "tap00000002-7d", "mtu", "1300")
        assert together.hear("repaired").vif_id == nth(2)
        assert "ZeroDivisionError" in caplog.text
        monkeypatch.setattr(together.host.drifts, "of", of)
        together.hear("repaired", vif_id=nth(1))  # it is looked at again by itself


def test_each_thing_is_done_as_often_as_it_is_to_be(world: World) -> None:
    with kept(world, Daemon(interval=1000, backup_every=5000)) as together:

        def waits() -> dict[str, float]:
            now = time.monotonic()
            due = dict(together.keeper._chore_due)
            return {name: when if when == math.inf else round(when - now, -3) for name, when in due.items()}

        expected = {
            "recover": 1000,
            "reboot": 1000,
            "debts": 0,
            "arrivals": 1000,
            "compare": 1000,
            "tidy": 1000,
            "backup": 5000,
        }
        until = time.monotonic() + PATIENCE
        while waits() != expected:
            assert time.monotonic() < until


def test_what_is_asked_for_while_it_is_being_done_is_done_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(world) as together:
        together.round()
        begun, go_on = threading.Event(), threading.Event()
        rounds: list[str] = []

        def unfinished() -> list[Record]:
            rounds.append("one")
            begun.set()
            go_on.wait(PATIENCE)
            return []

        monkeypatch.setattr(together.host.recovery, "unfinished", unfinished)
        together.keeper.poke()
        assert begun.wait(PATIENCE)
        together.keeper.poke()
        until = time.monotonic() + PATIENCE
        while together.keeper._chore_due["recover"] == 0:  # until that has been seen
            assert time.monotonic() < until
        go_on.set()
        while len(rounds) < 2:
            assert time.monotonic() < until


def test_with_nothing_to_do_it_waits(world: World) -> None:
    with kept(world) as together:
        until = time.monotonic() + PATIENCE
        while together.keeper._idle() < 1:
            assert time.monotonic() < until


def test_it_stops_at_once_and_is_not_alive_then(world: World) -> None:
    with world.host() as host:
        keeper = Keeper(host, Events(), Daemon())
        assert not keeper.alive
        assert keeper.stop()
    with world.host() as host:
        keeper = Keeper(host, Events(), Daemon())
        keeper.start()
        assert keeper.alive
        started = time.monotonic()
        assert keeper.stop(30)
        assert time.monotonic() - started < 15
        assert not keeper.alive


def test_it_stops_though_a_script_hangs_and_says_that_one_does(two: World) -> None:
    hang = two.folder / "hang"
    os.mkfifo(hang)
    events = Events()
    heard = events.subscribe()
    with two.host() as host:
        host.plug(binding(mtu=1400))
        at(two, "plug", 0, f"read x < {hang}")
        keeper = Keeper(host, events, Daemon())
        keeper.start()
        ip("link", "set", TAP, "mtu", "1300")
        told = heard.next(PATIENCE)
        assert told is not None
        until = time.monotonic() + PATIENCE
        while not marked_processes():
            assert time.monotonic() < until
        assert not keeper.stop(0.1)
        hang.write_text("\n")
        assert keeper.stop(PATIENCE)
        assert host.drifts.of(ID) == []


def test_a_keeper_that_is_stuck_is_not_alive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.host() as host:
        keeper = Keeper(host, Events(), Daemon())
        stuck, go_on = threading.Event(), threading.Event()

        def hang() -> tuple[str, ...]:
            stuck.set()
            go_on.wait()
            return ()

        monkeypatch.setattr(keeper, "_looks_due", hang)
        monkeypatch.setattr(keeper_module, "_STUCK", 0.05)
        keeper.start()
        assert stuck.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while keeper.alive:
            assert time.monotonic() < until
        go_on.set()
        assert keeper.stop(PATIENCE)


def test_a_ledger_that_changed_is_backed_up(world: World) -> None:
    with kept(world, Daemon(interval=86400, backup_every=0.05)) as one:
        one.host.plug(binding())
        until = time.monotonic() + PATIENCE
        while _backed_up(world) != [ID]:
            assert time.monotonic() < until


def _backed_up(world: World) -> list[str]:
    backup = Path(world.config.state_dir, "ledger.backup")
    if not backup.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{backup}?mode=ro", uri=True)) as ledger:
        return [vif_id for (vif_id,) in ledger.execute("SELECT id FROM vif")]


def test_a_backup_that_cannot_be_made_is_told(world: World) -> None:
    in_its_place = Path(world.config.state_dir, "ledger.backup")
    in_its_place.mkdir(mode=0o700, parents=True)
    in_its_place.parent.chmod(0o700)
    (in_its_place / "something").touch()
    with kept(world, Daemon(interval=86400, backup_every=0.05)) as one:
        one.host.plug(binding())
        told = one.hear("ledger-backup-failed")
        assert "ledger.backup" in told.data["error"]["message"]
        assert one.keeper.alive
