"""libvirt and QEMU: those of this host, and stand-ins for other versions of them."""

from __future__ import annotations

import platform
import subprocess

import pytest

from doctored import Patient
from world import World, binding

_LIBRARY = f"/usr/lib/{platform.machine()}-linux-gnu"


def _installed(patient: Patient, version: str) -> None:
    major, minor, micro = (int(part) for part in version.split("."))
    patient.write(f"{_LIBRARY}/libvirt.so.0.{major * 1000 + minor}.{micro}", "")


def _running(patient: Patient, version: str) -> None:
    patient.write("/run/libvirt/libvirt-sock-ro", "")
    patient.program("virsh", f"Using library: libvirt {version}\nRunning against daemon: {version}\n")


# --- those of this host --------------------------------------------------------------------------


def test_libvirt_of_this_host_has_the_version_that_virsh_tells(patient: Patient) -> None:
    version = subprocess.run(
        ["virsh", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert f"libvirt {version} is installed" in patient.look("libvirt").one("ok").found


@pytest.mark.slow
def test_qemu_of_this_host_is_found(patient: Patient) -> None:
    assert "is version " in patient.look("qemu").one("ok").found


# --- stand-ins -----------------------------------------------------------------------------------


def test_a_host_without_libvirt_and_qemu_is_noted(elsewhere: Patient) -> None:
    assert "no libvirt" in elsewhere.look("libvirt").only.found
    assert elsewhere.look("managed-default").all == []
    assert "no qemu" in elsewhere.look("qemu").only.found


def test_a_running_libvirt_is_asked_by_a_stand_in(elsewhere: Patient) -> None:
    _running(elsewhere, "10.0.0")
    assert "libvirt 10.0.0 runs" in elsewhere.look("libvirt").one("ok").found


def test_a_daemon_older_than_its_library_is_a_warning_by_a_stand_in(elsewhere: Patient) -> None:
    _running(elsewhere, "8.0.0")
    _installed(elsewhere, "9.0.0")
    warned = elsewhere.look("libvirt").one("warning")
    assert "8.0.0 runs, 9.0.0 is installed" in warned.found and "restart" in warned.do


@pytest.mark.parametrize(
    ("version", "level", "missing"),
    [
        ("4.10.0", "problem", "managed='no'"),
        ("5.7.0", "ok", "vdpa"),
        ("6.9.0", "ok", "passt"),
        ("9.0.0", "ok", "by device"),
        ("9.5.0", "ok", None),
    ],
)
def test_what_an_older_libvirt_does_not_know_is_told_of_a_file_name(
    elsewhere: Patient, version: str, level: str, missing: str | None
) -> None:
    _installed(elsewhere, version)
    found = elsewhere.look("libvirt")
    assert f"libvirt {version}" in found.one(level).found
    notes = found.at("note")
    assert [missing in note.found for note in notes] == [True] if missing else notes == []


@pytest.mark.parametrize(("version", "level"), [("9.4.0", "ok"), ("9.5.0", "note"), ("11.2.0", "note")])
def test_what_libvirt_takes_taps_for_is_told_of_a_file_name(
    elsewhere: Patient, version: str, level: str
) -> None:
    _installed(elsewhere, version)
    found = elsewhere.look("managed-default").only
    assert found.level == level and "managed='no'" in found.found
    assert level == "ok" or "2033681" in found.why


def test_the_newest_library_counts(elsewhere: Patient) -> None:
    _installed(elsewhere, "9.10.0")
    _installed(elsewhere, "9.9.0")
    assert "9.10.0" in elsewhere.look("libvirt").one("ok").found


@pytest.mark.parametrize(
    ("said", "found"),
    [("QEMU emulator version 4.2.1 (x)", "4.2.1"), ("QEMU emulator version 9.0.50", "9.0.50")],
)
def test_qemus_version_is_read_of_a_stand_in(elsewhere: Patient, said: str, found: str) -> None:
    elsewhere.program(f"qemu-system-{platform.machine()}", said)
    elsewhere.write("/dev/kvm", "")
    told = elsewhere.look("qemu")
    assert found in told.one("ok").found
    assert bool(told.at("note")) is (found == "4.2.1")


def test_a_qemu_that_tells_nothing_is_not_seen_by_a_stand_in(elsewhere: Patient) -> None:
    elsewhere.program("qemu-kvm", "")
    assert "does not tell a version" in elsewhere.look("qemu").unseen()[0]


def test_passt_is_missed_by_vifs_that_use_it(patient: Patient, world: World, elsewhere: Patient) -> None:
    assert elsewhere.look("passt").only.level == "note"
    elsewhere.program("passt", "")
    assert elsewhere.look("passt").is_well()
    with world.host() as host:
        host.plug(binding(vif_type="user", script=None, vif_details={"backend": "passt"}))
    without = Patient(world.config, elsewhere.root.parent)
    assert without.look("passt").only.level == "note"  # another host's record
    (without.root / world.config.state_dir.lstrip("/")).parent.mkdir(parents=True)
    (without.root / world.config.state_dir.lstrip("/")).symlink_to(world.config.state_dir)
    assert "VIFs of type user are on record" in without.look("passt").one("warning").found
