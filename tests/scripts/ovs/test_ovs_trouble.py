"""Open vSwitch that is not there, restarts, or cannot: what the plug script says of it."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from msgspec import structs

from scripts.ovs.switch import Switch, port, tap_of
from vifplug.errors import VifplugError
from vifplug.script.runner import Call

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

ONE = port(1)
TAP = tap_of(ONE)


@pytest.fixture
def tap(switch: Switch) -> str:
    subprocess.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"], check=True)
    return TAP


def failure(switch: Switch, verb: str = "plug", *, seconds: float = 10.0) -> VifplugError:
    error = switch.call(verb, ONE, seconds=seconds).error
    assert error is not None
    return error


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["plug", "unplug", "check"])
def test_a_database_that_is_not_there_is_an_unavailable_backend(switch: Switch, verb: str) -> None:
    switch.stop_all()

    error = failure(switch, verb, seconds=0.3)

    assert error.code == "backend_unavailable"
    assert f"OVSDB at {switch.remote} does not answer: " in error.message
    assert "is Open vSwitch running on this host?" in error.message


def test_a_switch_that_does_not_run_is_said_before_anything_is_written(switch: Switch, tap: str) -> None:
    switch.stop("vswitchd")

    error = failure(switch, seconds=0.3)

    assert (error.code, switch.ports()) == ("backend_unavailable", set())
    assert "ovs-vswitchd is not running on this host" in error.message


@pytest.mark.slow
def test_patience_ends_long_before_the_deadline(switch: Switch, tap: str) -> None:
    switch.stop("vswitchd")

    outcome = switch.call("plug", ONE, seconds=60.0)

    assert outcome.error is not None
    assert [call.outcome for call in outcome.calls] == ["backend_unavailable"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [["vswitchd"], ["vswitchd", "conf"]])
def test_a_switch_that_restarts_meanwhile_is_waited_for(switch: Switch, tap: str, stopped: list[str]) -> None:
    for name in stopped:
        switch.stop(name)

    def restart(call: Call) -> None:
        if call.attempt == 1:
            if "conf" in stopped:
                switch.start_database()
            switch.start_switch()

    outcome = switch.call("plug", ONE, on_call=restart)

    assert outcome.error is None
    assert [call.outcome for call in outcome.calls] == ["backend_unavailable", "done"]
    assert switch.ports() == {TAP}


def test_a_switch_that_hangs_costs_no_more_than_the_deadline(switch: Switch, tap: str) -> None:
    switch.send("vswitchd", signal.SIGSTOP)

    error = failure(switch, seconds=0.5)

    assert error.code == "retry_later"
    assert f"ovs-vswitchd has not taken port {TAP} over" in error.message
    switch.send("vswitchd", signal.SIGCONT)


def test_an_unplug_needs_the_database_alone(switch: Switch, tap: str) -> None:
    switch.done("plug", ONE)
    switch.stop("vswitchd")

    switch.done("unplug", ONE)

    assert switch.ports() == set()


def test_the_switchs_own_word_is_passed_on_and_nothing_is_left(switch: Switch) -> None:
    """There is no tap of that name."""
    error = failure(switch)

    assert error.code == "failed"
    assert (
        f"Open vSwitch cannot use port {TAP}: could not open network device {TAP} (No such device)"
        in error.message
    )
    switch.done("unplug", ONE)
    assert switch.ports() == set()


def test_a_missing_bridge_is_said_by_name(switch: Switch, tap: str) -> None:
    error = switch.call("plug", port(1, vif_details={"bridge": "br-none"})).error

    assert error is not None
    assert error.code == "backend_unavailable"
    assert (
        "Open vSwitch has no bridge br-none on this host: make it, or set vif_details.create_bridge"
        in error.message
    )


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        (port(1, vif_details={"tag": 4096}), "vif_details.tag must be at most 4095"),
        (port(1, vif_details={"trunks": [1, -1]}), "vif_details.trunks must be at least 0"),
        (port(1, vif_details={"made_by": "script"}), 'made_by is "script", but this script joins a tap'),
        (
            port(1, vif_type="hostdev", vif_details={"pci_slot": "0000:99:00.0"}),
            "pci_slot 0000:99:00.0 is no virtual",
        ),
        (port(1, vif_type="vdpa"), "pci_slot is missing"),
        (
            port(1, vif_type="vdpa", vif_details={"hybrid": True}),
            "hybrid is for VIFs of type ethernet and bridge",
        ),
    ],
)
def test_details_that_cannot_be_are_refused(switch: Switch, binding: dict[str, object], words: str) -> None:
    error = switch.call("plug", binding).error

    assert error is not None
    assert error.code == "bad_details"
    assert words in error.message
    switch.done("unplug", binding)
    assert switch.ports() == set()


@pytest.mark.real_root
def test_a_database_of_another_users_is_reached_with_the_capability_for_it(switch: Switch, tap: str) -> None:
    """On some systems Open vSwitch runs as a user of its own."""
    os.chown(switch.folder / "db.sock", 65534, 65534)
    (switch.folder / "db.sock").chmod(0o700)

    error = failure(switch, seconds=0.3)
    assert error.code == "backend_unavailable"
    assert (
        "Permission denied (where it runs as another user, grant this script CAP_DAC_OVERRIDE)"
        in error.message
    )

    settings = switch.config.script["openvswitch"]
    granted = ["CAP_DAC_OVERRIDE"]
    switch.config = structs.replace(
        switch.config, script={"openvswitch": structs.replace(settings, capabilities=granted)}
    )
    switch.done("plug", ONE)
    assert switch.ports() == {TAP}
