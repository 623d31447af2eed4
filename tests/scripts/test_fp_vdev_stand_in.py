"""The plug script fp-vdev with a stand-in for 6WIND's fp-vdev that makes a real device, and one for ovs-vsctl."""

from __future__ import annotations

from typing import Any

import pytest

from vendor import INSTANCE, MAC, Vendor
from vendor_commands import FP_VDEV, OVS_VSCTL
from vifplug.errors import BadDetails, ScriptFailed
from vifplug.host.results import State
from world import ID, TAP, World, links

SOCKET = "/run/fp/usv4c1b1b0a-7d"
ADD = ["fp-vdev", "add", TAP, "--sockpath", SOCKET, "--sockmode"]
DELETE = ["fp-vdev", "del", TAP]
OVS_ADD = [
    *("ovs-vsctl", "--", "--if-exists", "del-port", TAP, "--", "add-port", "br-int", TAP),
    *("--", "set", "Interface", TAP, f"external-ids:iface-id={ID}", "external-ids:iface-status=active"),
    *(f"external-ids:attached-mac={MAC}", f"external-ids:vm-uuid={INSTANCE}"),
]
OVS_DELETE = ["ovs-vsctl", "--", "--if-exists", "del-port", "br-int", TAP]


@pytest.fixture
def fp_vdev(world: World) -> Vendor:
    vendor = Vendor(world, "fp-vdev")
    vendor.command("fp-vdev", FP_VDEV)
    vendor.command("ovs-vsctl", OVS_VSCTL)
    return vendor


def binding(vendor: Vendor, **details: Any) -> dict[str, Any]:
    return vendor.binding(
        "vhostuser", network={"bridge": "br-int"}, vif_details={"vhostuser_socket": SOCKET, **details}
    )


def test_it_runs_what_nova_ran(fp_vdev: Vendor) -> None:
    host = fp_vdev.host()
    host.plug(binding(fp_vdev))
    assert fp_vdev.calls() == [[*ADD, "client"]]
    assert links()[TAP].mtu == 1450
    assert links()[TAP].up

    host.unplug(ID)
    assert fp_vdev.calls() == [DELETE]
    assert links() == {}


def test_the_switch_takes_the_other_side_of_the_guests_mode(fp_vdev: Vendor) -> None:
    fp_vdev.call("plug", binding(fp_vdev, vhostuser_mode="client"))

    assert fp_vdev.calls() == [[*ADD, "server"]]


def test_vifplugs_own_spelling_is_as_good(fp_vdev: Vendor) -> None:
    fp_vdev.call("plug", fp_vdev.binding("vhostuser", vif_details={"path": SOCKET, "mode": "client"}))

    assert fp_vdev.calls() == [[*ADD, "server"]]


def test_with_open_vswitch_the_device_becomes_a_port(fp_vdev: Vendor) -> None:
    host = fp_vdev.host()
    host.plug(binding(fp_vdev, vhostuser_ovs_plug=True))
    assert fp_vdev.calls() == [[*ADD, "client"], OVS_ADD]

    host.unplug(ID)
    assert fp_vdev.calls() == [OVS_DELETE, DELETE]


def test_plug_and_unplug_twice_are_as_good_as_once(fp_vdev: Vendor) -> None:
    for verb in ("plug", "plug", "unplug", "unplug"):
        assert fp_vdev.call(verb, binding(fp_vdev)).error is None
    assert fp_vdev.calls() == [[*ADD, "client"], DELETE]


def test_a_plug_that_fails_halfway_is_undone(fp_vdev: Vendor) -> None:
    fp_vdev.before("ovs-vsctl", 'case "$*" in *add-port*) echo "no bridge named br-int" >&2; exit 1 ;; esac')

    with pytest.raises(ScriptFailed, match="no bridge named br-int"):
        fp_vdev.host().plug(binding(fp_vdev, vhostuser_ovs_plug=True))

    assert fp_vdev.calls() == [[*ADD, "client"], OVS_ADD, OVS_DELETE, DELETE]
    assert links() == {}


def test_a_device_that_cannot_be_removed_stays_on_record(fp_vdev: Vendor) -> None:
    host = fp_vdev.host()
    host.plug(binding(fp_vdev))
    fp_vdev.before("fp-vdev", "echo 'fast path is restarting' >&2; exit 1")

    with pytest.raises(ScriptFailed, match="fast path is restarting"):
        host.unplug(ID)
    assert host.show(ID).state is State.DEBT

    fp_vdev.before("fp-vdev", None)
    host.unplug(ID)
    assert links() == {}
    assert host.list() == []


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"vhostuser_socket": ""}, "the binding has no path"),
        ({"vhostuser_ovs_plug": True, "ovs_hybrid_plug": True}, "ovs_hybrid_plug with vhostuser_ovs_plug"),
    ],
)
def test_what_cannot_be_is_said(fp_vdev: Vendor, details: dict[str, Any], said: str) -> None:
    asked = fp_vdev.binding("vhostuser", network={"bridge": "br-int"})
    asked["vif_details"] |= {"vhostuser_socket": SOCKET, **details}
    if not asked["vif_details"]["vhostuser_socket"]:
        del asked["vif_details"]["vhostuser_socket"]

    outcome = fp_vdev.call("plug", asked)

    assert isinstance(outcome.error, BadDetails)
    assert said in outcome.error.message
    assert fp_vdev.calls() == []


def test_open_vswitch_without_a_bridge_is_refused(fp_vdev: Vendor) -> None:
    details = {"path": SOCKET, "vhostuser_ovs_plug": True}

    outcome = fp_vdev.call("plug", fp_vdev.binding("vhostuser", vif_details=details))

    assert isinstance(outcome.error, BadDetails)
    assert "without a bridge" in outcome.error.message


def test_check_tells_a_lost_device_and_a_lost_port(fp_vdev: Vendor) -> None:
    asked = binding(fp_vdev, vhostuser_ovs_plug=True)
    fp_vdev.call("plug", asked)
    assert not fp_vdev.call("check", asked).reply.get("drift")

    fp_vdev.call("unplug", asked)
    assert fp_vdev.call("check", asked).reply["drift"] == [
        {"what": TAP, "expected": "up", "found": None},
        {"what": f"the bridge of {TAP}", "expected": "br-int", "found": None},
    ]
