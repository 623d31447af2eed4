"""The plug script midonet with a stand-in for mm-ctl, which ends and prints as MidoNet's MmCtl.java does."""

from __future__ import annotations

import pytest

from vendor import Vendor
from vendor_commands import MM_CTL
from vifplug.errors import BackendUnavailable, ScriptFailed
from vifplug.host.results import State
from world import ID, TAP, World

AWAY = "echo 'State configuration error' >&2; exit 3"
BIND = ["mm-ctl", "--bind-port", ID, TAP]
UNBIND = ["mm-ctl", "--unbind-port", ID]
LIST = ["mm-ctl", "--list-hosts"]


@pytest.fixture
def midonet(world: World) -> Vendor:
    vendor = Vendor(world, "midonet")
    vendor.command("mm-ctl", MM_CTL)
    return vendor


def test_it_runs_what_nova_ran(midonet: Vendor) -> None:
    host = midonet.host()
    host.plug(midonet.binding())
    assert midonet.calls() == [BIND]

    host.unplug(ID)
    assert midonet.calls() == [UNBIND]


def test_plug_and_unplug_twice_are_as_good_as_once(midonet: Vendor) -> None:
    for _ in range(2):
        assert midonet.call("plug", midonet.binding()).error is None
        assert midonet.calls() == [BIND]
    for _ in range(2):
        assert midonet.call("unplug", midonet.binding()).error is None
    assert midonet.calls() == [UNBIND, UNBIND, LIST]


def test_a_plug_without_midonet_says_so_and_leaves_nothing(midonet: Vendor) -> None:
    midonet.before("mm-ctl", f'[ "$1" != --bind-port ] || {{ {AWAY}; }}')

    with pytest.raises(BackendUnavailable, match="mm-ctl cannot reach MidoNet: State configuration error"):
        midonet.host().plug(midonet.binding())

    assert midonet.calls() == [BIND, UNBIND, LIST]
    assert midonet.host().list() == []


def test_a_refused_bind_fails_with_its_words(midonet: Vendor) -> None:
    midonet.before("mm-ctl", '[ "$1" != --bind-port ] || { echo Command failed >&2; exit 255; }')

    outcome = midonet.call("plug", midonet.binding())

    assert isinstance(outcome.error, ScriptFailed)
    assert f"mm-ctl does not bind port {ID}: Command failed" in outcome.error.message


def test_an_unplug_without_midonet_stays_on_record_until_it_is_back(midonet: Vendor) -> None:
    host = midonet.host()
    host.plug(midonet.binding())
    midonet.before("mm-ctl", AWAY)

    with pytest.raises(BackendUnavailable):
        host.unplug(ID)
    assert host.show(ID).state is State.DEBT

    midonet.before("mm-ctl", None)
    host.unplug(ID)
    assert host.list() == []


def test_check_tells_a_binding_that_went_and_one_to_another_device(midonet: Vendor) -> None:
    binding = midonet.binding()
    midonet.host().plug(binding)
    assert midonet.call("check", binding).reply in ({}, {"ok": True})

    (midonet.place / f"port-{ID}").write_text("tap-other\n")
    (drift,) = midonet.call("check", binding).reply["drift"]
    assert drift["expected"] == TAP
    assert "tap-other" in drift["found"]

    (midonet.place / f"port-{ID}").unlink()
    (drift,) = midonet.call("check", binding).reply["drift"]
    assert drift["found"] is None


def test_without_mm_ctl_the_error_names_it(midonet: Vendor) -> None:
    (midonet.place / "bin" / "mm-ctl").unlink()

    outcome = midonet.call("plug", midonet.binding())

    assert isinstance(outcome.error, BackendUnavailable)
    assert "mm-ctl" in outcome.error.message
