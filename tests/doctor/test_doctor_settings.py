"""Kernel settings and firewalls: those of a real network namespace; a tree of files for what a namespace has not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from doctored import Patient
from world import World, binding

_BRIDGE = Path("/proc/sys/net/bridge")


def _sysctl(name: str, value: int) -> None:
    Path("/proc/sys", name.replace(".", "/")).write_text(str(value))


def _nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def _bridge_netfilter(on: bool) -> None:
    for name in ("iptables", "ip6tables", "arptables"):
        _sysctl(f"net.bridge.bridge-nf-call-{name}", int(on))


@pytest.fixture
def routed(world: World) -> None:
    """A VIF on record that a script named routed has plugged."""
    world.script("routed", (world.scripts / "recorder").read_text())
    with world.host() as host:
        host.plug(binding(script="routed"))


def _bridged(world: World) -> None:
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    world.on("plug", do="ip link set dev $VIF_DEVNAME master br0")
    with world.host() as host:
        host.plug(binding())


# --- settings ------------------------------------------------------------------------------------


def test_frames_on_bridges_that_pass_the_hosts_firewall_are_noted(patient: Patient) -> None:
    _bridge_netfilter(True)
    note = patient.look("bridge-netfilter").one("note")
    assert "bridge-nf-call-iptables" in note.found and len(note.items) == 3
    command = note.do.partition(": ")[2].partition(",")[0].split()
    subprocess.run(command, check=True)
    assert patient.look("bridge-netfilter").is_well()


def test_a_host_without_br_netfilter_is_well_by_a_tree_of_files(elsewhere: Patient) -> None:
    assert elsewhere.look("bridge-netfilter").is_well()


def test_forwarding_matters_to_routed_vifs_alone(patient: Patient, world: World) -> None:
    _sysctl("net.ipv4.ip_forward", 0)
    assert patient.look("forwarding").is_well()
    _sysctl("net.ipv4.ip_forward", 1)
    assert patient.look("forwarding").is_well()


def test_routed_vifs_without_forwarding_are_a_problem(patient: Patient, routed: None) -> None:
    _sysctl("net.ipv4.ip_forward", 0)
    assert "ip_forward = 0" in patient.look("forwarding").one("problem").found
    subprocess.run(["ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far"], check=True)
    _sysctl("net.ipv4.conf.uplink.forwarding", 1)
    assert "uplink" in patient.look("forwarding").one("ok").found


@pytest.mark.parametrize(("value", "level"), [(0, "ok"), (1, "warning"), (2, "note")])
def test_the_reverse_path_filter_matters_to_routed_vifs(
    patient: Patient, routed: None, value: int, level: str
) -> None:
    _sysctl("net.ipv4.conf.all.rp_filter", value)
    assert str(value) in patient.look("reverse-path").one(level).found


@pytest.mark.parametrize("value", [0, 1])
def test_the_reverse_path_filter_is_well_where_nothing_is_routed(patient: Patient, value: int) -> None:
    _sysctl("net.ipv4.conf.all.rp_filter", value)
    assert patient.look("reverse-path").is_well()


@pytest.mark.parametrize(("value", "level"), [(0, "ok"), (2, "ok"), (8, "problem")])
def test_a_host_that_answers_no_arp_is_a_problem_for_routed_vifs(
    patient: Patient, routed: None, value: int, level: str
) -> None:
    _sysctl("net.ipv4.conf.all.arp_ignore", value)
    assert str(value) in patient.look("arp").one(level).found


@pytest.mark.parametrize(("most", "level"), [("1024", "ok"), ("65", "warning")])
def test_neighbour_tables_are_compared_with_the_vifs_by_a_tree_of_files(
    patient: Patient, world: World, tmp_path: Path, most: str, level: str
) -> None:
    with world.host() as host:
        host.plug(binding())
    pointed = Patient(patient.config, tmp_path)
    for version in ("ipv4", "ipv6"):
        pointed.write(f"/proc/sys/net/{version}/neigh/default/gc_thresh3", f"{most}\n")
    assert [finding.level for finding in pointed.look("neighbours").all] == [level, level]


# --- firewalls -----------------------------------------------------------------------------------

_DOCKER = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"


def test_a_host_without_firewall_is_well(patient: Patient) -> None:
    assert patient.look("firewall").is_well()


def test_a_forward_policy_of_drop_is_a_warning_where_nothing_passes_it_yet(patient: Patient) -> None:
    _bridge_netfilter(False)
    _nft(_DOCKER)
    assert "ip filter FORWARD: policy drop" in patient.look("forward-policy").one("warning").found


def _carry_out(remedy: str) -> None:
    """What follows the colon of a remedy, as an operator would type it."""
    subprocess.run(["sh", "-ec", remedy.rpartition("pass: ")[2]], check=True)


def test_it_is_a_problem_where_bridged_vifs_pass_it_until_a_rule_lets_them(
    patient: Patient, world: World
) -> None:
    _bridged(world)
    _nft(_DOCKER)
    _bridge_netfilter(False)
    assert patient.look("forward-policy").one("warning")
    _bridge_netfilter(True)
    problem = patient.look("forward-policy").one("problem")
    assert "frames on br0 pass through it" in problem.found and problem.items == ["ip filter FORWARD"]
    _carry_out(problem.do)
    assert patient.look("forward-policy").at("problem") == []


def test_it_is_a_problem_for_routed_vifs_until_a_rule_lets_them_pass(patient: Patient, routed: None) -> None:
    _bridge_netfilter(False)
    _nft(_DOCKER)
    _carry_out(patient.look("forward-policy").one("problem").do)
    assert patient.look("forward-policy").is_well()


@pytest.mark.parametrize(
    ("rule", "level"),
    [
        ("accept", "ok"),
        ("counter accept", "ok"),
        ("ct state established accept", "problem"),
        ('iifname "tap*" accept', "problem"),
        ('iifname "eth0" oifname "tap*" accept', "problem"),
        ('iifname != "tap*" accept', "problem"),
        ("jump neutron-openvswi-FORWARD", "ok"),
        ("jump others", "problem"),
    ],
)
def test_rules_of_a_chain_that_drops_are_read(patient: Patient, routed: None, rule: str, level: str) -> None:
    _bridge_netfilter(False)
    _nft(_DOCKER)
    _nft("table ip filter { chain neutron-openvswi-FORWARD { }; chain others { }; }")
    _nft(f"add rule ip filter FORWARD {rule}")
    assert patient.look("forward-policy").only.level == level


def test_bridge_chains_of_others_are_told(patient: Patient) -> None:
    _nft("table bridge filter { chain FORWARD { type filter hook forward priority 0; policy accept; }; }")
    assert patient.look("bridge-chains").one("note").items == ["filter FORWARD"]
    _nft("table bridge strict { chain every { type filter hook forward priority 0; policy drop; }; }")
    assert patient.look("bridge-chains").one("warning").items == ["strict every"]


def test_chains_that_hang_at_no_hook_are_nobodys_business(patient: Patient) -> None:
    _nft("table ip filter { chain FORWARD { }; }\ntable bridge filter { chain FORWARD { }; }")
    assert patient.look("firewall").is_well()


def test_the_old_iptables_are_asked_too_by_a_stand_in(elsewhere: Patient) -> None:
    elsewhere.program("nft", '{"nftables": []}')
    elsewhere.program("iptables-legacy", "-P FORWARD DROP\n")
    assert elsewhere.look("forward-policy").is_well()  # its table is not loaded: asking would load it
    elsewhere.write("/proc/net/ip_tables_names", "nat\nfilter\n")
    warned = elsewhere.look("forward-policy").one("warning")
    assert "iptables-legacy FORWARD" in warned.found and "iptables-legacy -I FORWARD -i tap+" in warned.do
    elsewhere.program(
        "iptables-legacy", "-P FORWARD DROP\n-A FORWARD -i tap+ -j ACCEPT\n-A FORWARD -o tap+ -j ACCEPT\n"
    )
    assert elsewhere.look("forward-policy").is_well()
