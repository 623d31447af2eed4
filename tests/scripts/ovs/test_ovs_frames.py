"""The plug script openvswitch, called by the host as packaged: guests meet on a real Open vSwitch."""

from __future__ import annotations

import subprocess

import pytest

from scripts.ovs.switch import Switch, guest, port, reaches, tap_of

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def test_guests_on_one_bridge_reach_each_other_until_one_is_unplugged(switch: Switch) -> None:
    host = switch.host()
    one, other = port(1), port(2)
    for binding in (one, other):
        host.plug(binding)
    assert switch.ports() == {tap_of(one), tap_of(other)}

    with guest(one) as here, guest(other) as there:
        assert reaches(here, there)
        assert reaches(there, here)

    host.unplug(other["id"])
    assert switch.ports() == {tap_of(one)}
    assert host.check(one["id"]).ok


def test_a_tag_keeps_guests_apart_and_an_update_brings_them_together(switch: Switch) -> None:
    host = switch.host()
    one, other = port(1, vif_details={"tag": 5}), port(2, vif_details={"tag": 6})
    for binding in (one, other):
        host.plug(binding)

    with guest(one) as here, guest(other) as there:
        assert not reaches(here, there, timeout=0.5)

        host.update(port(2, vif_details={"tag": 5}))
        assert reaches(here, there)
        assert host.check(other["id"]).ok


def test_a_plug_again_does_not_disturb_the_port(switch: Switch) -> None:
    host = switch.host()
    one, other = port(1), port(2)
    for binding in (one, other):
        host.plug(binding)
    before = switch.row("Interface", tap_of(one))

    with guest(one) as here, guest(other) as there:
        host.plug(one, refresh=True)
        assert reaches(here, there)

    after = switch.row("Interface", tap_of(one))
    assert before is not None
    assert after is not None
    assert (after["_uuid"], after["ofport"]) == (before["_uuid"], before["ofport"])


@pytest.mark.parametrize("meanwhile", ["quickly", "noticed by the switch"])
def test_a_port_that_outlived_its_tap_works_with_the_new_one(switch: Switch, meanwhile: str) -> None:
    host = switch.host()
    one, other = port(1), port(2)
    for binding in (one, other):
        host.plug(binding)
    ip(f"link del {tap_of(one)}")
    if meanwhile == "noticed by the switch":
        switch.vsctl("wait-until", "Interface", tap_of(one), "ifindex=0")

    assert not host.check(one["id"]).ok
    host.plug(one, refresh=True)

    assert host.check(one["id"]).ok
    with guest(one) as here, guest(other) as there:
        assert reaches(here, there)
