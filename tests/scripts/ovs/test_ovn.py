"""The plug script ovn with a real OVN: ovn-northd, its databases, and ovn-controller on this host."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scripts.ovs.switch import OvnHost, Switch, guest, port, reaches, tap_of

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

ONE, OTHER = port(1, "ovn"), port(2, "ovn")
TAP = tap_of(ONE)


def logical_port(ovn: OvnHost, binding: dict[str, Any]) -> None:
    ovn.logical_port(binding["id"], binding["address"], f"10.0.0.{int(binding['address'][-2:], 16)}")


@pytest.fixture
def tap(ovn: OvnHost) -> str:
    subprocess.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"], check=True)
    subprocess.run(["ip", "link", "set", TAP, "up"], check=True)
    return TAP


def installed(ovn: OvnHost) -> bool:
    interface = ovn.row("Interface", TAP)
    return interface is not None and interface["external_ids"].get("ovn-installed") == "true"


def migrating(role: str, phase: str) -> dict[str, Any]:
    return {**ONE, "migration": {"role": role, "phase": phase}}


def test_guests_on_a_logical_switch_reach_each_other_as_soon_as_they_are_plugged(ovn: OvnHost) -> None:
    host = ovn.host()
    for binding in (ONE, OTHER):
        logical_port(ovn, binding)
        host.plug(binding)

    with guest(ONE) as here, guest(OTHER) as there:
        assert reaches(here, there)
        assert reaches(there, here)
    assert host.check(ONE["id"]).ok

    host.unplug(ONE["id"])
    assert ovn.ports() == {tap_of(OTHER)}
    ovn.nbctl("wait-until", "Logical_Switch_Port", ONE["id"], "up=false")


def test_a_plug_waits_until_the_flows_are_installed(ovn: OvnHost, tap: str) -> None:
    logical_port(ovn, ONE)

    outcome = ovn.call("plug", ONE)

    assert outcome.error is None
    assert len(outcome.calls) == 1
    assert installed(ovn)


def test_a_plug_waits_for_a_logical_port_that_is_made_meanwhile(ovn: OvnHost, tap: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        plugging = pool.submit(ovn.call, "plug", ONE)
        ovn.until(TAP, lambda _: True)
        logical_port(ovn, ONE)
        outcome = plugging.result()

    assert [call.outcome for call in outcome.calls] == ["done"]
    assert installed(ovn)


@pytest.mark.slow
def test_a_logical_port_that_comes_too_late_is_named_and_the_next_plug_finds_it(
    ovn: OvnHost, tap: str
) -> None:
    error = ovn.call("plug", ONE, seconds=0.6).error
    assert error is not None
    assert error.code == "retry_later"
    assert (
        f"ovn-controller has not installed the flows of logical port {ONE['id']}: is there a logical switch port"
        in error.message
    )

    logical_port(ovn, ONE)
    ovn.done("plug", ONE)
    assert installed(ovn)


@pytest.mark.slow
def test_a_controller_that_stands_still_is_named_when_the_deadline_is_near(ovn: OvnHost, tap: str) -> None:
    logical_port(ovn, ONE)
    ovn.stop("controller")

    error = ovn.call("plug", ONE, seconds=0.5).error

    assert error is not None
    assert error.code == "retry_later"
    assert "is ovn-controller running? (waited 0.3" in error.message
    ovn.done("unplug", ONE)
    assert ovn.ports() == set()


@pytest.mark.slow
def test_check_notices_flows_that_are_gone(ovn: OvnHost, tap: str) -> None:
    logical_port(ovn, ONE)
    ovn.done("plug", ONE)
    assert ovn.done("check", ONE) == {"ok": True}

    ovn.nbctl("lsp-del", ONE["id"])
    ovn.until(TAP, lambda interface: "ovn-installed" not in interface["external_ids"])

    drift = ovn.done("check", ONE)["drift"]
    assert [(each["what"], each["expected"]) for each in drift] == [(f"port {TAP}", "ready")]
    assert "ovn-controller has not installed the flows" in drift[0]["found"]


def test_the_destination_of_a_migration_is_plugged_before_ovn_has_the_port_there(
    ovn: OvnHost, tap: str
) -> None:
    """Until the guest moves, its logical port is bound to the source."""
    prepared = migrating("destination", "prepare")
    ovn.done("plug", prepared)
    assert not installed(ovn)
    assert ovn.done("check", prepared) == {"ok": True}

    logical_port(ovn, ONE)
    ovn.done("activate", migrating("destination", "done"))
    assert installed(ovn)


@pytest.mark.slow
def test_an_activate_without_a_port_fails(ovn: OvnHost) -> None:
    error = ovn.call("activate", ONE).error

    assert error is not None
    assert f"Open vSwitch on this host has no port with the iface-id {ONE['id']}" in error.message


@pytest.mark.slow
def test_the_integration_bridge_is_ovns_own(ovn: OvnHost, tap: str) -> None:
    logical_port(ovn, ONE)
    ovn.vsctl("add-br", "br-ovn", "--", "set", "bridge", "br-ovn", "datapath_type=netdev")
    ovn.vsctl("set", "open_vswitch", ".", "external_ids:ovn-bridge=br-ovn")

    ovn.done("plug", ONE)

    assert (ovn.ports("br-ovn"), TAP in ovn.ports()) == ({TAP}, False)


def test_a_host_without_ovn_is_said_so_at_once(switch: Switch) -> None:
    error = switch.call("plug", ONE).error

    assert error is not None
    assert error.code == "backend_unavailable"
    assert "OVN is not set up on this host: Open vSwitch has no external_ids:ovn-remote" in error.message
