"""A live migration's destination: the VIF is plugged before its guest comes, and this host's once it came."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

import pytest

from daemons import until
from vifplug.errors import NotPlugged, ScriptFailed
from vifplug.host import Host, State
from vifplug.probe import StandInGuest
from world import ID, TAP, World, binding, links

MAC = "fa:16:3e:00:00:00"
ALL = ["plug", "unplug", "check", "activate"]


def coming(phase: str = "prepare", **fields: Any) -> dict[str, Any]:
    """The binding, as a platform plugs it where a guest is to come."""
    return binding(migration={"role": "destination", "phase": phase}, **fields)


@pytest.fixture
def told(world: World) -> World:
    """Its script has an activate."""
    world.info(verbs=ALL)
    return world


def migration(host: Host) -> object:
    return host.show(ID).request.migration


# --- activate ------------------------------------------------------------------------------------


def test_the_script_is_told_that_the_guest_is_here_and_the_vif_is_like_any_other(told: World) -> None:
    with told.host() as host:
        before = host.plug(coming())
        assert host.show(ID).request.arriving
        after = host.activate(ID)
        assert (after.changed, after.activated, after.generation) == (True, True, before.generation)
        assert after.xml == before.xml
        assert told.asked() == ["plug", "activate"]
        assert told.requests()[1]["migration"] == {"role": "destination", "phase": "done"}
        assert migration(host) is None
        assert host.check(ID).ok
        host.unplug(ID)
    assert told.requests()[-1]["migration"] is None
    assert links() == {}


def test_activated_again_nothing_happens(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
        host.activate(ID)
        again = host.activate(ID)
        assert (again.changed, again.activated) == (False, False)
        host.plug(binding(1))
        assert not host.activate(binding(1)["id"]).changed  # which never was to come
    assert told.asked() == ["plug", "activate", "plug"]


@pytest.mark.parametrize("verbs", [["plug", "unplug"], None], ids=["no activate", "no info"])
def test_a_script_without_activate_is_not_called(world: World, verbs: list[str] | None) -> None:
    if verbs is not None:
        world.info(verbs=verbs)
    with world.host() as host:
        host.plug(coming())
        assert host.activate(ID).activated
        assert migration(host) is None
    assert world.asked() == ["plug"]


def test_a_script_that_says_it_has_activate_and_has_not_is_no_trouble(told: World) -> None:
    told.on("activate", status=64)
    with told.host() as host:
        host.plug(coming())
        assert host.activate(ID).activated
        assert host.show(ID).error is None


def test_a_vif_without_a_script_is_activated_on_record(world: World) -> None:
    with world.host() as host:
        host.plug(coming(script=None))
        assert host.activate(ID).activated
        assert not host.show(ID).request.arriving


def test_what_is_not_plugged_cannot_be_activated(told: World) -> None:
    with told.host() as host, pytest.raises(NotPlugged, match="not plugged on this host"):
        host.activate(ID)
    with told.host(boot_id="before") as host:
        host.plug(coming())
    with told.host() as host, pytest.raises(NotPlugged):
        host.activate(ID)


# --- activate fails ------------------------------------------------------------------------------


def test_a_script_that_fails_leaves_the_vif_this_host_s_and_is_told_again(told: World) -> None:
    """The guest is here, whatever the network's backend says to that."""
    told.on("activate", status=1)
    with told.host() as host:
        host.plug(coming())
        with pytest.raises(ScriptFailed, match="the backend said no"):
            host.activate(ID)
        record = host.show(ID)
        assert record.state is State.PLUGGED
        assert not record.request.arriving
        assert record.error is not None and "the backend said no" in record.error["message"]
        assert TAP in links()
        assert told.asked() == ["plug", "activate"]  # and nothing was called to go back
        told.on("activate")
        assert host.activate(ID).activated
        assert host.show(ID).error is None
        assert migration(host) is None


