"""The plug script ebrctl with a stand-in for Mellanox's ebrctl, which ends as eswitchd's own client does."""

from __future__ import annotations

from typing import Any

import pytest

from vendor import INSTANCE, MAC, Vendor
from vendor_commands import EBRCTL
from vifplug.errors import BackendUnavailable, BadDetails, ScriptFailed
from vifplug.host.results import State
from world import ID, World

SILENT = "echo 'no result received'; echo \"TypeError: 'NoneType' object is not subscriptable\" >&2; exit 1"
SLOT = "0000:3b:00.1"
ETH = "eth4c1b1b0a-7d"
ADD = ["ebrctl", "add-port", MAC, INSTANCE, "physnet1"]
DELETE = ["ebrctl", "del-port", "physnet1", MAC]


@pytest.fixture
def ebrctl(world: World) -> Vendor:
    vendor = Vendor(world, "ebrctl")
    vendor.command("ebrctl", EBRCTL)
    return vendor


def ib_hostdev(vendor: Vendor, **fields: Any) -> dict[str, Any]:
    details = {"pci_slot": SLOT, "physical_network": "physnet1"}
    return vendor.binding("hostdev", vif_details=details, **fields)


def mlnx_direct(vendor: Vendor) -> dict[str, Any]:
    details = {"source_dev": ETH, "mode": "passthrough", "physical_network": "physnet1"}
    return vendor.binding("direct", vif_details=details)


def test_ib_hostdev_runs_what_nova_ran(ebrctl: Vendor) -> None:
    host = ebrctl.host()
    host.plug(ib_hostdev(ebrctl))
    assert ebrctl.calls() == [[*ADD, "ib_hostdev", SLOT]]

    host.unplug(ID)
    assert ebrctl.calls() == [DELETE]


def test_mlnx_direct_runs_what_nova_ran(ebrctl: Vendor) -> None:
    host = ebrctl.host()
    host.plug(mlnx_direct(ebrctl))
    assert ebrctl.calls() == [[*ADD, "mlnx_direct", ETH]]

    host.unplug(ID)
    assert ebrctl.calls() == [DELETE]


def test_fabric_and_function_may_come_from_the_binding_profile(ebrctl: Vendor) -> None:
    profile = {"pci_slot": SLOT, "physical_network": "physnet1"}
    binding = ebrctl.binding("hostdev", profile=profile)
    ebrctl.call("plug", binding)
    ebrctl.call("unplug", binding)

    assert ebrctl.calls() == [[*ADD, "ib_hostdev", SLOT], DELETE]


def test_plug_and_unplug_twice_are_as_good_as_once(ebrctl: Vendor) -> None:
    for verb in ("plug", "plug", "unplug", "unplug"):
        assert ebrctl.call(verb, ib_hostdev(ebrctl)).error is None
    assert [call[1] for call in ebrctl.calls()] == ["add-port", "add-port", "del-port", "del-port"]


def test_what_it_prints_does_not_become_a_reply(ebrctl: Vendor) -> None:
    assert ebrctl.call("plug", ib_hostdev(ebrctl)).reply == {}


def test_a_failed_plug_is_taken_back(ebrctl: Vendor) -> None:
    refuse = "echo 'Error in add-port commandAction  plug_nic failed: Plug vnic failed' >&2; exit 1"
    ebrctl.before("ebrctl", f'[ "$1" != add-port ] || {{ {refuse}; }}')

    with pytest.raises(ScriptFailed, match="plug_nic failed: Plug vnic failed"):
        ebrctl.host().plug(ib_hostdev(ebrctl))

    assert ebrctl.calls() == [[*ADD, "ib_hostdev", SLOT], DELETE]
    assert ebrctl.host().list() == []


def test_a_silent_eswitchd_is_said_and_the_unplug_stays_on_record(ebrctl: Vendor) -> None:
    host = ebrctl.host()
    host.plug(ib_hostdev(ebrctl))
    ebrctl.before("ebrctl", SILENT)

    with pytest.raises(BackendUnavailable, match="ebrctl del-port: eswitchd does not answer"):
        host.unplug(ID)
    assert host.show(ID).state is State.DEBT

    ebrctl.before("ebrctl", None)
    host.unplug(ID)
    assert host.list() == []


def test_what_the_binding_lacks_is_said(ebrctl: Vendor) -> None:
    binding = ebrctl.binding("hostdev", vif_details={"pci_slot": SLOT}, instance={})

    outcome = ebrctl.call("plug", binding)

    assert isinstance(outcome.error, BadDetails)
    assert "no physical_network and no instance.id" in outcome.error.message
    assert ebrctl.call("unplug", binding).error is None
    assert ebrctl.calls() == []
