"""After a crash, after a reboot, and for debts: record, kernel and backend agree again."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from crashing import agree, at, die_at, ends, marked_processes, nothing_runs, recovered, two_parts
from vifplug.errors import NotPlugged, ScriptFailed, VifplugError
from vifplug.host import Host, State, Step
from vifplug.host.netlink import Netlink
from vifplug.probe import StandInGuest
from world import ID, TAP, World, binding, links

OLD_BOOT = "00000000-0000-4000-8000-000000000001"
TAG_1 = binding(vif_details={"tag": 1})
TAG_2 = binding(vif_details={"tag": 2})


@pytest.fixture
def two(world: World) -> Iterator[World]:
    yield two_parts(world)
    nothing_runs()


def dies_in(world: World, step: str, verb: Callable[[Host], object]) -> None:
    """Do a verb in a process that is killed when that step begins."""

    def on_step(told: Step) -> None:
        if (told.name, told.phase) == (step, "begin"):
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        with world.host(on_step=on_step) as host:
            verb(host)

    assert ends(work) == -signal.SIGKILL


# --- crashes -------------------------------------------------------------------------------------


def test_a_plug_that_a_crash_interrupted_is_unplugged_with_that_very_request(two: World) -> None:
    dies_in(two, "reply", lambda host: host.plug(binding(mtu=1400, vif_details={"tag": 7})))
    host = two.host()
    assert host.show(ID).state is State.PLUGGING
    assert TAP in links()
    [one] = host.recover()
    assert (one.id, one.was, one.now, one.message) == (ID, State.PLUGGING, "unplugged", None)
    assert agree(two, host) == {}
    assert [call.verb for call in host.calls(ID)] == ["unplug"]
    assert host.recover() == []


def test_an_unplug_that_a_crash_interrupted_is_finished(two: World) -> None:
    with two.host() as host:
        host.plug(TAG_1)
    dies_in(two, "remove device", lambda host: host.unplug(ID))
    host = two.host()
    assert host.show(ID).state is State.UNPLUGGING
    assert [(one.was, one.now) for one in host.recover()] == [(State.UNPLUGGING, "unplugged")]
    assert agree(two, host) == {}


def test_an_update_that_a_crash_interrupted_goes_on(two: World) -> None:
    with two.host() as host:
        host.plug(TAG_1)
        index = links()[TAP].index
    dies_in(two, "reply", lambda host: host.update(TAG_2))
    host = two.host()
    record = host.show(ID)
    assert record.state is State.UPDATING
    assert record.next_request is not None
    assert (record.request.details["tag"], record.next_request.details["tag"]) == (1, 2)
    assert [(one.was, one.now) for one in host.recover()] == [(State.UPDATING, "plugged")]
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).request.details["tag"] == 2
    assert links()[TAP].index == index


def test_an_update_that_cannot_go_on_goes_back_and_says_why(two: World) -> None:
    with two.host() as host:
        host.plug(TAG_1)
    dies_in(two, "reply", lambda host: host.update(TAG_2))
    at(two, "update", 1, """case "$request" in *'"tag":2'*) echo no tag 2 >&2; exit 1;; esac""")
    host = two.host()
    [one] = host.recover()
    assert (one.was, one.now) == (State.UPDATING, "plugged")
    assert "no tag 2" in (one.message or "")
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).request.details["tag"] == 1


def test_an_update_whose_script_is_gone_leaves_the_vif_and_says_so(two: World) -> None:
    with two.host() as host:
        host.plug(TAG_1)
    dies_in(two, "script update", lambda host: host.update(TAG_2))
    (two.scripts / "recorder").unlink()
    host = two.host()
    [one] = host.recover()
    assert (one.was, one.now) == (State.UPDATING, "plugged")
    assert "recorder" in (one.message or "")
    assert host.show(ID).request.details["tag"] == 1
    assert TAP in links()


def test_what_recover_cannot_undo_is_a_debt_that_it_says(two: World) -> None:
    dies_in(two, "reply", lambda host: host.plug(binding()))
    at(two, "unplug", 1, "echo switch is down >&2; exit 1")
    host = two.host()
    [one] = host.recover()
    assert (one.was, one.now) == (State.PLUGGING, "debt")
    assert "switch is down" in (one.message or "")
    assert agree(two, host) == {ID: State.DEBT}


def test_what_another_process_is_at_work_on_is_left_to_it(two: World, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    for fifo in (begun, go_on):
        os.mkfifo(fifo)
    at(two, "plug", 1, f"echo > {begun}; read x < {go_on}")
    plugging = threading.Thread(target=lambda: two.host().plug(binding()))
    plugging.start()
    begun.read_text()
    host = two.host()
    assert [(one.id, one.was, one.now) for one in host.recover()] == [(ID, State.PLUGGING, "busy")]
    assert host.gc().devices == []
    assert TAP in links()
    go_on.write_text("\n")
    plugging.join(10)
    assert agree(two, host) == {ID: State.PLUGGED}


def test_a_script_that_outlived_its_host_is_ended_before_unplug_is_called(two: World, tmp_path: Path) -> None:
    """``two_parts`` notices by itself (overlap) when unplug begins beside the plug that still runs."""
    begun, pipe = tmp_path / "begun", tmp_path / "pipe"
    for fifo in (begun, pipe):
        os.mkfifo(fifo)
    at(
        two,
        "plug",
        1,
        f"setsid sh -c 'echo > {begun}; read x < {pipe}; echo late >> {two.backend}/late' & wait",
    )

    def plug() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        two.host().plug(binding())

    plugging = threading.Thread(target=lambda: ends(plug, kill_after=None))
    plugging.start()
    begun.read_text()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    plugging.join(10)
    assert sorted(marked_processes().values()) == ["recorder", "sh"]
    at(two, "plug", 1, None)
    with two.host() as host:
        assert [one.now for one in recovered(host)] == ["unplugged"]
        assert marked_processes() == {}
        assert agree(two, host) == {}
    assert not (two.backend / "late").exists()


@pytest.mark.parametrize("verb", ["plug", "unplug", "update", "check"])
@pytest.mark.parametrize("dies", ["host", "host and script"])
@pytest.mark.parametrize("point", [0, 1, 2])
def test_a_crash_between_a_scripts_own_actions(two: World, verb: str, dies: str, point: int) -> None:
    """The script kills its host, and perhaps itself, before, between or after its two actions."""
    if verb != "plug":
        with two.host() as host:
            host.plug(TAG_1)
    at(two, verb, point, "kill -9 $PPID" + ("; kill -9 $$" if dies == "host and script" else ""))

    verbs: dict[str, Callable[[Host], object]] = {
        "plug": lambda host: host.plug(TAG_1),
        "unplug": lambda host: host.unplug(ID),
        "update": lambda host: host.update(TAG_2),
        "check": lambda host: host.check(ID),
    }

    def work() -> None:
        with two.host() as host:
            verbs[verb](host)

    assert ends(work) == -signal.SIGKILL
    at(two, verb, point, None)
    with two.host() as host:
        recovered(host)
        assert agree(two, host) == ({} if verb in ("plug", "unplug") else {ID: State.PLUGGED})
        host.unplug_all()
        assert agree(two, host) == {}


def test_a_crash_in_recovery_itself_is_recovered_from(two: World) -> None:
    """Each recovery is killed one boundary later than the one before, until one comes to its end."""
    dies_in(two, "verify", lambda host: host.plug(binding()))
    crashes = 0

    def work() -> None:
        with two.host(on_step=die_at(crashes + 1)) as host:
            host.recover()

    while ends(work) == -signal.SIGKILL:
        crashes += 1
    assert crashes >= 6
    with two.host() as host:
        assert recovered(host) == []
        assert agree(two, host) == {}


STUCK = "kill -9 $PPID; exec sleep 1000"


def prepare_crash_in_check(world: World) -> None:
    with world.host() as host:
        host.plug(TAG_1)
    at(world, "check", 1, STUCK)
    assert ends(lambda: world.host().check(ID)) == -signal.SIGKILL
    at(world, "check", 1, None)


def prepare_crash_in_gc_of_a_debt(world: World) -> None:
    at(world, "unplug", 1, "exit 1")
    with world.host() as host:
        host.plug(TAG_1)
        with pytest.raises(ScriptFailed):
            host.unplug(ID)
    at(world, "unplug", 1, STUCK)
    assert ends(lambda: world.host().gc()) == -signal.SIGKILL
    at(world, "unplug", 1, None)


def prepare_crash_in_gc_after_a_reboot(world: World) -> None:
    rebooted(world, TAG_1)
    at(world, "unplug", 1, STUCK)
    assert ends(lambda: world.host().gc()) == -signal.SIGKILL
    at(world, "unplug", 1, None)


@pytest.mark.parametrize(
    "prepare",
    [prepare_crash_in_check, prepare_crash_in_gc_of_a_debt, prepare_crash_in_gc_after_a_reboot],
    ids=["check", "gc of a debt", "gc after a simulated reboot"],
)
@pytest.mark.parametrize("verb", ["plug", "plug without a script", "unplug", "check", "gc", "recover"])
def test_whatever_verb_comes_next_ends_the_script_that_outlived_its_host(
    two: World, prepare: Callable[[World], None], verb: str
) -> None:
    """``two_parts`` notices by itself (overlap) when a verb begins beside one that still runs."""
    prepare(two)
    assert len(marked_processes()) == 1
    with two.host() as host:
        next_verb: dict[str, Callable[[], object]] = {
            "plug": lambda: host.plug(TAG_1, refresh=True),
            "plug without a script": lambda: host.plug(binding(script=None)),
            "unplug": lambda: host.unplug(ID),
            "check": lambda: host.check(ID),
            "gc": host.gc,
            "recover": host.recover,
        }
        if (verb, prepare) == ("gc", prepare_crash_in_check):
            host.recover()  # gc has nothing to do with a VIF that is plugged
        if verb == "check" and prepare is prepare_crash_in_gc_of_a_debt:
            with pytest.raises(NotPlugged):
                host.check(ID)
            host.recover()
        else:
            next_verb[verb]()
        assert marked_processes() == {}
        host.gc()
        agree(two, host)
        assert recovered(host) == []


# --- debts ---------------------------------------------------------------------------------------


def test_the_same_plug_failing_again_and_again_owes_one_thing(two: World) -> None:
    host = two.host()
    at(two, "plug", 1, "exit 1")
    at(two, "unplug", 1, "exit 1")
    for _ in range(3):
        with pytest.raises(ScriptFailed):
            host.plug(TAG_1)
    [debt] = host.list()
    assert (debt.state, debt.attempts, debt.generation) == (State.DEBT, 3, 3)
    with pytest.raises(ScriptFailed):
        host.plug(TAG_2)
    assert [record.attempts for record in host.list()] == [3, 1]
    at(two, "unplug", 1, None)
    assert host.gc().paid == [ID]
    assert agree(two, host) == {}


def test_what_is_owed_for_another_binding_is_kept_until_the_vif_is_unplugged(two: World) -> None:
    """The new plug of the same script tells it nothing of what it still has to undo for the old one."""
    host = two.host()
    host.plug(TAG_1)
    at(two, "unplug", 0, "exit 1")
    with pytest.raises(ScriptFailed):
        host.unplug(ID)
    at(two, "unplug", 0, f'echo "$request" >> {two.backend}/unplugged')
    host.plug(TAG_2)
    assert [record.state for record in host.list()] == [State.DEBT, State.PLUGGED]
    assert host.gc().paid == []
    assert agree(two, host) == {ID: State.PLUGGED}
    host.unplug(ID)
    new, old = (two.backend / "unplugged").read_text().splitlines()
    assert '"tag":2' in new
    assert '"tag":1' in old
    assert agree(two, host) == {}


def test_a_debt_that_another_call_is_at_work_on_is_not_called_paid(two: World) -> None:
    host = two.host()
    host.plug(binding())
    at(two, "unplug", 1, "exit 1")
    with pytest.raises(ScriptFailed):
        host.unplug(ID)
    with host._locks.vif(ID, 1):
        report = two.host().gc()
    assert (report.paid, report.owing) == ([], {ID: "another call is at work on it"})


# --- reboots: simulated by another boot id, and by devices that are gone ---------------------------


def rebooted(world: World, *what: dict[str, object]) -> None:
    """Plug in a former boot, and lose the devices as a reboot would."""
    with world.host(boot_id=OLD_BOOT) as host:
        for one in what or (binding(),):
            host.plug(one)
    for name in links():
        subprocess.run(["ip", "link", "delete", name], check=True)


def test_after_a_simulated_reboot_a_vif_is_shown_as_lost_and_gc_tells_its_backend(two: World) -> None:
    rebooted(two)
    host = two.host()
    record = host.show(ID)
    assert (record.state, record.lost, record.boot_id) == (State.PLUGGED, True, OLD_BOOT)
    assert [drift.what for drift in host.check(ID).drift] == ["boot"]
    assert host.recover() == []
    report = host.gc()
    assert (report.forgotten, report.owing) == ([ID], {})
    assert agree(two, host) == {}
    assert [call.verb for call in host.calls(ID)][-1] == "unplug"


def test_after_a_simulated_reboot_a_backend_that_does_not_answer_is_a_debt(two: World) -> None:
    rebooted(two)
    at(two, "unplug", 0, "echo still starting >&2; exit 69")
    host = two.host()
    report = host.gc()
    assert report.forgotten == []
    assert "still starting" in report.owing[ID]
    assert agree(two, host) == {ID: State.DEBT}
    at(two, "unplug", 0, None)
    assert host.gc().paid == [ID]
    assert agree(two, host) == {}


def test_after_a_simulated_reboot_the_same_vif_is_plugged_anew_without_an_unplug(two: World) -> None:
    rebooted(two, TAG_1)
    host = two.host()
    plugged = host.plug(TAG_1)
    assert (plugged.changed, plugged.generation) == (True, 2)
    assert [call.verb for call in host.calls(ID)] == ["plug", "plug", "check"][:2]
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.gc().forgotten == []


@pytest.mark.parametrize("what", [TAG_2, binding(script=None)], ids=["other details", "another script"])
def test_after_a_simulated_reboot_a_changed_binding_is_plugged_once_the_old_one_is_unplugged(
    two: World, what: dict[str, object]
) -> None:
    """The backend outlived the reboot: what it holds by the old request, only that request undoes."""
    rebooted(two, TAG_1)
    at(two, "unplug", 0, f'echo "$request" >> {two.backend}/unplugged')
    host = two.host()
    host.plug(what)
    assert '"tag":1' in (two.backend / "unplugged").read_text()
    assert agree(two, host) == {ID: State.PLUGGED}


def test_after_a_simulated_reboot_a_verb_that_it_interrupted_is_undone(two: World) -> None:
    def work() -> None:
        def on_step(step: Step) -> None:
            if (step.name, step.phase) == ("reply", "begin"):
                os.kill(os.getpid(), signal.SIGKILL)

        with two.host(boot_id=OLD_BOOT, on_step=on_step) as host:
            host.plug(binding())

    assert ends(work) == -signal.SIGKILL
    subprocess.run(["ip", "link", "delete", TAP], check=True)
    host = two.host()
    assert [(one.was, one.now) for one in host.recover()] == [(State.PLUGGING, "unplugged")]
    assert agree(two, host) == {}


def test_gc_leaves_alone_what_was_plugged_anew_since_it_looked(two: World) -> None:
    """Two VIFs are lost; while gc is at the first, somebody plugs the second again."""
    first, second = binding(1), binding(2)
    rebooted(two, first, second)
    told: list[str] = []

    def on_step(step: Step) -> None:
        if step.name == "script unplug" and step.phase == "begin" and not told:
            told.append(step.vif_id)
            with two.host() as other:
                other.plug(second if step.vif_id == first["id"] else first)

    two.config = msgspec.structs.replace(two.config, workers=1)
    with two.host(on_step=on_step) as host:
        report = host.gc()
    assert report.forgotten == told
    with two.host() as host:
        assert list(agree(two, host)) == [({str(first["id"]), str(second["id"])} - set(told)).pop()]


# --- devices that nobody owns ------------------------------------------------------------------


def test_gc_removes_this_ledgers_devices_that_no_vif_owns_and_no_others(two: World, tmp_path: Path) -> None:
    host = two.host()
    host.plug(binding(1))
    (two.folder / "neighbour").mkdir()
    World(two.folder / "neighbour").host().plug(binding(2))
    for name in ("orphan0", "plain0"):
        subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)
    alias = f"vifplug:{host._ledger.id}:{ID}"
    subprocess.run(["ip", "link", "set", "orphan0", "alias", alias], check=True)
    assert host.gc().devices == ["orphan0"]
    assert set(links()) == {"plain0", *(f"tap0000000{number}-7d" for number in (1, 2))}
    assert host.gc().devices == []


def test_a_device_without_a_record_is_left_to_the_guest_that_holds_it(world: World) -> None:
    with world.host() as host:
        host.plug(binding(script=None))
        host._ledger._database.write(lambda ledger: ledger.execute("DELETE FROM vif").rowcount)
        with StandInGuest(TAP, "fa:16:3e:00:00:09", []):
            assert host.gc().devices == []
        assert host.gc().devices == [TAP]


def test_a_device_that_somebody_renamed_stays_its_vifs_and_goes_with_it(two: World) -> None:
    host = two.host()
    host.plug(binding())
    subprocess.run(["ip", "link", "set", TAP, "down"], check=True)
    subprocess.run(["ip", "link", "set", TAP, "name", "renamed0"], check=True)
    assert [drift.what for drift in host.check(ID).drift] == ["device"]
    assert host.gc().devices == []
    assert list(links()) == ["renamed0"]
    host.unplug(ID)
    assert links() == {}


# --- interrupts --------------------------------------------------------------------------------


def test_ctrl_c_in_a_plug_ends_the_script_and_undoes_what_it_did(two: World, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    at(two, "plug", 1, f"setsid sleep 1000 & echo > {begun}; sleep 1000")

    def interrupt() -> None:
        begun.read_text()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    host = two.host()
    with pytest.raises(KeyboardInterrupt):
        host.plug(binding())
    interrupter.join(10)
    assert marked_processes() == {}
    assert agree(two, host) == {}
    assert host.recover() == []


def test_a_verb_settles_what_a_crash_left_before_it_begins(two: World) -> None:
    dies_in(two, "reply", lambda host: host.plug(TAG_1))
    host = two.host()
    plugged = host.plug(TAG_2)
    assert plugged.generation == 2
    assert [call.verb for call in host.calls(ID)] == ["unplug", "plug"]
    assert agree(two, host) == {ID: State.PLUGGED}


def test_check_of_what_a_crash_left_says_so_and_changes_nothing(two: World) -> None:
    dies_in(two, "reply", lambda host: host.plug(binding()))
    host = two.host()
    before = links()
    report = host.check(ID)
    assert not report.ok
    assert ("state", "plugging") in [(drift.what, drift.found) for drift in report.drift]
    assert links() == before
    with pytest.raises(VifplugError, match="not plugged"):
        host.update(TAG_2)


def test_the_kernel_alone_decides_whether_a_device_is_there(two: World) -> None:
    host = two.host()
    host.plug(binding())
    with Netlink() as netlink:
        netlink.delete([links()[TAP].index])
    assert [drift.what for drift in host.check(ID).drift] == ["device"]
    assert host.unplug(ID).changed
    assert agree(two, host) == {}


def test_a_debt_to_a_backend_that_is_gone_for_good_can_be_written_off(world: World) -> None:
    with world.host() as host:
        host.plug(binding())
        (world.scripts / "recorder").unlink()
        host.unplug(ID)
        assert host.gc().owing
        assert host.forget(ID) == 1
        assert host.list() == []
        with pytest.raises(NotPlugged, match="owes nothing"):
            host.forget(ID)


def test_gc_removes_a_second_tap_of_a_vif_that_was_renamed_as_it_was_plugged(world: World) -> None:
    with world.host() as host:
        host.plug(binding())

        def on_step(step: Step) -> None:
            if (step.name, step.phase) == (
                "intent",
                "end",
            ):  # after the name was looked at, before the tap is
                subprocess.run(["ip", "link", "set", TAP, "down", "name", "moved0"], check=True)

        with world.host(on_step=on_step) as other:
            other.plug(binding(), refresh=True)
        assert links().keys() == {TAP, "moved0"}
        kept = links()[TAP].index

        assert host.gc().devices == ["moved0"]
        assert [link.index for link in links().values()] == [kept]
        assert host.check(ID).ok
