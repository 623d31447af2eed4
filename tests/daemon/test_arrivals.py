"""Guests that live migrations are to bring: waited for while there is hope, and given up by the daemon."""

from __future__ import annotations

import math
import subprocess
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons import ask
from keeping import PATIENCE, Kept, kept
from served import Served
from taker import Taker
from vifplug.config import Daemon
from vifplug.daemon.arrivals import LET_GO, NOBODY_CAME, REBOOTED, Leases
from vifplug.errors import ScriptFailed
from vifplug.host import Record, State
from vifplug.host.recovery import Arrival
from vifplug.model.vif import Ethernet, Migration, Vif
from world import ID, TAP, World, binding, links

COMING: dict[str, Any] = {"migration": {"role": "destination", "phase": "prepare"}}
AGES = 86400.0


def settings(*, grace: float = AGES, patience: float = AGES, **more: Any) -> Daemon:
    return Daemon(interval=AGES, arrival_grace=grace, arrival_patience=patience, **more)


def coming(number: int = 0, script: str | None = "recorder", **fields: Any) -> dict[str, Any]:
    return binding(number, script, **COMING, **fields)


def until(truth: Any) -> None:
    ends = time.monotonic() + PATIENCE
    while not truth():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture
def told(world: World) -> World:
    world.info(verbs=["plug", "unplug", "check", "activate"])
    return world


def looked_at(together: Kept) -> None:
    """It has seen all that became of devices until now: it is told of another one, and sees to that."""
    together.host.plug(binding(99, script=None))
    subprocess.run(["ip", "link", "set", binding_device(99), "down"], check=True)
    together.hear("repaired", vif_id=binding(99)["id"])
    together.host.unplug(binding(99)["id"])


def binding_device(number: int) -> str:
    return f"tap{binding(number)['id'][:11]}"


# --- given up ------------------------------------------------------------------------------------


def test_a_guest_that_came_and_let_go_again_has_failed_to_migrate(told: World) -> None:
    with kept(told, settings(grace=0.01)) as together:
        together.host.plug(coming())
        with Taker(TAP):
            looked_at(together)
            assert "arrival-given-up" not in together.kinds()
        event = together.hear("arrival-given-up", vif_id=ID)
        assert (event.data["reason"], event.data["generation"]) == (LET_GO, 1)
        assert together.host.list() == []
    assert told.asked() == ["plug", "unplug"]
    assert told.requests()[-1]["migration"] == {"role": "destination", "phase": "prepare"}
    assert links() == {}


def test_the_making_of_the_tap_is_no_guest_s_coming(told: World) -> None:
    """Who makes a tap has it open for a moment, and lets go of it."""
    with kept(told, settings(grace=0.001)) as together:
        for number in range(1, 21):
            together.host.plug(coming(number, script=None))
        looked_at(together)
        together.round()
        assert "arrival-given-up" not in together.kinds()


def test_a_guest_that_never_came_is_waited_for_so_long(told: World) -> None:
    with kept(told, settings(patience=0.2)) as together:
        begun = time.monotonic()
        together.host.plug(coming())
        assert together.hear("arrival-given-up").data["reason"] == NOBODY_CAME
        assert time.monotonic() - begun > 0.2
        assert together.host.list() == []


