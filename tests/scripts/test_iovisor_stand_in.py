"""The plug script iovisor with a stand-in for PLUMgrid's ifc_ctl, which can be had nowhere any more.

That it prints nothing on success, and where the list of its interfaces lies, is from PLUMgrid's own
installer (update_gw_ifc.sh); the commands are those of Nova.
"""

from __future__ import annotations

import pytest

from vendor import MAC, NETWORK, PROJECT, Vendor
from vendor_commands import IFC_CTL
from vifplug.errors import BackendUnavailable, BadDetails, ScriptFailed
from vifplug.host.results import State
from world import ID, TAP, World

GATEWAY = ["ifc_ctl", "gateway"]
ADD = [*GATEWAY, "add_port", TAP]
UP = [*GATEWAY, "ifup", TAP, "access_vm", f"blue_{ID}", MAC, f"pgtag2={NETWORK}", f"pgtag1={PROJECT}"]
DOWN = [*GATEWAY, "ifdown", TAP, "access_vm", f"blue_{ID}", MAC]
DELETE = [*GATEWAY, "del_port", TAP]


@pytest.fixture
def iovisor(world: World) -> Vendor:
    vendor = Vendor(world, "iovisor")
    vendor.command("ifc_ctl", IFC_CTL)
    vendor.environment["IFC_LIST_GATEWAY"] = str(vendor.place / "ifc_list_gateway")
    (vendor.place / "ifc_list_gateway").touch()
    return vendor


def interfaces(vendor: Vendor) -> str:
    return (vendor.place / "ifc_list_gateway").read_text()


def test_it_runs_what_nova_ran(iovisor: Vendor) -> None:
    host = iovisor.host()
    host.plug(iovisor.binding())
    assert iovisor.calls() == [ADD, UP]

    host.unplug(ID)
    assert iovisor.calls() == [DOWN, DELETE]


def test_without_a_network_name_the_port_is_labelled_by_its_id(iovisor: Vendor) -> None:
    """As Nova did from 2018 on; a Neutron port does not tell the network's name."""
    iovisor.call("plug", iovisor.binding(network={"id": NETWORK}))

    assert iovisor.calls()[1][5] == ID


def test_plug_again_ends_with_the_port_up(iovisor: Vendor) -> None:
    for _ in range(2):
        assert iovisor.call("plug", iovisor.binding()).error is None
        assert interfaces(iovisor) == f"{TAP} = up\n"
    assert iovisor.calls() == [ADD, UP, ADD, DOWN, DELETE, ADD, UP]


def test_unplug_again_and_of_the_unknown_succeeds(iovisor: Vendor) -> None:
    iovisor.call("plug", iovisor.binding())
    for _ in range(2):
        assert iovisor.call("unplug", iovisor.binding()).error is None
        assert interfaces(iovisor) == ""


def test_a_plug_cut_short_after_add_port_is_undone(iovisor: Vendor) -> None:
    iovisor.before("ifc_ctl", '[ "$2" != ifup ] || { echo "ERROR: director unreachable"; exit 0; }')

    with pytest.raises(ScriptFailed, match=f"ifc_ctl gateway ifup {TAP}: ERROR: director unreachable"):
        iovisor.host().plug(iovisor.binding())

    assert interfaces(iovisor) == ""
    assert iovisor.host().list() == []


def test_a_plug_killed_after_add_port_is_finished_by_the_next(iovisor: Vendor) -> None:
    (iovisor.place / "ifc_list_gateway").write_text(f"{TAP} = added\n")

    assert iovisor.call("plug", iovisor.binding()).error is None
    assert interfaces(iovisor) == f"{TAP} = up\n"


@pytest.mark.parametrize("how", ["exit 1", "echo ERROR; exit 0"])
def test_a_failed_del_port_of_a_known_port_stays_on_record(iovisor: Vendor, how: str) -> None:
    host = iovisor.host()
    host.plug(iovisor.binding())
    iovisor.before("ifc_ctl", f'[ "$2" != del_port ] || {{ {how}; }}')

    with pytest.raises(ScriptFailed, match="ifc_ctl gateway del_port"):
        host.unplug(ID)
    assert host.show(ID).state is State.DEBT

    iovisor.before("ifc_ctl", None)
    host.unplug(ID)
    assert host.list() == []
    assert interfaces(iovisor) == ""


def test_an_unplug_while_plumgrid_is_down_is_not_taken_for_done(iovisor: Vendor) -> None:
    iovisor.before("ifc_ctl", "echo 'cannot connect' >&2; exit 1")
    (iovisor.place / "ifc_list_gateway").unlink()

    outcome = iovisor.call("unplug", iovisor.binding())

    assert isinstance(outcome.error, BackendUnavailable)
    assert "PLUMgrid does not run on this host" in outcome.error.message


def test_what_the_binding_lacks_is_said(iovisor: Vendor) -> None:
    outcome = iovisor.call("plug", iovisor.binding(network={}, instance={}))

    assert isinstance(outcome.error, BadDetails)
    assert "the network's id and the instance's project" in outcome.error.message
    assert iovisor.calls() == []


def test_check_tells_an_interface_that_the_gateway_lost(iovisor: Vendor) -> None:
    iovisor.host().plug(iovisor.binding())
    assert not iovisor.call("check", iovisor.binding()).reply.get("drift")

    (iovisor.place / "ifc_list_gateway").write_text("")
    (drift,) = iovisor.call("check", iovisor.binding()).reply["drift"]
    assert drift == {"what": "the gateway's interface", "expected": TAP, "found": None}
