"""VIFs and their devices: each trouble is made for real."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from doctored import Patient
from vifplug.config import Trust
from vifplug.errors import VifplugError
from vifplug.host import Host
from vifplug.probe import StandInGuest
from world import ID, TAP, World, binding


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _ledger(world: World, sql: str) -> None:
    with closing(sqlite3.connect(Path(world.config.state_dir) / "ledger.db")) as connection:
        connection.execute(sql)
        connection.commit()


@pytest.fixture
def plugged(world: World) -> World:
    with world.host() as host:
        host.plug(binding())
    return world


def test_a_host_with_a_plugged_vif_is_well(patient: Patient, plugged: World) -> None:
    found = patient.look("vifs")
    assert found.is_well()
    assert "every device on record is there (1)" in [finding.found for finding in found.all]


def test_a_host_that_never_plugged_is_well_and_stays_as_it_is(patient: Patient, world: World) -> None:
    assert patient.look("vifs").is_well()
    assert not Path(world.config.state_dir).exists()


def test_a_debt_is_told_with_its_reason(patient: Patient, plugged: World) -> None:
    plugged.on("unplug", status=3)
    with plugged.host() as host, pytest.raises(VifplugError):
        host.unplug(ID)
    debt = patient.look("debts").one("warning")
    assert debt.items == [ID] and "the backend said no" in debt.found and "vifplug gc" in debt.do
    plugged.on("unplug")
    with plugged.host() as host:
        host.gc()
    assert patient.look("debts").is_well()


def test_vifs_that_a_reboot_took_are_told(patient: Patient, world: World) -> None:
    with Host(world.config, boot_id="another-boot") as host:
        host.plug(binding())
    assert patient.look("lost").one("warning").items == [ID]
    assert patient.look("missing-devices").at("problem") == []


def test_a_verb_that_never_ended_is_told_when_it_is_old(patient: Patient, plugged: World) -> None:
    _ledger(plugged, "UPDATE vif SET state = 'unplugging'")
    now = patient.look("unfinished").only
    assert now.level == "note" and now.items == [ID]
    _ledger(plugged, "UPDATE vif SET changed = changed - 3600")
    assert "vifplug recover" in patient.look("unfinished").one("warning").do
    with plugged.host() as host:
        host.recover()
    assert patient.look("unfinished").is_well()


def test_a_device_that_somebody_removed_is_a_problem(patient: Patient, plugged: World) -> None:
    _ip("link", "delete", TAP)
    gone = patient.look("missing-devices").one("problem")
    assert gone.items == [ID] and TAP in gone.found


def test_a_guest_that_is_long_in_coming_is_told_of(patient: Patient, plugged: World) -> None:
    assert patient.look("arrivals").is_well()
    with plugged.host() as host:
        host.plug(binding(1, migration={"role": "destination", "phase": "prepare"}))
    assert patient.look("arrivals").is_well()
    impatient = structs.replace(plugged.config.daemon, arrival_patience=0.0)
    found = patient.look("arrivals", daemon=impatient).one("warning")
    assert found.items == [binding(1)["id"]]
    assert "vifplug activate" in found.do
    with plugged.host() as host:
        host.activate(binding(1)["id"])
    assert patient.look("arrivals", daemon=impatient).is_well()


def test_a_device_that_lost_its_record_is_told_and_gc_removes_it(patient: Patient, plugged: World) -> None:
    _ledger(plugged, "DELETE FROM vif")
    told = patient.look("unowned-devices").one("warning")
    assert told.items == [TAP] and told.do == "vifplug gc"
    with plugged.host() as host:
        assert host.gc().devices == [TAP]
    assert patient.look("unowned-devices").is_well()


def test_a_device_with_the_mark_of_another_ledger_is_told(patient: Patient, plugged: World) -> None:
    other = structs.replace(plugged.config, state_dir=str(plugged.folder / "other"))
    with Host(other) as host:
        host.plug(binding(7))
    told = patient.look("unowned-devices").one("warning")
    assert told.items == [f"tap{binding(7)['id'][:11]}"] and "another ledger" in told.found


def test_a_tap_that_nobody_has_open_is_told(patient: Patient, netns: None) -> None:
    _ip("tuntap", "add", "dev", "tapforgotten", "mode", "tap")
    _ip("link", "set", "tapforgotten", "up")
    assert patient.look("idle-taps").only.items == ["tapforgotten"]
    with StandInGuest("tapforgotten", "fa:16:3e:00:00:09", []):
        assert patient.look("idle-taps").is_well()
        _ip("link", "set", "tapforgotten", "down")  # no carrier, yet a process has it
        assert patient.look("idle-taps").is_well()


def test_a_bridge_of_a_script_without_guests_is_told(patient: Patient, netns: None) -> None:
    _ip("link", "add", "vxbr7", "group", "1986814578", "type", "bridge")
    _ip("link", "add", "vxlan7", "master", "vxbr7", "type", "vxlan", "id", "7", "dstport", "4789")
    _ip("link", "add", "theirs", "type", "bridge")
    assert patient.look("empty-bridges").only.items == ["vxbr7"]
    _ip("tuntap", "add", "dev", "tapguest", "mode", "tap")
    _ip("link", "set", "tapguest", "master", "vxbr7")
    assert (
        patient.look("empty-bridges").only.items == ["vxbr7"] == patient.look("empty-bridges").one("ok").items
    )


def test_the_bridge_of_a_packaged_script_is_known_for_one(patient: Patient, world: World) -> None:
    packaged = structs.replace(world.config, trust=Trust(directories=[], allow=[], packaged=True))
    details = {"vni": 7, "remotes": ["192.0.2.1"]}
    with Host(packaged) as host:
        host.plug(binding(script="vxlan-bridge", vif_details=details))
        assert patient.look("empty-bridges").one("ok").items == ["vxbr7"]
        _ip("link", "delete", TAP)
        assert patient.look("empty-bridges").only.level == "note"
        host.unplug(ID)
    assert patient.look("empty-bridges").one("ok").items == []


# --- MTU -----------------------------------------------------------------------------------------


def _bridged(world: World, mtu: int) -> None:
    _ip("link", "add", "br0", "type", "bridge")
    _ip("link", "add", "uplink", "type", "veth", "peer", "name", "far")
    _ip("link", "set", "uplink", "master", "br0")
    world.on("plug", do="ip link set dev $VIF_DEVNAME master br0")
    with world.host() as host:
        host.plug(binding(mtu=mtu))


def test_an_mtu_that_fits_is_well(patient: Patient, world: World) -> None:
    _bridged(world, 1500)
    assert "1 VIF fits" in patient.look("mtu").one("ok").found


def test_a_vif_with_a_larger_mtu_than_the_way_out_is_told(patient: Patient, world: World) -> None:
    _bridged(world, 9000)
    told = {finding.found.split()[0]: finding for finding in patient.look("mtu").at("warning")}
    assert set(told) == {"br0", "uplink"}
    assert told["uplink"].items == [f"{TAP} (9000)"] and "ip link set dev uplink mtu" in told["uplink"].do
    _ip("link", "set", "uplink", "mtu", "9000")
    _ip("link", "set", "br0", "mtu", "9000")
    assert patient.look("mtu").is_well()


# --- what cannot be seen -------------------------------------------------------------------------


def test_a_damaged_ledger_is_said_once_and_the_others_say_that_they_saw_nothing(
    patient: Patient, plugged: World
) -> None:
    Path(plugged.config.state_dir, "ledger.db").write_bytes(b"no database" * 1000)
    damaged = patient.look("ledger").one("problem")
    assert "damaged" in damaged.found and "cp -a" in damaged.do
    found = patient.look("vifs")
    assert found.at("problem") == [] and all("cannot be read" in told for told in found.unseen())
    assert len(found.unseen()) >= 4


def test_the_ledger_is_not_changed_by_a_look(patient: Patient, plugged: World) -> None:
    path = Path(plugged.config.state_dir)
    before = {name: (path / name).stat().st_mtime_ns for name in ("ledger.db", "locks")}
    patient.look("vifs", "state")
    assert before == {name: (path / name).stat().st_mtime_ns for name in before}
    assert {file.name for file in path.iterdir()} <= {"ledger.db", "ledger.db-shm", "ledger.db-wal", "locks"}