def test_a_guest_that_has_its_device_is_left_alone_whatever_the_time(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
    with Taker(TAP), kept(told, settings(patience=0.001, grace=0.001)) as together:
        together.round()
        together.round()
        assert "arrival-given-up" not in together.kinds()
        assert together.host.check(ID).ok


def test_one_that_was_activated_is_never_given_up(told: World) -> None:
    with kept(told, settings(patience=0.5, grace=0.001)) as together:
        together.host.plug(coming())
        together.host.activate(ID)
        with Taker(TAP):
            looked_at(together)
        looked_at(together)
        together.round()
        assert "arrival-given-up" not in together.kinds()
        assert together.host.check(ID).ok


def test_a_second_attempt_is_waited_for_anew(told: World) -> None:
    """A platform that tries the migration again plugs again: its first attempt's end is no end any more."""
    with kept(told, settings(grace=0.4)) as together:
        together.host.plug(coming())
        with Taker(TAP):
            looked_at(together)
        looked_at(together)
        together.host.plug(coming())
        ends = time.monotonic() + 0.5
        until(lambda: time.monotonic() > ends)
        together.round()
        assert "arrival-given-up" not in together.kinds()
        with Taker(TAP):
            looked_at(together)
        together.hear("arrival-given-up", vif_id=ID)


def test_what_happened_while_no_daemon_ran_is_caught_up_with(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
        host.plug(coming(1))
        host.plug(binding(2))
    with Taker(binding_device(1)), kept(told, settings(patience=0.001)) as together:
        assert together.hear("arrival-given-up").vif_id == ID
        together.round()
        assert {record.id for record in together.host.list()} == {binding(1)["id"], binding(2)["id"]}


def test_a_reboot_ends_every_wait_also_where_lost_vifs_are_kept(told: World) -> None:
    with told.host(boot_id="before") as host:
        host.plug(coming())
        host.plug(binding(1))
    for tap in list(links()):
        subprocess.run(["ip", "link", "delete", tap], check=True)
    with kept(told, settings(after_reboot="keep")) as together:
        assert together.hear("arrival-given-up").data["reason"] == REBOOTED
        assert [record.id for record in together.host.list()] == [binding(1)["id"]]


def test_what_its_backend_refuses_to_undo_is_owed(told: World) -> None:
    told.on("unplug", status=1)
    with kept(told, settings(patience=0.001)) as together:
        together.host.plug(coming())
        assert "the backend said no" in together.hear("arrival-given-up").data["message"]
        assert together.host.show(ID).state is State.DEBT
        told.on("unplug")
        assert together.host.recovery.pay(ID).now == "done"


def test_one_whose_guest_cannot_be_seen_is_shown_and_kept(told: World) -> None:
    with kept(told, settings(patience=0.001)) as together:
        together.host.plug(coming(vif_type="vhostuser", vif_details={"path": "/run/vhost/a"}))
        together.round()
        assert "arrival-given-up" not in together.kinds()
        assert together.host.show(ID).request.arriving


# --- an activate that failed ---------------------------------------------------------------------


def test_the_daemon_tells_a_script_again_that_could_not_activate(told: World) -> None:
    told.on("activate", status=1)
    with told.host() as host:
        host.plug(coming())
        with pytest.raises(ScriptFailed):
            host.activate(ID)
    told.on("activate")
    with kept(told, settings()) as together:
        together.hear("activated", vif_id=ID)
        together.hear("repaired", vif_id=ID)
        assert together.host.show(ID).error is None


# --- through the API -----------------------------------------------------------------------------


def test_activate_over_the_socket_is_told_and_counted(told: World) -> None:
    with Served.of(told) as daemon, daemon.client() as client:
        client.plug(coming())
        events = client.events()
        told.on("activate", status=1)
        with pytest.raises(ScriptFailed):
            client.activate(ID)
        told.on("activate")
        assert client.activate(ID).activated
        assert not client.activate(ID).activated
        said = [next(events) for _ in range(5)]
        kinds = [event.data.get("verb", event.kind) for event in said]  # what failed is plugged again first
        assert kinds == ["activate", "activate-failed", "plug", "activate", "activated"]
        answer = ask(daemon.socket, "POST", f"/v1/vifs/{ID}/activate")  # by anybody, with nothing but HTTP
        assert (answer.status, answer.json["activated"], answer.json["changed"]) == (200, False, False)
        plugged = client.plug(coming(1))
        assert not plugged.activated
        assert client.plug(binding(1)).activated


def test_the_daemon_as_it_is_gives_up_and_counts_it(told: World) -> None:
    with Served.of(told, arrival_grace=0.01, on_drift="repair") as daemon, daemon.client() as client:
        client.plug(coming())
        events = client.events()
        with Taker(TAP):
            until(lambda: links()[TAP].carrier)
            client.plug(binding(1))
            subprocess.run(["ip", "link", "set", binding_device(1), "down"], check=True)
            while next(events).kind != "repaired":
                pass
        while (event := next(events)).kind != "arrival-given-up":
            pass
        assert event.vif_id == ID
        assert [record.id for record in client.list()] == [binding(1)["id"]]
        subprocess.run(
            ["curl", "-sf", "--unix-socket", daemon.socket, "http://x/metrics", "-o", str(told.folder / "m")],
            check=True,
        )
        assert "vifplug_arrivals_given_up_total 1.0" in (told.folder / "m").read_text()
        assert "is given up" in daemon.log() and LET_GO in daemon.log()


# --- leases --------------------------------------------------------------------------------------

VIF = Vif(id=ID, shape=Ethernet(), devname=TAP, migration=Migration(role="destination", phase="prepare"))
RECORD = Record(
    id=ID, state=State.PLUGGED, generation=1, vif=VIF, request=VIF, boot_id="b", created=1000.0, changed=1000.0
)  # fmt: skip


def arrival(held: bool | None = False, **fields: Any) -> Arrival:
    return Arrival(record=msgspec.structs.replace(RECORD, **fields), held=held)


@given(now=st.floats(0, 1e10), changed=st.floats(0, 1e10))
def test_no_clock_makes_a_wait_longer_than_patience(now: float, changed: float) -> None:
    leases = Leases(Daemon(arrival_patience=900.0), lambda: now)
    seconds, why = leases.left(arrival(changed=changed))
    assert 0 <= seconds <= 900.001  # floats
    assert why == NOBODY_CAME


def test_what_a_former_daemon_waited_counts() -> None:
    leases = Leases(Daemon(arrival_patience=900.0), lambda: 1600.0)
    assert leases.left(arrival())[0] == pytest.approx(300, abs=1)
    assert leases.left(arrival(changed=1599.0))[0] == pytest.approx(899, abs=1)  # it was asked for again


def test_a_clock_that_is_set_meanwhile_changes_nothing() -> None:
    now = [1000.0]
    leases = Leases(Daemon(arrival_patience=900.0), lambda: now[0])
    leases.left(arrival())
    now[0] = 1e9
    assert leases.left(arrival())[0] == pytest.approx(900, abs=1)


def test_grace_begins_when_the_guest_lets_go_and_ends_when_it_takes_again() -> None:
    leases = Leases(Daemon(arrival_patience=900.0, arrival_grace=5.0), lambda: 1000.0)
    assert leases.left(arrival(held=True))[0] == math.inf
    seconds, why = leases.left(arrival())
    assert (4 < seconds <= 5, why) == (True, LET_GO)
    assert leases.left(arrival(held=True))[0] == math.inf
    assert leases.left(arrival())[0] == pytest.approx(5, abs=1)
    assert leases.left(arrival(held=None))[0] == math.inf
    leases.keep([])
    assert leases.left(arrival())[1] == NOBODY_CAME
