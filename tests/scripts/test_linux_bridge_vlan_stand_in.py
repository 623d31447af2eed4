"""VLANs of the plug script linux-bridge, with stand-ins for ip and bridge.

The kernel that tests run on may be without VLAN filtering, so what is proven here is which commands
are run, in which order, and how their answers are taken. These are iproute2's: ip-link(8), bridge(8).
"""

from __future__ import annotations

from typing import Any

import pytest

from guests import stand_in_host
from vendor import Vendor
from world import TAP, World

#: devices are files of what ip shows of them
IP = r"""
case "$*" in
*"link show dev "*)
    [ ! -f "$place/dev-$6" ] || exec cat "$place/dev-$6"
    echo "Device \"$6\" does not exist." >&2
    exit 1
    ;;
"link add name br0 "*) echo "7: br0: <BROADCAST> mtu 1500 group 1986814578 bridge vlan_filtering 1" >"$place/dev-br0" ;;
*"link show master br0") cat "$place/ports" 2>/dev/null ;;
"link delete dev br0") rm "$place/dev-br0" ;;
esac
"""
BRIDGE = r"""
case "$*" in
"vlan del "*" vid 1") [ -f "$place/vlan-1" ] || { echo "RTNETLINK answers: No such file or directory" >&2; exit 2; } ;;
*"vlan show"*) cat "$place/vlans" ;;
esac
"""
FILTERING = "7: br0: <BROADCAST,UP> mtu 1500 group default bridge forward_delay 1500 vlan_filtering {} "
SHOW_BR0 = ["ip", "-details", "-oneline", "link", "show", "dev", "br0"]
JOIN = ["ip", "link", "set", "dev", TAP, "up", "master", "br0"]
ADD = ["bridge", "vlan", "add", "dev", TAP, "vid", "5", "pvid", "untagged"]
DEL_1 = ["bridge", "vlan", "del", "dev", TAP, "vid", "1"]


@pytest.fixture
def host(world: World) -> Vendor:
    vendor = stand_in_host(world, "linux-bridge")
    vendor.command("ip", IP)
    vendor.command("bridge", BRIDGE)
    (vendor.place / "dev-br0").write_text(FILTERING.format(1))
    return vendor


def binding(host: Vendor, **details: Any) -> dict[str, Any]:
    return host.binding(vif_details={"bridge": "br0", "vlan": 5, **details})


@pytest.mark.parametrize("had_1", [True, False])
def test_with_stand_ins_the_tap_is_an_access_port_of_its_vlan_alone(host: Vendor, had_1: bool) -> None:
    if had_1:
        (host.place / "vlan-1").touch()

    for _ in range(2):
        assert host.call("plug", binding(host)).error is None
        assert host.calls() == [SHOW_BR0, JOIN, ADD, DEL_1]


def test_with_stand_ins_vlan_1_is_not_taken_away_from_who_asks_for_it(host: Vendor) -> None:
    assert host.call("plug", binding(host, vlan=1)).error is None
    assert host.calls()[-1] == ["bridge", "vlan", "add", "dev", TAP, "vid", "1", "pvid", "untagged"]


def test_with_stand_ins_a_bridge_made_for_a_vlan_knows_vlans_and_its_uplink_carries_it(host: Vendor) -> None:
    (host.place / "dev-br0").unlink()
    (host.place / "dev-up0").write_text("3: up0: <BROADCAST,UP> mtu 1500 group default ")
    asked = binding(host, create_bridge=True, uplink="up0")

    assert host.call("plug", asked).error is None
    changes = [call for call in host.calls() if "show" not in call]
    assert changes[:2] == [
        ["ip", "link", "add", "name", "br0", "group", "1986814578", "type", "bridge", "vlan_filtering", "1"],
        ["ip", "link", "set", "dev", "up0", "up", "master", "br0"],
    ]
    assert changes[-4:] == [JOIN, ADD, DEL_1, ["bridge", "vlan", "add", "dev", "up0", "vid", "5"]]

    assert host.call("unplug", asked).error is None
    assert host.calls()[-1] == ["ip", "link", "delete", "dev", "br0"]


def test_with_stand_ins_a_bridge_without_vlans_is_refused_with_what_mends_it(host: Vendor) -> None:
    (host.place / "dev-br0").write_text(FILTERING.format(0))

    error = host.call("plug", binding(host)).error

    assert error is not None
    assert "knows no VLANs: ip link set dev br0 type bridge vlan_filtering 1" in error.message
    assert host.calls() == [SHOW_BR0]


@pytest.mark.parametrize(
    ("vlans", "drift"),
    [
        (f"{TAP}  5 PVID Egress Untagged\n", None),
        (f"{TAP}  1 PVID Egress Untagged\n", {"what": f"VLAN of {TAP}", "expected": 5, "found": None}),
        (f"{TAP}  15 PVID Egress Untagged\n", {"what": f"VLAN of {TAP}", "expected": 5, "found": None}),
        (f"{TAP}  5\n", {"what": f"VLAN of {TAP}", "expected": 5, "found": None}),
    ],
)
def test_with_stand_ins_check_notices_another_vlan(
    host: Vendor, vlans: str, drift: dict[str, object] | None
) -> None:
    (host.place / f"dev-{TAP}").write_text(f"8: {TAP}: <UP> mtu 1500 master br0 group default \n")
    (host.place / "vlans").write_text(vlans)

    outcome = host.call("check", binding(host))

    assert outcome.reply.get("drift", []) == ([drift] if drift else [])


@pytest.mark.parametrize("vlan", [0, 4095, "five"])
def test_with_stand_ins_what_is_no_vlan_is_refused(host: Vendor, vlan: object) -> None:
    error = host.call("plug", binding(host, vlan=vlan)).error

    assert error is not None
    assert "vif_details.vlan must be" in error.message
    assert host.calls() == []
