"""Hybrid VIFs: a Linux bridge and a veth pair between the guest and a real Open vSwitch."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from scripts.ovs.switch import Switch, guest, port, reaches, tap_of

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

ONE = port(1)
TAP = tap_of(ONE)
QBR, QVB, QVO = (f"{prefix}{ONE['id'][:11]}" for prefix in ("qbr", "qvb", "qvo"))
#: as Neutron's Open vSwitch mechanism binds it: libvirt makes the tap, in the bridge
BRIDGED = port(
    1, vif_type="bridge", network={"bridge": "br-int"},
    vif_details={"bridge": QBR, "ovs_hybrid_plug": True, "tag": 5},
)  # fmt: skip
TAPPED = port(1, vif_details={"hybrid": True, "tag": 5})


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def links() -> dict[str, dict[str, Any]]:
    printed = subprocess.run(["ip", "-d", "-j", "link"], check=True, capture_output=True, text=True).stdout
    return {link["ifname"]: link for link in json.loads(printed)}


def drift(switch: Switch, binding: dict[str, Any]) -> dict[str, tuple[object, object]]:
    reply = switch.done("check", binding)
    return {each["what"]: (each["expected"], each["found"]) for each in reply.get("drift", [])}


def test_a_guest_behind_its_bridge_reaches_one_on_the_switch(switch: Switch) -> None:
    """The bridge's tap is made here as libvirt would."""
    other = port(2, vif_details={"tag": 5})
    host = switch.host()
    host.plug(BRIDGED)
    host.plug(other)
    ip(f"tuntap add dev {TAP} mode tap vnet_hdr")
    ip(f"link set {TAP} master {QBR} up")

    with guest(ONE) as here, guest(other) as there:
        assert reaches(here, there)
        assert reaches(there, here)

    host.unplug(ONE["id"])
    assert not {QBR, QVB, QVO} & set(links())
    assert switch.ports() == {tap_of(other)}


def test_vifplugs_own_tap_joins_the_bridge(switch: Switch) -> None:
    other = port(2, vif_details={"tag": 5})
    host = switch.host()
    for binding in (TAPPED, other):
        host.plug(binding)
    assert host.check(ONE["id"]).ok

    with guest(ONE) as here, guest(other) as there:
        assert reaches(here, there)


def test_the_devices_are_as_novas(switch: Switch) -> None:
    switch.done("plug", BRIDGED)

    found = links()
    bridge = found[QBR]["linkinfo"]["info_data"]
    assert [bridge[key] for key in ("forward_delay", "stp_state", "mcast_snooping", "ageing_time")] == [
        0,
        0,
        0,
        0,
    ]
    assert found[QVB]["master"] == QBR
    for name in (QBR, QVB, QVO):
        assert found[name]["mtu"] == 1450
        assert "UP" in found[name]["flags"]
        assert found[name]["inet6_addr_gen_mode"] == "none"
    interface = switch.row("Interface", QVO)
    assert interface is not None
    assert interface["external_ids"]["iface-id"] == ONE["id"]
    assert drift(switch, BRIDGED) == {}


def test_checksums_are_filled_in_where_the_switch_runs_in_user_space(switch: Switch) -> None:
    switch.done("plug", BRIDGED)

    for name in (QVB, QVO):
        features = subprocess.run(["ethtool", "-k", name], check=True, capture_output=True, text=True).stdout
        assert "tx-checksumming: off" in features


@pytest.mark.slow
@pytest.mark.parametrize(
    "half", [[], [f"link add {QVB} type veth peer name {QVO}"], [f"link add {QBR} type bridge"]]
)
def test_a_plug_finishes_and_an_unplug_removes_what_a_killed_plug_left(
    switch: Switch, half: list[str]
) -> None:
    for finish in (True, False):
        for command in half:
            ip(command)
        if finish:
            switch.done("plug", BRIDGED)
            assert drift(switch, BRIDGED) == {}
        for _ in range(2):
            switch.done("unplug", BRIDGED)
            assert not {QBR, QVB, QVO} & set(links())
            assert switch.ports() == set()


def test_check_notices_a_pair_that_left_its_bridge(switch: Switch) -> None:
    switch.done("plug", BRIDGED)
    ip(f"link set {QVB} nomaster down mtu 1400")

    found = drift(switch, BRIDGED)

    assert found[f"bridge of {QVB}"] == (QBR, None)
    assert found[f"device {QVB}"] == ("up", "down")
    assert found[f"mtu of {QVB}"] == (1450, 1400)


def test_an_update_changes_the_mtu_of_all_of_it(switch: Switch) -> None:
    switch.done("plug", BRIDGED)
    switch.done("update", {**BRIDGED, "mtu": 1400}, changes=["mtu"])

    assert {links()[name]["mtu"] for name in (QBR, QVB, QVO)} == {1400}


def test_another_bridge_than_its_own_is_refused(switch: Switch) -> None:
    """It would be removed with the VIF."""
    error = switch.call(
        "plug", port(1, vif_type="bridge", vif_details={"bridge": "br0", "hybrid": True})
    ).error

    assert error is not None
    assert error.code == "bad_details"
    assert f"bridge is 'br0', but the Linux bridge of this hybrid VIF is {QBR}" in error.message
