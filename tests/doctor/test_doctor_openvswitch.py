"""Open vSwitch and OVN: real daemons, with what can go wrong with them."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

import vifplug.doctor.switch
from doctored import Patient
from scripts.ovs.switch import OvnHost, Switch
from world import World

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path


@pytest.fixture
def switch(world: World) -> Iterator[Switch]:
    switch = Switch(world)
    try:
        switch.up()
        yield switch
    finally:
        switch.stop_all()


def test_a_host_without_it_is_well(elsewhere: Patient) -> None:
    assert "not installed" in elsewhere.look("openvswitch").one("ok").found


def test_one_that_is_installed_and_does_not_run_is_noted(elsewhere: Patient) -> None:
    elsewhere.program("ovs-vswitchd", "")
    assert "does not run" in elsewhere.look("openvswitch").one("note").found


def test_a_running_switch_is_well_but_for_its_fail_mode(switch: Switch) -> None:
    patient = Patient(switch.config)
    found = patient.look("openvswitch")
    assert found.at("problem") == []
    assert "Open vSwitch 3.1" in patient.look("ovsdb").one("ok").found
    warned = found.one("warning")
    assert "br-int has fail_mode standalone" in warned.found
    assert warned.do.startswith("ovs-vsctl ")
    switch.vsctl(*warned.do.split()[1:])
    assert patient.look("openvswitch").is_well()


def test_a_missing_integration_bridge_is_noted(switch: Switch) -> None:
    switch.vsctl("del-br", "br-int")
    assert (
        "there is no bridge br-int; there are: none"
        in Patient(switch.config).look("ovs-bridges").one("note").found
    )


def test_a_port_whose_device_is_gone_is_told_and_the_remedy_removes_it(switch: Switch) -> None:
    switch.vsctl("set-fail-mode", "br-int", "secure")
    switch.vsctl("add-port", "br-int", "tapgone")
    switch.until("tapgone", lambda row: bool(row["error"]))
    warned = Patient(switch.config).look("stale-ports").one("warning")
    assert warned.items == ["tapgone"]
    switch.vsctl(*warned.do.split()[1:])
    assert Patient(switch.config).look("stale-ports").is_well()


def test_a_port_with_another_fault_is_told_with_it(switch: Switch) -> None:
    switch.vsctl("add-port", "br-int", "odd", "--", "set", "interface", "odd", "type=nosuchtype")
    switch.until("odd", lambda row: bool(row["error"]))
    warned = Patient(switch.config).look("stale-ports").one("warning")
    assert warned.items == ["odd"] and "out of order" in warned.found


def test_a_switch_that_does_not_follow_its_database_is_a_problem(switch: Switch) -> None:
    switch.stop("vswitchd", signal.SIGKILL)
    switch.vsctl("--no-wait", "add-br", "br-late")
    switch.run("ovs-vsctl", f"--db={switch.remote}", "--no-wait", "set", "open_vswitch", ".", "next_cfg=99")
    assert "does not follow" in Patient(switch.config).look("ovsdb").one("problem").found


def test_an_empty_database_is_a_problem(world: World) -> None:
    switch = Switch(world)
    try:
        switch.start_database()
        assert "it is empty" in Patient(switch.config).look("openvswitch").one("problem").found
    finally:
        switch.stop_all()


def test_a_socket_that_nobody_serves_is_a_problem(switch: Switch) -> None:
    switch.stop("vswitchd")
    switch.stop("conf", signal.SIGKILL)
    assert "does not answer" in Patient(switch.config).look("openvswitch").one("problem").found


def test_a_server_that_says_nothing_is_a_problem_by_a_stand_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vifplug.doctor.switch, "_PATIENCE", 0.2)
    folder = world.folder / "ovs"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "db.sock"))
        listener.listen()
        patient = Patient(world.config, folder)
        (folder / "var/run").mkdir(parents=True)
        (folder / "var/run/openvswitch").symlink_to(folder)
        found = patient.look("ovsdb")
    assert "does not answer within" in found.one("problem").found


# --- OVN -----------------------------------------------------------------------------------------


def test_a_switch_without_ovn_is_well(switch: Switch) -> None:
    assert "OVN is not used" in Patient(switch.config).look("ovn").one("ok").found


@pytest.mark.slow
def test_a_host_of_ovns_is_well_until_its_controller_or_its_settings_go(world: World) -> None:
    ovn = OvnHost(world)
    try:
        ovn.up()
        patient = Patient(ovn.config)
        assert "ovn-controller runs" in patient.look("ovn").one("ok").found
        ovn.vsctl("remove", "open_vswitch", ".", "external-ids", "ovn-encap-ip")
        missing = patient.look("ovn").one("problem")
        assert missing.items == ["ovn-encap-ip"] and "external-ids:ovn-encap-ip=VALUE" in missing.do
    finally:
        ovn.stop_all()


def test_a_controller_that_does_not_run_is_a_problem(switch: Switch, world: World) -> None:
    switch.vsctl("set", "open_vswitch", ".", "external-ids:ovn-remote=tcp:192.0.2.1:6642")
    root = world.folder / "root"
    (root / "proc").mkdir(parents=True)  # a host of files without processes, and the real database
    (root / "var/run").mkdir(parents=True)
    (root / "var/run/openvswitch").symlink_to(switch.folder)
    found = Patient(world.config, root).look("ovn")
    assert {"OVN is not told" in one.found for one in found.at("problem")} == {True, False}
    assert any("ovn-controller does not run" in one.found for one in found.at("problem"))