@pytest.mark.parametrize("way", ["repair", "plug", "plug as a destination"])
def test_what_comes_next_tells_a_script_again_that_failed(told: World, way: str) -> None:
    told.on("activate", status=1)
    with told.host() as host:
        host.plug(coming())
        with pytest.raises(ScriptFailed):
            host.activate(ID)
        told.on("activate")
        if way == "repair":
            host.repair(ID)
        else:
            host.plug(binding() if way == "plug" else coming())
        assert told.asked()[-1] == "activate"
        assert (migration(host), host.show(ID).error) == (None, None)


# --- plug means the same -------------------------------------------------------------------------


def test_a_plug_that_says_nothing_of_a_migration_activates_under_the_guest(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
        index = links()[TAP].index
        with StandInGuest(TAP, MAC):
            plugged = host.plug(binding())
            assert links()[TAP].carrier
        assert plugged.activated
        assert links()[TAP].index == index
        assert told.asked() == ["plug", "activate"]
        assert not host.plug(binding()).changed


def test_a_plug_with_details_that_changed_meanwhile_updates_and_activates(told: World) -> None:
    told.info(verbs=[*ALL, "update"], update_fields=["details.tag"])
    with told.host() as host:
        host.plug(coming(vif_details={"tag": 1}))
        assert host.plug(binding(vif_details={"tag": 2})).activated
    assert told.asked() == ["plug", "update", "activate"]


def test_a_plug_that_has_to_unplug_first_needs_no_activate(told: World) -> None:
    with told.host() as host:
        host.plug(coming(vif_details={"color": "red"}))
        assert host.plug(binding(vif_details={"color": "blue"})).activated
    assert told.asked() == ["plug", "unplug", "plug"]
    assert told.requests()[-1]["migration"] is None


def test_a_rehearsal_names_the_activate(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
        assert [step.name for step in host.rehearse(binding()).steps if "script" in step.name] == [
            "script activate"
        ]
        assert host.show(ID).request.arriving


# --- a live VIF is not demoted -------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["prepare", "running", "failed"])
def test_a_live_vif_stays_this_host_s_when_it_is_plugged_as_a_destination(told: World, phase: str) -> None:
    with told.host() as host:
        host.plug(binding())
        assert not host.plug(coming(phase)).changed
        assert not host.update(coming(phase)).changed
        assert host.rehearse(coming(phase)).steps == []
        assert not host.show(ID).request.arriving
    assert told.asked() == ["plug"]


def test_phases_of_a_migration_that_goes_on_call_no_script(told: World) -> None:
    with told.host() as host:
        host.plug(coming("prepare"))
        host.plug(coming("running"))
        assert host.show(ID).request.arriving
        assert host.plug(coming("done")).activated
    assert told.asked() == ["plug", "activate"]


def test_another_migration_to_here_begins_anew(told: World) -> None:
    """A VIF that nobody unplugged when its migration failed is expected from the second attempt on."""
    with told.host() as host:
        host.plug(coming())
        first = host.show(ID).changed
        assert not host.plug(coming()).changed
        assert host.show(ID).changed > first
    assert told.asked() == ["plug"]


def test_a_source_is_told_and_stays(told: World) -> None:
    with told.host() as host:
        host.plug(binding())
        host.plug(binding(migration={"role": "source", "phase": "running"}))
        assert not host.activate(ID).changed
        assert not host.show(ID).request.arriving
    assert told.asked() == ["plug"]


# --- given up ------------------------------------------------------------------------------------


def overdue(world: World, patience: float = 0.0) -> Host:
    """A host that waits for no guest."""
    import msgspec

    daemon = msgspec.structs.replace(world.config.daemon, arrival_patience=patience)
    world.config = msgspec.structs.replace(world.config, daemon=daemon)
    return world.host()


def test_gc_unplugs_what_no_guest_came_to(told: World) -> None:
    with overdue(told) as host:
        host.plug(coming())
        host.plug(binding(1))
        report = host.gc()
        assert (report.given_up, report.owing) == ([ID], {})
        assert [record.id for record in host.list()] == [binding(1)["id"]]
    assert ID not in told.ports()


def test_gc_waits_as_long_as_it_is_told_to(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
        assert host.gc().given_up == []
        assert TAP in links()


def test_gc_leaves_a_guest_its_device(told: World) -> None:
    with overdue(told) as host:
        host.plug(coming())
        with StandInGuest(TAP, MAC):
            assert host.gc().given_up == []
            assert host.check(ID).ok
        assert host.gc().given_up == [ID]


def test_what_the_backend_of_one_given_up_refuses_is_owed(told: World) -> None:
    told.on("unplug", status=1)
    with overdue(told) as host:
        host.plug(coming())
        report = host.gc()
        assert report.given_up == [] and "the backend said no" in report.owing[ID]
        assert host.show(ID).state is State.DEBT
        assert links() == {}


@pytest.mark.parametrize(
    ("vif_type", "details"),
    [
        ("vhostuser", {"path": "/run/vhost/a"}),
        ("hostdev", {"pci_slot": "0000:05:00.1"}),
        ("vdpa", {"device": "/dev/vhost-vdpa-0"}),
        ("user", {}),
    ],
)
def test_where_nobody_can_see_whether_a_guest_is_there_nothing_is_given_up(
    told: World, vif_type: str, details: dict[str, Any]
) -> None:
    with overdue(told) as host:
        host.plug(coming(vif_type=vif_type, vif_details=details))
        assert host.gc().given_up == []
        assert told.ports() == {ID}
        (arrival,) = host.recovery.arrivals()
        assert arrival.held is None


@pytest.mark.parametrize("vif_type", ["bridge", "direct"])
def test_a_device_that_libvirt_makes_is_held_while_it_is_there(told: World, vif_type: str) -> None:
    details = {"bridge": {"bridge": "br0"}, "direct": {"source_dev": "br0"}}[vif_type]
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    with overdue(told) as host:
        host.plug(coming(vif_type=vif_type, vif_details=details))
        subprocess.run(["ip", "tuntap", "add", TAP, "mode", "tap"], check=True)
        assert host.gc().given_up == []
        subprocess.run(["ip", "link", "delete", TAP], check=True)
        assert host.gc().given_up == [ID]


@pytest.mark.parametrize(
    ("kind", "given_up"),
    [("tuntap add $VIF_DEVNAME mode tap", [ID]), ("link add $VIF_DEVNAME type bridge", [])],
)
def test_a_device_that_the_script_makes_is_known_to_be_free_if_it_is_a_tap(
    told: World, kind: str, given_up: list[str]
) -> None:
    told.on("plug", do=f"ip {kind}; ip link set $VIF_DEVNAME up")
    told.on("unplug", do="ip link delete $VIF_DEVNAME")
    with overdue(told) as host:
        host.plug(coming(vif_details={"made_by": "script"}))
        assert host.gc().given_up == given_up


def test_a_reboot_ends_every_wait(told: World) -> None:
    with told.host(boot_id="before") as host:
        host.plug(coming())
    subprocess.run(["ip", "link", "delete", TAP], check=True)
    with told.host() as host:
        (arrival,) = host.recovery.arrivals()
        assert host.recovery.give_up(arrival.record).now == "done"
        assert host.list() == []


def test_one_that_is_just_being_plugged_is_expected_and_not_given_up(told: World) -> None:
    """Who looks while it is plugged hears of it, and need not be told a second time."""
    with told.host() as host, told.host() as other:
        told.on("plug", do=f"touch {told.folder}/begun; until [ -e {told.folder}/go ]; do sleep 0.01; done")
        plugging = threading.Thread(target=host.plug, args=(coming(),))
        plugging.start()
        until((told.folder / "begun").exists)
        (arrival,) = other.recovery.arrivals()
        assert other.recovery.give_up(arrival.record).now == "busy"
        (told.folder / "go").touch()
        plugging.join()
        assert other.recovery.give_up(arrival.record).now == "nothing"
        assert other.check(ID).ok


def test_what_came_since_it_was_looked_at_is_not_given_up(told: World) -> None:
    with told.host() as host:
        host.plug(coming())
        (arrival,) = host.recovery.arrivals()
        host.plug(coming())  # another attempt
        assert host.recovery.give_up(arrival.record).now == "nothing"
        (arrival,) = host.recovery.arrivals()
        host.activate(ID)
        assert host.recovery.give_up(arrival.record).now == "nothing"
        assert host.check(ID).ok
