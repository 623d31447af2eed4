"""What others say, read: QEMU's command line, nftables' rules, iproute2's JSON of what this kernel cannot do."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callers import VIF
from vifplug.config import Config
from vifplug.doctor import Place
from vifplug.errors import InvalidInput
from vifplug.plumbing.filters import devices, parse_ruleset
from vifplug.plumbing.holders import guest_name
from vifplug.plumbing.kernel import Kernel
from vifplug.plumbing.probing import question
from vifplug.plumbing.watch import Watch, program
from vifplug.probe import frames


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["qemu", "-name", "web1"], "web1"),
        (["qemu", "-name", "guest=web1,debug-threads=on"], "web1"),
        (["qemu", "-name", "debug-threads=on,guest=a,,b"], "a,b"),
        (["qemu", "--name", "web1,process=x"], "web1"),
        (["qemu", "-name", "process=x"], None),
        (["qemu", "-name"], None),
        (["qemu"], None),
    ],
)
def test_a_guests_name_is_the_one_that_qemu_was_given(words: list[str], name: str | None) -> None:
    assert guest_name(words) == name


@given(st.lists(st.text()))
def test_no_command_line_is_too_odd(words: list[str]) -> None:
    guest_name(words)


def chain(family: str, name: str, **more: object) -> dict[str, object]:
    return {"chain": {"family": family, "table": "t", "name": name, **more}}


def rule(name: str, *parts: dict[str, object], **more: object) -> dict[str, object]:
    return {"rule": {"family": "bridge", "table": "t", "chain": name, "expr": list(parts), **more}}


COUNTED: dict[str, object] = {"counter": {"packets": 7, "bytes": 1}}


def test_a_chain_counts_what_those_drop_that_it_jumps_to() -> None:
    items = [
        chain("bridge", "forward", hook="forward", policy="accept"),
        chain("bridge", "spoof"),
        rule("forward", {"jump": {"target": "spoof"}}),
        rule("spoof", COUNTED, {"drop": None}, comment="mac"),
        rule("spoof", {"goto": {"target": "forward"}}),  # a ring, which nft would refuse
    ]
    [found] = parse_ruleset(items, {})
    assert (found.name, found.drops, found.dropped) == ("bridge t forward", True, {"mac": 7})


def test_a_chain_that_drops_nothing_is_not_told_and_one_that_drops_by_policy_is() -> None:
    items = [
        chain("inet", "input", hook="input", policy="accept"),
        chain("bridge", "forward", hook="forward", policy="drop"),
        rule("forward", COUNTED, {"accept": None}),
    ]
    [found] = parse_ruleset(items, {})
    assert (found.policy, found.drops, found.total) == ("drop", False, 0)


def test_the_device_of_a_chain_is_read_from_the_listing_where_json_has_none() -> None:
    text = (
        'table netdev vifplug {\n\tchain vif-1 {\n\t\ttype filter hook ingress device "tap1" priority filter; '
        "policy accept;\n\t}\n\tchain other {\n\t}\n}\n"
    )
    assert devices(text) == {("vifplug", "vif-1"): "tap1"}
    items = [
        {
            "chain": {
                "family": "netdev",
                "table": "vifplug",
                "name": "vif-1",
                "hook": "ingress",
                "policy": "drop",
            }
        }
    ]
    assert [one.device for one in parse_ruleset(items, devices(text))] == ["tap1"]


def test_vlans_of_a_filtering_bridge_stand_in(tmp_path: Path) -> None:
    """This kernel has no vlan_filtering: iproute2's words stand in for it."""
    links = [
        {"ifindex": 1, "ifname": "br0", "flags": ["UP"], "mtu": 1500,
         "linkinfo": {"info_kind": "bridge", "info_data": {"vlan_filtering": 1}}},
        {"ifindex": 2, "ifname": "tap0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "master": "br0",
         "linkinfo": {"info_kind": "tun", "info_slave_kind": "bridge",
                      "info_slave_data": {"state": "forwarding", "isolated": True, "flood": False}}},
        {"ifindex": 3, "ifname": "eth0.7", "link": "eth0", "flags": [], "mtu": 1500,
         "linkinfo": {"info_kind": "vlan", "info_data": {"id": 7}}},
    ]  # fmt: skip
    vlans = [
        {
            "ifname": "tap0",
            "vlans": [{"vlan": 5, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 8, "vlanEnd": 9}],
        }
    ]
    tools = tmp_path / "usr/sbin"
    tools.mkdir(parents=True)
    for name, answer in (("ip", links), ("bridge", vlans)):
        (tools / name).write_text(f"#!/bin/sh\ncat <<'EOT'\n{json.dumps(answer)}\nEOT\n")
        (tools / name).chmod(0o755)
    found = Kernel(Place(Config(), root=tmp_path)).devices
    assert found["tap0"].vlans == ["5", "8-9 tagged"]
    assert found["tap0"].port_words == ["isolated", "no flooding"]
    assert (found["eth0.7"].vlan, found["eth0.7"].lower) == (7, "eth0")


def test_a_watch_hears_tunnels_and_arp_and_leaves_the_rest_to_others(netns: None) -> None:
    """The program in the kernel, on lo: a frame of each kind sent, and those counted that should be."""
    mark = b"vifplug-test-mark"
    mac = "02:00:00:00:00:01"

    def frame(kind: int, payload: bytes) -> bytes:
        return frames.build_ethernet(frames.Ethernet(frames.BROADCAST, mac, kind, payload))

    def udp(port: int) -> bytes:
        data = frames.build_udp(frames.Udp(1, port, mark), "10.0.0.1", "10.0.0.2")
        return frame(frames.IPV4, frames.build_ipv4(frames.IPv4("10.0.0.1", "10.0.0.2", frames.UDP, data)))

    six = struct.pack("!IHBB16s16s", 6 << 28, 8 + len(mark), 17, 64, bytes(15) + b"\1", bytes(15) + b"\1")
    heard = [
        frame(frames.ARP, mark),
        udp(4789),
        udp(9999),
        frame(frames.VLAN, struct.pack("!HH", 5, frames.ARP) + mark),
        frame(frames.IPV6, six + struct.pack("!HHHH", 1, 6081, 8 + len(mark), 0) + mark),
    ]
    passed_over = [udp(53), frame(0x88CC, mark), frame(frames.IPV6, six + bytes(8) + mark)]
    with Watch(["lo"], "none", [9999]) as watch, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        watch.out_marks.append(mark)
        sender.bind(("lo", 0))
        for one in [*heard, *passed_over]:
            sender.send(one)
        watch.hear(0.1)
    assert watch.out["lo"] == 2 * len(heard), "each goes out of lo and comes in again"


@given(st.text(), st.text())
def test_any_target_and_address_is_taken_or_refused_in_one_sentence(target: str, address: str) -> None:
    asked: list[tuple[str | None, list[str]]] = [(target, []), (None, [address])]
    for to, addresses in asked:
        try:
            found = question(VIF, VIF.devname, to, addresses, 1.0)
        except InvalidInput as error:
            assert "must be an IPv4 address" in error.message
        else:
            assert found is not None and found.mac == VIF.address


def test_jumps_of_the_program_stay_within_it() -> None:
    steps = program((4789, 8472, 6081, 4790))
    assert all(place + jump < len(steps) and 0 <= jump < 256 for place, (_, jump, _, _) in enumerate(steps))


def test_a_device_that_is_gone_is_heard_of_no_more(netns: None) -> None:
    with Watch(["nowhere"], "nowhere") as watch:
        watch.hear()
    assert watch.listened == set()
