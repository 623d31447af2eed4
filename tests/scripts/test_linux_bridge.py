"""The plug script linux-bridge, called as the contract says, on the real kernel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

import vifplug
from vifplug.host.netlink import Link, Netlink
from vifplug.script.contract import Info
from vifplug.script.replies import parse_reply

SCRIPT = Path(vifplug.__file__).parent / "scripts" / "linux-bridge"
TAP = "tap4c1b1b0a-7d"


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def link(name: str) -> Link | None:
    with Netlink() as netlink:
        return netlink.link(name)


def call(verb: str, devname: str = TAP, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script with a clean environment, as the runner gives it."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "VIF_ID": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
        "VIF_TYPE": "ethernet",
        "VIF_DEVNAME": devname,
        "VIF_NETWORK_BRIDGE": "",
    }
    return subprocess.run(
        [str(SCRIPT), verb],
        env=environment | {f"VIF_{name.upper()}": value for name, value in variables.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def done(verb: str, devname: str = TAP, **variables: str) -> str:
    """Standard output of a call that has to succeed."""
    called = call(verb, devname, **variables)
    assert called.returncode == 0, called.stderr
    return called.stdout


def drift(**variables: str) -> list[dict[str, Any]]:
    reply = parse_reply("check", done("check", **variables).encode())
    assert reply["ok"] is not bool(reply.get("drift"))
    return list(reply.get("drift", []))


@pytest.fixture
def tap(netns: None) -> str:
    ip(f"tuntap add dev {TAP} mode tap")
    return TAP


@pytest.fixture
def bridge(netns: None) -> str:
    ip("link add br0 type bridge")
    ip("link set br0 up")
    return "br0"


def in_bridge(name: str) -> bool:
    port, master = link(TAP), link(name)
    return port is not None and master is not None and port.master == master.index


def test_a_plug_joins_the_bridge_that_the_details_name(tap: str, bridge: str) -> None:
    assert done("plug", details_bridge="br0", network_bridge="another") == ""

    assert in_bridge("br0")
    port = link(tap)
    assert port is not None
    assert port.up


def test_without_a_bridge_in_the_details_it_is_the_networks(tap: str, bridge: str) -> None:
    done("plug", network_bridge="br0")

    assert in_bridge("br0")


def test_plug_and_unplug_twice_are_as_good_as_once(tap: str, bridge: str) -> None:
    for _ in range(2):
        done("plug", details_bridge="br0")
        assert in_bridge("br0")
    for _ in range(2):
        done("unplug", details_bridge="br0")
        assert not in_bridge("br0")
    assert link("br0") is not None  # it was there before us


def test_an_unplug_leaves_a_tap_in_somebody_elses_bridge(tap: str, bridge: str) -> None:
    ip("link add theirs type bridge")
    ip(f"link set {TAP} master theirs")

    done("unplug", details_bridge="br0")
    done("unplug")

    assert in_bridge("theirs")


def test_an_unplug_of_what_was_never_there_succeeds(netns: None) -> None:
    done("unplug", details_bridge="br0", details_create_bridge="true")
    done("unplug")


def test_a_missing_bridge_is_said_by_name_and_not_made_unasked(tap: str) -> None:
    called = call("plug", details_bridge="br0")

    assert called.returncode == 69
    assert json.loads(called.stdout)["error"] == {
        "code": "backend_unavailable",
        "message": "there is no bridge br0 on this host: make it, or set vif_details.create_bridge to true",
    }
    assert link("br0") is None


def test_a_missing_bridge_is_made_when_asked_and_goes_with_its_last_port(tap: str) -> None:
    ip("tuntap add dev tap2 mode tap")
    asked = {"details_bridge": "br0", "details_create_bridge": "true"}
    done("plug", **asked)
    done("plug", "tap2", **asked)

    made = link("br0")
    assert made is not None
    assert made.up
    assert made.alias == "made by the plug script linux-bridge"
    assert in_bridge("br0")
    addresses = subprocess.run(["ip", "-o", "address", "show", "dev", "br0"], capture_output=True, check=True)
    assert addresses.stdout == b""  # no IPv6 address of the host's on a guests' network

    done("unplug", **asked)
    assert link("br0") is not None
    done("unplug", "tap2", **asked)
    assert link("br0") is None


def test_a_bridge_made_by_somebody_else_is_never_removed(tap: str, bridge: str) -> None:
    asked = {"details_bridge": "br0", "details_create_bridge": "true"}
    done("plug", **asked)
    done("unplug", **asked)

    assert link("br0") is not None


def test_a_bridge_that_a_killed_plug_left_half_made_is_finished_or_removed(tap: str) -> None:
    asked = {"details_bridge": "br0", "details_create_bridge": "true"}
    ip("link add br0 group 1986814578 type bridge")  # as after the first of its messages
    done("plug", **asked)

    made = link("br0")
    assert made is not None
    assert made.up
    ip("link set br0 down")
    ip(f"link delete {TAP}")
    done("unplug", **asked)
    assert link("br0") is None


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({}, "no bridge: set vif_details.bridge, or the network's bridge"),
        ({"details_bridge": "lo"}, "lo is a device of another kind, not a bridge"),
        ({"details_bridge": "a b"}, "vif_details.bridge 'a b' is no device name"),
        ({"details_bridge": "br0\nlink delete lo"}, "is no device name"),
        ({"details_bridge": "b" * 16}, "is no device name"),
    ],
)
def test_details_that_cannot_be_used_are_refused(tap: str, details: dict[str, str], words: str) -> None:
    called = call("plug", **details)

    assert called.returncode == 65
    assert words in json.loads(called.stdout)["error"]["message"]


def test_a_plug_without_its_tap_fails_with_the_kernels_word(bridge: str) -> None:
    called = call("plug", details_bridge="br0")

    assert called.returncode == 1
    assert f'Cannot find device "{TAP}"' in called.stderr


@pytest.mark.parametrize("verb", ["activate", "plug;id"])
def test_an_unknown_verb_is_a_usage_error(verb: str) -> None:
    called = call(verb)

    assert called.returncode == 64
    assert f"unknown verb '{verb}'" in called.stderr
    assert json.loads(called.stdout)["error"]["code"] == "verb_not_supported"


def test_check_notices_what_drifted(tap: str, bridge: str) -> None:
    done("plug", details_bridge="br0")
    assert drift(details_bridge="br0") == []

    ip("link set br0 down")
    assert drift(details_bridge="br0") == [{"what": "bridge br0", "expected": "up", "found": "down"}]

    ip("link add br1 type bridge")
    ip(f"link set {TAP} master br1")
    assert drift(details_bridge="br0")[0] == {"what": f"bridge of {TAP}", "expected": "br0", "found": "br1"}

    ip("link delete br0")
    assert drift(details_bridge="br0")[1] == {"what": "bridge br0", "expected": "up", "found": "missing"}

    ip(f"link delete {TAP}")
    assert drift(details_bridge="br0")[0] == {"what": f"bridge of {TAP}", "expected": "br0", "found": None}


def test_info_is_what_the_contract_asks_for() -> None:
    info = msgspec.convert(json.loads(done("info", "")), Info)

    assert (info.name, info.vif_types, info.locks) == (
        "linux-bridge",
        ["ethernet", "bridge"],
        ["linux-bridge.{create_bridge}"],
    )
    assert info.verbs == ["plug", "unplug", "check", "update"]
    assert info.details_schema is not None
    assert set(info.details_schema["properties"]) == {
        *("bridge", "create_bridge", "uplink", "vlan", "isolated"),
        *("anti_spoofing", "allowed_address_pairs"),
    }
