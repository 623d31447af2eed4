"""The plug script vrouter with a stand-in for vrouter-port-control.

The arguments are those of Nova (2015 to 2018) and of the vRouter's os-vif plug-in; the port's file, the
exit statuses and the splitting of arguments are those of Tungsten Fabric's vrouter-port-control.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vendor import INSTANCE, MAC, NETWORK, PROJECT, Vendor
from vendor_commands import PORT_CONTROL
from vifplug.errors import BackendUnavailable, BadDetails, ScriptFailed
from world import ID, TAP, World

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

COMMAND = "vrouter-port-control"
DELETE = [COMMAND, "--oper=delete", f"--uuid={ID}"]
SOCKET = "/run/vrouter/uvh_vif_tap4c1b1b0a-7d"
SLOT = "0000:3b:00.1"


UNKNOWN = "0.0.0.0"  # noqa: S104 (nothing is bound here)


def add(*port: str, ip: str = "192.0.2.9", ip6: str = "None", name: str = "web-1") -> list[str]:
    """The call that Nova made; what is said of a special port stands before the VLANs."""
    return [
        COMMAND,
        "--oper=add",
        f"--uuid={ID}",
        f"--instance_uuid={INSTANCE}",
        f"--vn_uuid={NETWORK}",
        f"--vm_project_uuid={PROJECT}",
        f"--ip_address={ip}",
        f"--ipv6_address={ip6}",
        f"--vm_name={name}",
        f"--mac={MAC}",
        f"--tap_name={TAP}",
        *(port or ["--port_type=NovaVMPort"]),
        "--tx_vlan_id=-1",
        "--rx_vlan_id=-1",
    ]


@pytest.fixture
def vrouter(world: World) -> Vendor:
    vendor = Vendor(world, "vrouter")
    vendor.command(COMMAND, PORT_CONTROL)
    (vendor.place / "ports").mkdir()
    vendor.environment["VROUTER_PORTS"] = str(vendor.place / "ports")
    return vendor


def test_it_runs_what_nova_ran(vrouter: Vendor) -> None:
    host = vrouter.host()
    host.plug(vrouter.binding())
    assert vrouter.calls() == [add()]

    host.unplug(ID)
    assert vrouter.calls() == [DELETE]


def subnets(*addresses: list[str]) -> dict[str, Any]:
    return {"id": NETWORK, "subnets": [{"addresses": each} for each in addresses]}


@pytest.mark.parametrize(
    ("network", "ip", "ip6"),
    [
        ({"id": NETWORK}, UNKNOWN, "None"),
        (subnets(["2001:db8::9"]), UNKNOWN, "2001:db8::9"),
        (subnets(["192.0.2.9", "192.0.2.10"], ["2001:db8::9"]), "192.0.2.9", "2001:db8::9"),
        (subnets(["192.0.2.9"], ["198.51.100.9"], []), "198.51.100.9", "None"),
    ],
    ids=["none known", "IPv6 alone", "the first of a subnet", "the last subnet"],
)
def test_addresses_are_chosen_as_nova_chose_them(
    vrouter: Vendor, network: dict[str, Any], ip: str, ip6: str
) -> None:
    vrouter.call("plug", vrouter.binding(network=network))

    assert vrouter.calls() == [add(ip=ip, ip6=ip6)]


def test_a_container_has_a_port_type_of_its_own(vrouter: Vendor) -> None:
    vrouter.call("plug", vrouter.binding(vif_details={"port_type": "NameSpacePort"}))

    assert vrouter.calls() == [add("--port_type=NameSpacePort")]


@pytest.mark.parametrize(("mode", "number"), [("client", 0), ("server", 1)])
def test_a_vhostuser_port_tells_its_socket(vrouter: Vendor, mode: str, number: int) -> None:
    details = {"vhostuser_socket": SOCKET, "vhostuser_mode": mode}
    vrouter.call("plug", vrouter.binding("vhostuser", vif_details=details))
    vrouter.call("unplug", vrouter.binding("vhostuser", vif_details=details))

    port = ["--port_type=NovaVMPort", "--vif_type=VhostUser"]
    assert vrouter.calls() == [
        add(*port, f"--vhostuser_socket={SOCKET}", f"--vhostuser_mode={number}"),
        DELETE,
    ]


def test_a_virtual_function_tells_its_address(vrouter: Vendor) -> None:
    binding = vrouter.binding("hostdev", vnic_type="direct", vif_details={"pci_slot": SLOT})
    vrouter.call("plug", binding)
    vrouter.call("unplug", binding)

    function = ["--vnic_type=direct", f"--pci_dev={SLOT}"]
    assert vrouter.calls() == [add("--port_type=NovaVMPort", *function), [*DELETE, *function]]


def test_a_virtio_forwarder_tells_both(vrouter: Vendor) -> None:
    binding = vrouter.binding(
        "vhostuser",
        vnic_type="virtio-forwarder",
        profile={"pci_slot": SLOT},
        vif_details={"path": SOCKET, "mode": "client"},
    )
    vrouter.call("plug", binding)
    vrouter.call("unplug", binding)

    both = [
        "--vnic_type=virtio-forwarder",
        f"--pci_dev={SLOT}",
        f"--vhostuser_socket={SOCKET}",
        "--vhostuser_mode=0",
    ]
    assert vrouter.calls() == [
        add("--port_type=NovaVMPort", "--vif_type=VhostUser", *both),
        [*DELETE, f"--tap_name={TAP}", *both],
    ]


def split_as_port_control_does(arguments: list[str]) -> list[str]:
    """What it makes of its arguments: joined, then split again at white space before "--"."""
    joined = " ".join(arguments)
    quoted = r"\s+(?=\-\-[_a-zA-Z0-9]+=\".*?\")"
    return re.split(quoted if '"' in joined else r"\s+(?=\-\-)", joined)


@given(name=st.text(st.characters(exclude_categories=["C"], min_codepoint=32), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_guests_name_never_becomes_an_argument(vrouter: Vendor, name: str) -> None:
    check_name(vrouter, name)


@pytest.mark.parametrize(
    "name",
    ["web --oper=delete", 'a" --uuid="b"', "--mac=fa:16:3e:00:00:00", "a\u2003--b", 'say "hi" --x="y"'],
)
def test_a_hostile_name_is_a_name(vrouter: Vendor, name: str) -> None:
    check_name(vrouter, name)


def check_name(vrouter: Vendor, name: str) -> None:
    instance = {"id": INSTANCE, "name": name, "project_id": PROJECT}
    assert vrouter.call("plug", vrouter.binding(instance=instance)).error is None

    ((_, *arguments),) = vrouter.calls()
    assert [each.partition("=")[0] for each in arguments] == [each.partition("=")[0] for each in add()[1:]]
    assert split_as_port_control_does(arguments) == arguments


def test_plug_and_unplug_twice_are_as_good_as_once(vrouter: Vendor) -> None:
    for verb in ("plug", "plug", "unplug", "unplug"):
        assert vrouter.call(verb, vrouter.binding()).error is None
    assert vrouter.calls() == [add(), add(), DELETE, DELETE]


def test_a_refused_port_fails_with_the_tools_words_and_is_taken_out(vrouter: Vendor) -> None:
    vrouter.before(COMMAND, '[ "$1" != --oper=add ] || { echo "Request failed: no such VN"; exit 4; }')

    with pytest.raises(ScriptFailed, match="--oper=add: Request failed: no such VN"):
        vrouter.host().plug(vrouter.binding())

    assert vrouter.calls() == [add(), DELETE]
    assert vrouter.host().list() == []


def test_a_vhostuser_port_without_the_agent_is_unavailable(vrouter: Vendor) -> None:
    vrouter.before(COMMAND, "exit 2")

    outcome = vrouter.call("plug", vrouter.binding("vhostuser", vif_details={"path": SOCKET}))

    assert isinstance(outcome.error, BackendUnavailable)


def test_what_the_binding_lacks_is_said(vrouter: Vendor) -> None:
    outcome = vrouter.call("plug", vrouter.binding("vhostuser", instance={"name": "web-1"}))

    assert isinstance(outcome.error, BadDetails)
    assert "instance_uuid and vm_project_uuid and vhostuser_socket" in outcome.error.message
    assert vrouter.calls() == []


def test_check_reads_the_ports_file(vrouter: Vendor) -> None:
    binding = vrouter.binding()
    vrouter.host().plug(binding)
    assert not vrouter.call("check", binding).reply.get("drift")

    file = vrouter.place / "ports" / ID
    file.write_text(json.dumps({"system-name": "tap-other", "mac-address": MAC}))
    assert vrouter.call("check", binding).reply["drift"] == [
        {"what": "system-name", "expected": TAP, "found": "tap-other"}
    ]
    for content in ("", "[]"):
        file.write_text(content)
        (drift,) = vrouter.call("check", binding).reply["drift"]
        assert drift["found"] is None
    file.unlink()
    assert vrouter.call("check", binding).reply["drift"] == [drift]
