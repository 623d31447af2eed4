"""What is done to a VIF behind vifplug's back, on the real kernel, is told and mended without being asked."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from keeping import PATIENCE, Kept, ip, kept
from vifplug.config import Daemon
from vifplug.daemon import keeper as keeper_module
from vifplug.daemon.events import Events
from vifplug.host.netlink import Netlink
from vifplug.host.watch import LinkWatch
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

JOINS = "ip link show br0 >/dev/null 2>&1 || ip link add br0 type bridge; ip link set $VIF_DEVNAME master br0"
REPORT = Daemon(interval=86400, on_drift="report")


def nth(number: int) -> str:
    return str(binding(number)["id"])


@pytest.fixture
def joined(world: World) -> World:
    """A world whose script puts the tap into br0, which it makes."""
    world.on("plug", do=JOINS)
    return world


@pytest.fixture
def one(joined: World) -> Iterator[Kept]:
    """One VIF, plugged and kept."""
    with kept(joined) as together:
        together.host.plug(binding(mtu=1400))
        yield together


#: a command, the kind of the event, and what is told as drift
DAMAGES = {
    "gone": ("ip link delete @", "device-gone", {"device"}),
    "renamed": ("ip link set @ name other0", "drift", {"device"}),
    "down": ("ip link set @ down", "drift", {"device up"}),
    "another MAC": ("ip link set @ address 02:00:00:00:00:09", "drift", {"device address"}),
    "another MTU": ("ip link set @ mtu 1280", "drift", {"device mtu"}),
    "taken out of its bridge": ("ip link set @ nomaster", "drift", {"device master"}),
    "its bridge is gone": ("ip link delete br0", "drift", {"device master"}),
    "its bridge is renamed": ("ip link set br0 name br5", "drift", {"device master"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_somebody_does_to_a_vif_is_told_and_mended(one: Kept, name: str) -> None:
    command, kind, what = DAMAGES[name]
    ip(*command.replace("@", TAP).split()[1:])
    told = one.hear("drift", "device-gone", vif_id=ID)
    assert told.kind == kind
    assert {drift["what"] for drift in told.data["drift"]} == what
    repaired = one.hear("repaired", vif_id=ID)
    assert repaired.data["drift"] == told.data["drift"]
    assert one.host.check(ID).drift == []
    assert links()[TAP].mtu == 1400


def test_a_renamed_device_is_told_by_its_new_name(joined: World) -> None:
    with kept(joined, REPORT) as one:
        one.host.plug(binding())
        ip("link", "set", TAP, "name", "other0")
        [drift] = one.hear("drift").data["drift"]
        assert drift == {"what": "device", "expected": TAP, "found": "other0"}


def test_a_rename_that_has_not_been_heard_of_yet_is_not_taken_for_a_loss(
    joined: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with joined.host() as host, LinkWatch() as watch:
        host.plug(binding())
        keeper = keeper_module.Keeper(host, Events(), REPORT)
        monkeypatch.setattr(keeper, "_watch", watch)
        ip("link", "set", TAP, "name", "other0")
        [drift] = host.drifts.of(ID) or []
        assert keeper._traced(ID, drift).found == "other0"


def test_what_was_done_while_nobody_watched_is_found_at_the_start(joined: World) -> None:
    with joined.host() as host:
        host.plug_all([binding(number, mtu=1400) for number in range(1, 6)])
    ip("link", "delete", "tap00000001-7d")
    ip("link", "set", "tap00000002-7d", "mtu", "1300")
    ip("link", "set", "tap00000003-7d", "nomaster")
    with kept(joined) as together:
        assert {together.hear("repaired").vif_id for _ in range(3)} == {nth(1), nth(2), nth(3)}
        assert list(together.host.drifts.suspects()) == []


def test_a_bridge_that_goes_takes_all_its_vifs_along_and_all_come_back(joined: World) -> None:
    ids = {nth(number) for number in range(1, 9)}
    with kept(joined) as together:
        together.host.plug_all([binding(number) for number in range(1, 9)])
        ip("link", "delete", "br0")
        repaired: set[str | None] = set()
        while repaired != ids:
            repaired.add(together.hear("repaired").vif_id)
        assert list(together.host.drifts.suspects()) == []


def test_by_policy_it_is_only_reported_once_for_each_thing_and_when_it_is_over(joined: World) -> None:
    with kept(joined, REPORT) as one:
        one.host.plug(binding(mtu=1400))
        ip("link", "set", TAP, "mtu", "1300")
        assert [drift["found"] for drift in one.hear("drift").data["drift"]] == [1300]
        one.round()
        ip("link", "set", TAP, "up")
        ip("link", "set", TAP, "nomaster")
        assert {drift["what"] for drift in one.hear("drift").data["drift"]} == {"device mtu", "device master"}
        one.host.repair(ID)
        assert one.hear("drift").data["drift"] == []
        assert one.kinds() == ["drift"] * 3
        assert joined.asked() == ["plug", "plug"]


def test_a_device_that_is_gone_is_only_reported_by_policy(joined: World) -> None:
    with kept(joined, REPORT) as one:
        one.host.plug(binding())
        ip("link", "delete", TAP)
        [drift] = one.hear("device-gone").data["drift"]
        assert drift == {"what": "device", "expected": TAP, "found": None}
    assert TAP not in links()


def test_our_own_verbs_are_not_taken_for_drift(joined: World) -> None:
    """Every verb changes devices; what follows the last of them is the first thing that is said."""
    joined.info(verbs=["plug", "unplug", "update", "check"], update_fields=["mtu"])
    with kept(joined) as together, joined.host() as other:
        for number in range(1, 5):
            together.host.plug(binding(number, mtu=1400))
            other.plug(binding(number + 10, mtu=1400))
        for number in (1, 2, 11, 12):
            other.update(binding(number, mtu=1300))
            together.host.plug(binding(number, mtu=1350), refresh=True)
        together.host.unplug_all([nth(1), nth(11), nth(2)])
        together.host.plug_all([binding(number, script=None) for number in range(20, 40)])
        other.unplug_all([nth(number) for number in range(20, 40)])
        ip("link", "set", "tap00000003-7d", "mtu", "1280")
        together.hear("repaired")
        assert {event.vif_id for event in together.said} == {nth(3)}


def test_what_somebody_changes_while_a_verb_is_at_work_is_found_after_it(joined: World) -> None:
    with kept(joined) as one, joined.host() as other:
        one.host.plug(binding(mtu=1400))
        one.round()
        with other._locks.vif(ID, 1):
            ip("link", "set", TAP, "mtu", "1300")
            until = time.monotonic() + PATIENCE
            while ID not in one.keeper._busy:  # it has looked, and left it alone
                assert time.monotonic() < until
            assert one.kinds() == []
        one.hear("repaired")
        assert links()[TAP].mtu == 1400


def test_many_changes_are_one_look(one: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    of = one.host.drifts.of

    def counted(vif_id: str) -> object:
        looks.append(vif_id)
        return of(vif_id)

    monkeypatch.setattr(one.host.drifts, "of", counted)
    with Netlink() as netlink:
        for mtu in range(1000, 1200):
            netlink.set(TAP, mtu=mtu)
    one.hear("repaired")
    while links()[TAP].mtu != 1400:  # it came in the midst of them
        one.hear("repaired")
    assert len(looks) < 30


def test_what_the_kernel_could_not_tell_for_too_much_is_found_all_the_same(
    joined: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[LinkWatch] = []

    def small() -> LinkWatch:
        watches.append(LinkWatch(buffer=1))
        return watches[0]

    monkeypatch.setattr(keeper_module, "LinkWatch", small)
    with joined.host() as host:
        host.plug(binding(1, mtu=1400))
        host.plug(binding(2, mtu=1400))
    ip("link", "add", "noise0", "type", "bridge")
    with kept(joined) as together, Netlink() as netlink:
        ip("link", "set", "tap00000002-7d", "mtu", "1300")
        together.hear("repaired", vif_id=nth(2))  # it watches by now
        before = watches[0].overruns
        while watches[0].overruns == before:
            for mtu in range(1300, 1500):
                netlink.set("noise0", mtu=mtu)
            netlink.set("tap00000001-7d", mtu=1300)
        assert together.hear("repaired").vif_id == nth(1)


class Fighter(threading.Thread):
    """Somebody who wants another MTU, and says so whenever it is changed."""

    def __init__(self, device: str, mtu: int) -> None:
        super().__init__()
        self._device, self._mtu = device, mtu
        self._watch = LinkWatch()
        self.rounds = 0
        self.done = threading.Event()

    def run(self) -> None:
        with self._watch, Netlink() as netlink:
            netlink.set(self._device, mtu=self._mtu)
            while not self.done.is_set():
                for change in self._watch.next(1):
                    link = change.after
                    if link is not None and link.name == self._device and link.mtu != self._mtu:
                        self.rounds += 1
                        netlink.set(self._device, mtu=self._mtu)

    def stop(self) -> None:
        self.done.set()
        self._watch.wake()
        self.join(PATIENCE)


def test_a_fight_ends_in_a_report(joined: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "_SPACING", 0.01)
    with kept(joined) as together:
        together.host.plug(binding(mtu=1400))
        together.host.plug(binding(1, mtu=1400))
        fighter = Fighter(TAP, 1300)
        fighter.start()
        try:
            while not (said := together.hear("drift", vif_id=ID)).data.get("fight"):
                pass
        finally:
            fighter.stop()
        assert 0 < said.data["again_in"] <= 60
        assert together.kinds().count("repaired") == 5
        assert [drift["found"] for drift in said.data["drift"]] == [1300]
        assert links()[TAP].mtu == 1300  # we have withdrawn from it
        ip("link", "set", "tap00000001-7d", "mtu", "1300")  # and from no other
        assert together.hear("repaired").vif_id == nth(1)
        together.host.repair(ID)
        assert together.hear("drift", vif_id=ID).data["drift"] == []


def test_a_repair_that_fails_says_why_and_when_it_is_tried_again(
    joined: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vifplug.daemon.patience.FIRST", 0.2)
    with kept(joined) as one:
        one.host.plug(binding(mtu=1400))
        joined.on("plug", status=69)
        ip("link", "set", TAP, "mtu", "1300")
        failed = one.hear("repair-failed", vif_id=ID)
        assert failed.data["error"]["code"] == "backend_unavailable"
        assert failed.data["again_in"] == pytest.approx(0.2, abs=0.01)
        assert links()[TAP].mtu == 1400
        joined.on("plug", do=JOINS)
        one.hear("repaired", vif_id=ID)
        assert one.host.check(ID).drift == []
        assert one.host.show(ID).error is None


def test_a_change_that_failed_is_put_right_once_its_script_is_well(joined: World) -> None:
    joined.info(verbs=["plug", "unplug", "update"], update_fields=["mtu"])
    with joined.host() as host:
        host.plug(binding(mtu=1400))
        joined.on("update", status=1)
        with pytest.raises(Exception, match="the backend said no"):
            host.update(binding(mtu=1300))
        assert host.show(ID).error is not None
    with kept(joined) as one:
        [drift] = one.hear("repaired").data["drift"]
        assert drift["what"] == "last change"
        assert one.host.show(ID).error is None


def test_a_script_that_hangs_in_a_repair_delays_the_repair_of_no_other(joined: World) -> None:
    """Its own VIFs wait for it, more of them than may be at work at once; another script's do not."""
    hang = joined.folder / "hang"
    os.mkfifo(hang)
    recorder = (joined.scripts / "recorder").read_text()
    joined.script("other", recorder.replace(str(joined.backend), f"{joined.backend}2"))
    (joined.folder / "backend2").mkdir()
    with kept(joined) as together:
        stuck = [binding(number, mtu=1400) for number in range(1, 21)]
        together.host.plug_all([*stuck, binding(99, script="other", mtu=1400)])
        joined.on("plug", do=f"read x < {hang}")
        with Netlink() as netlink:
            for number in range(1, 21):
                netlink.set(f"tap{number:08x}-7d", mtu=1300)
        while len([event for event in together.said if event.kind == "drift"]) < 20:
            together.hear("drift")
        ip("link", "set", "tap00000063-7d", "mtu", "1300")
        assert together.hear("repaired").vif_id == nth(99)
        assert together.keeper.alive
        joined.on("plug", do=JOINS)
        release = os.open(hang, os.O_RDWR)
        os.write(release, b"\n" * 20)  # a line for each that hangs
        for _ in range(20):
            together.hear("repaired")
        os.close(release)
        assert list(together.host.drifts.suspects()) == []


def test_a_vif_unplugged_while_it_is_in_trouble_is_forgotten(joined: World) -> None:
    with kept(joined, REPORT) as one:
        one.host.plug(binding(mtu=1400))
        ip("link", "set", TAP, "mtu", "1300")
        one.hear("drift")
        one.host.unplug(ID)
        assert one.hear("drift").data["drift"] == []


def test_two_keepers_and_a_user_of_the_library_do_not_meet(joined: World) -> None:
    with kept(joined) as one, kept(joined) as two, joined.host() as user:
        user.plug(binding(mtu=1400))
        for mtu in range(1300, 1304):
            ip("link", "set", TAP, "mtu", str(mtu))
            user.plug(binding(mtu=1400))
        ip("link", "delete", TAP)
        until = time.monotonic() + PATIENCE
        while TAP not in links():
            assert time.monotonic() < until
        assert user.repair(ID).generation == 1
        assert user.check(ID).drift == []
        said = [*one.kinds(), *two.kinds()]
        assert said
        assert not {"keeper-failed", "repair-failed"} & set(said)
