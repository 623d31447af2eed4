"""What the plug script openvswitch writes into a real Open vSwitch's database, and what it leaves alone."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scripts.ovs.switch import INSTANCE, Switch, port, tap_of

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


ONE = port(1)
TAP = tap_of(ONE)


@pytest.fixture
def tap(switch: Switch) -> str:
    """As the host makes it before the script is called."""
    ip(f"tuntap add dev {TAP} mode tap")
    ip(f"link set {TAP} mtu 1450 up")
    return TAP


def row(switch: Switch, table: str) -> dict[str, Any]:
    found = switch.row(table, TAP)
    assert found is not None
    return found


def drift(switch: Switch, binding: dict[str, Any]) -> dict[str, tuple[object, object]]:
    reply = switch.done("check", binding)
    return {each["what"]: (each["expected"], each["found"]) for each in reply.get("drift", [])}


def test_the_port_says_whose_it_is_as_nova_and_libvirt_say_it(switch: Switch, tap: str) -> None:
    assert switch.done("plug", ONE) == {}

    interface = row(switch, "Interface")
    assert interface["external_ids"] == {
        "iface-id": ONE["id"],
        "iface-status": "active",
        "attached-mac": ONE["address"],
        "vm-uuid": INSTANCE,
        "vm-id": INSTANCE,
        "vifplug": ONE["id"],
    }
    assert (interface["type"], interface["error"], interface["mtu_request"]) == ("", None, 1450)
    assert row(switch, "Port")["tag"] is None


def test_vlans_are_set_as_the_details_say(switch: Switch, tap: str) -> None:
    details = {"tag": 7, "trunks": [30, 20], "vlan_mode": "native-untagged"}
    switch.done("plug", port(1, vif_details=details))

    found = row(switch, "Port")
    assert (found["tag"], found["trunks"], found["vlan_mode"]) == (7, [20, 30], "native-untagged")
    assert drift(switch, port(1, vif_details=details)) == {}


def test_the_iface_id_may_be_another_than_the_vifs(switch: Switch, tap: str) -> None:
    other = port(1, vif_details={"ovs_interfaceid": "logical-7"})
    switch.done("plug", other)
    assert row(switch, "Interface")["external_ids"]["iface-id"] == "logical-7"

    switch.done("unplug", other)
    assert switch.ports() == set()


def test_plug_and_unplug_twice_are_as_good_as_once(switch: Switch, tap: str) -> None:
    switch.done("plug", ONE)
    first = row(switch, "Port")["_uuid"]
    switch.done("plug", ONE)
    assert row(switch, "Port")["_uuid"] == first
    for _ in range(2):
        switch.done("unplug", ONE)
        assert switch.ports() == set()


def test_what_an_agent_set_on_the_port_stays(switch: Switch, tap: str) -> None:
    switch.done("plug", ONE)
    switch.vsctl("set", "Port", TAP, "tag=99", "--", "set", "Interface", TAP, "external_ids:agent=was-here")

    switch.done("plug", ONE)

    assert row(switch, "Port")["tag"] == 99
    assert row(switch, "Interface")["external_ids"]["agent"] == "was-here"
    assert drift(switch, ONE) == {}


def test_our_port_on_another_bridge_is_moved(switch: Switch, tap: str) -> None:
    switch.vsctl("add-br", "br-old", "--", "set", "bridge", "br-old", "datapath_type=netdev")
    switch.done("plug", port(1, vif_details={"bridge": "br-old"}))
    assert drift(switch, ONE) == {f"bridge of {TAP}": ("br-int", "br-old")}

    switch.done("plug", ONE)

    assert (switch.ports("br-old"), switch.ports()) == (set(), {TAP})
    assert row(switch, "Interface")["error"] is None


@pytest.mark.parametrize(
    "ids",
    [
        [],
        ["external_ids:iface-id=another"],
        [f"external_ids:iface-id={ONE['id']}", "external_ids:vifplug=another"],
    ],
)
def test_a_port_of_somebody_elses_is_refused_and_left_alone(switch: Switch, tap: str, ids: list[str]) -> None:
    switch.vsctl("add-port", "br-int", TAP, *(["--", "set", "Interface", TAP, *ids] if ids else []))
    before = row(switch, "Interface")

    error = switch.call("plug", ONE).error
    assert error is not None
    assert f"if nothing needs it any more, remove it with 'ovs-vsctl del-port {TAP}'" in error.message

    switch.done("unplug", ONE)
    assert row(switch, "Interface") == before


def test_a_port_that_nova_made_is_taken_over(switch: Switch, tap: str) -> None:
    switch.vsctl(
        "add-port", "br-int", TAP, "--", "set", "Interface", TAP, f"external_ids:iface-id={ONE['id']}"
    )
    before = row(switch, "Port")["_uuid"]

    switch.done("plug", ONE)

    assert row(switch, "Port")["_uuid"] == before
    assert drift(switch, ONE) == {}
    switch.done("unplug", ONE)
    assert switch.ports() == set()


def test_an_unplug_finds_the_port_whatever_became_of_its_iface_id(switch: Switch, tap: str) -> None:
    switch.done("plug", ONE)
    switch.vsctl("set", "Interface", TAP, "external_ids:iface-id=another")

    switch.done("unplug", ONE)

    assert switch.ports() == set()


def test_a_tap_that_libvirt_makes_is_taken_when_the_guest_starts(switch: Switch) -> None:
    """Its making is done here."""
    binding = port(1, vif_details={"made_by": "libvirt"})
    switch.done("plug", binding)
    assert drift(switch, binding) == {}

    ip(f"tuntap add dev {TAP} mode tap")
    switch.until(TAP, lambda interface: interface["error"] == [])
    assert drift(switch, binding) == {}


def test_an_update_changes_what_changed_and_empties_what_is_wanted_no_more(switch: Switch, tap: str) -> None:
    switch.done("plug", port(1, vif_details={"tag": 5}))

    switch.done("update", port(1, mtu=1400), changes=["mtu", "details.tag"])

    assert row(switch, "Port")["tag"] is None
    assert row(switch, "Interface")["mtu"] == 1400


@pytest.mark.parametrize(
    ("command", "what", "expected", "found"),
    [
        (["del-port", TAP], f"port {TAP}", "in bridge br-int", None),
        (["set", "Port", TAP, "tag=9"], "tag", 5, 9),
        (["remove", "Interface", TAP, "external_ids", "iface-id"], "external_ids:iface-id", ONE["id"], None),
        (["set", "Interface", TAP, "mtu_request=1300"], "mtu_request", 1450, 1300),
        (["del-br", "br-int"], "bridge br-int", "there", None),
    ],
)
def test_check_notices(
    switch: Switch, tap: str, command: list[str], what: str, expected: object, found: object
) -> None:
    binding = port(1, vif_details={"tag": 5})
    switch.done("plug", binding)
    assert drift(switch, binding) == {}

    switch.vsctl(*command)

    assert drift(switch, binding) == {what: (expected, found)}


def test_a_trunks_bridge_is_made_for_its_port_and_goes_with_it(switch: Switch, tap: str) -> None:
    trunk = port(1, vif_details={"bridge_name": "tbr-1", "datapath_type": "netdev"})
    switch.done("plug", trunk)
    assert switch.ports("tbr-1") == {TAP}
    assert row(switch, "Interface")["external_ids"]["bridge_name"] == "tbr-1"
    # what Neutron's agent adds: a patch to the integration bridge
    switch.vsctl(
        "add-port", "tbr-1", "tpt-1", "--", "set", "Interface", "tpt-1", "type=patch", "options:peer=tpi-1"
    )

    switch.done("unplug", trunk)

    assert switch.vsctl("list-br").split() == ["br-int"]


def test_a_bridge_that_was_there_before_stays(switch: Switch, tap: str) -> None:
    asked = port(1, vif_details={"create_bridge": True})
    switch.done("plug", asked)
    switch.done("unplug", asked)

    assert switch.vsctl("list-br").split() == ["br-int"]


def test_a_made_bridge_lasts_as_long_as_any_port(switch: Switch) -> None:
    asked = [
        port(n, vif_details={"bridge": "br-new", "create_bridge": True, "datapath_type": "netdev"})
        for n in (1, 2)
    ]
    for binding in asked:
        ip(f"tuntap add dev {tap_of(binding)} mode tap")
        switch.done("plug", binding)
    switch.done("unplug", asked[0])
    assert switch.ports("br-new") == {tap_of(asked[1])}
    switch.done("unplug", asked[1])
    assert switch.vsctl("list-br").split() == ["br-int"]


def test_many_at_once_all_get_their_port(switch: Switch) -> None:
    details = {"bridge": "br-new", "create_bridge": True, "datapath_type": "netdev"}
    bindings = [port(number, vif_details=details) for number in range(1, 13)]
    for binding in bindings:
        ip(f"tuntap add dev {tap_of(binding)} mode tap")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda binding: switch.done("plug", binding), bindings))
        assert switch.ports("br-new") == {tap_of(binding) for binding in bindings}
        list(pool.map(lambda binding: switch.done("unplug", binding), bindings))
    assert switch.vsctl("list-br").split() == ["br-int"]


def test_libvirts_own_port_is_left_to_libvirt(switch: Switch, tap: str) -> None:
    """Type bridge with a virtualport: libvirt adds the port when the guest starts."""
    binding = port(
        1,
        vif_type="bridge",
        devname=TAP,
        vif_details={"bridge": "br-int", "virtualport": {"type": "openvswitch"}},
    )
    switch.done("plug", binding)
    assert switch.ports() == set()
    assert drift(switch, binding) == {}

    # as libvirt does it; and a guest that crashed with its host left it there
    switch.vsctl(
        "add-port", "br-int", TAP, "--", "set", "Interface", TAP, f"external_ids:iface-id={ONE['id']}"
    )
    assert drift(switch, binding) == {}
    switch.done("unplug", binding)
    assert switch.ports() == set()


def test_a_dry_run_says_what_it_would_do_and_does_nothing(switch: Switch, tap: str) -> None:
    called = switch.by_hand("plug", port(1, vif_details={"tag": 5}), VIFPLUG_DRY_RUN="1")

    assert called.returncode == 0
    assert switch.ports() == set()
    assert f'#vifplug {{"run": ["OVSDB", "add-port", "br-int", "{TAP}", ' in called.stderr
    assert '"tag=5"' in called.stderr
    assert '"dry": true' in called.stderr


def test_a_resident_script_serves_many_vifs_in_turn(switch: Switch, tap: str) -> None:
    for verb in ("plug", "check", "unplug"):
        switch.done(verb, ONE, resident=True)
    assert switch.ports() == set()
