"""The vendors' plug scripts in a dry run: they say what they would run, and run none of it (stand-ins would tell)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vendor import Vendor
from world import World, links

SLOT = {"pci_slot": "0000:3b:00.1", "physical_network": "physnet1"}
SOCKET = {"path": "/run/s", "vhostuser_ovs_plug": True, "bridge_name": "br-int"}
#: script, VIF type, details, and the commands that it would run to plug and to unplug
SCRIPTS: list[tuple[str, str, dict[str, Any], list[str], list[str]]] = [
    ("iovisor", "ethernet", {}, ["ifc_ctl"] * 2, ["ifc_ctl"] * 2),
    ("midonet", "ethernet", {}, ["mm-ctl"], ["mm-ctl"]),
    ("ivs", "ethernet", {}, ["ivs-ctl"], ["ivs-ctl"]),
    ("ivs", "bridge", {"bridge": "qbr4c1b1b0a-7d"}, ["ip", "ivs-ctl"], ["ivs-ctl"]),
    ("vrouter", "ethernet", {}, ["vrouter-port-control"], ["vrouter-port-control"]),
    ("fp-vdev", "vhostuser", SOCKET, ["fp-vdev", "ip", "ovs-vsctl"], ["ovs-vsctl"]),
    ("ebrctl", "hostdev", SLOT, ["ebrctl"], ["ebrctl"]),
]


@pytest.mark.parametrize(
    ("script", "vif_type", "details", "plug", "unplug"), SCRIPTS, ids=[" ".join(row[:2]) for row in SCRIPTS]
)
def test_it_says_what_it_would_run_and_runs_nothing(
    world: World, script: str, vif_type: str, details: dict[str, Any], plug: list[str], unplug: list[str]
) -> None:
    vendor = Vendor(world, script)
    for command in {*plug, *unplug}:
        vendor.command(command)
    binding = vendor.binding(vif_type, vif_details=details)

    for verb, commands in (("plug", plug), ("unplug", unplug)):
        outcome = vendor.call(verb, binding, dry_run=True)
        assert outcome.error is None
        lines = [line.removeprefix("#vifplug ") for line in outcome.calls[0].stderr.splitlines()]
        said = [json.loads(line) for line in lines]
        assert [(each["run"][0], each["dry"]) for each in said] == [(command, True) for command in commands]
    assert vendor.calls() == []
    assert links() == {}
