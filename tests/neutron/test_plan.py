"""What a driver binds is read as the host will read it, before Neutron keeps it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import vifplug.neutron
from vifplug.model import VifType, read_binding
from vifplug.neutron import Plan, Refused, plan

PORT = {"id": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01", "mac_address": "fa:16:3e:00:00:01"}


def test_the_drivers_own_words_go_before_what_is_added() -> None:
    found = plan.vif_details(
        Plan(vif_type=VifType.ETHERNET, plug_script="x", details={"mtu": 1200}),
        {"mtu": 1500, "connectivity": "l2"},
    )
    assert found == {"port_filter": False, "mtu": 1200, "connectivity": "l2", "vif_plug_script": "x"}


@pytest.mark.parametrize(("letters", "fits"), [(4053, True), (4054, False)])
def test_neutron_keeps_4095_bytes_and_not_one_more(letters: int, fits: bool) -> None:
    given = Plan(vif_type=VifType.ETHERNET, details={"text": "a" * letters, "n": 1})
    if fits:
        assert len(json.dumps(plan.vif_details(given, {}))) == 4095
    else:
        with pytest.raises(
            Refused, match='take 4096 bytes as JSON, .*at most 4095; the largest of them is "text"'
        ):
            plan.vif_details(given, {})


def test_letters_beyond_ascii_count_as_what_they_take() -> None:
    with pytest.raises(Refused, match="bytes as JSON"):
        plan.vif_details(Plan(vif_type=VifType.ETHERNET, details={"text": "ü" * 1000}), {})


def test_what_json_cannot_carry_is_refused() -> None:
    with pytest.raises(Refused, match="cannot be written as JSON"):
        plan.vif_details(Plan(vif_type=VifType.ETHERNET, details={"text": {1, 2}}), {})


@pytest.mark.parametrize(
    ("type_", "details", "reason"),
    [
        (VifType.BRIDGE, {}, "bridge is missing"),
        (VifType.BRIDGE, {"bridge": "a-name-that-is-too-long"}, "a network device name"),
        (VifType.ETHERNET, {"vif_plug_script": "no/name"}, "a script's bare name or its absolute path"),
        (VifType.ETHERNET, {"made_by": "script"}, "where no vif_plug_script is named"),
        (VifType.DIRECT, {"source_dev": "eth1", "vlan": 5}, "left out unless mode"),
    ],
)
def test_what_the_host_would_refuse_is_refused(type_: VifType, details: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        plan.read(PORT, type_, details)


def test_a_neutron_ports_bandwidth_is_the_vifs() -> None:
    limits = {"outbound": {"average": 122, "burst": 98}}
    vif = plan.read(PORT, VifType.ETHERNET, {"bandwidth": limits, "tag": 1})
    assert vif.bandwidth is not None
    assert vif.bandwidth.outbound is not None
    assert (vif.bandwidth.outbound.average, vif.bandwidth.outbound.burst) == (122, 98)
    assert vif.details == {"tag": 1}
    with pytest.raises(Refused, match="bandwidth.outbound.average"):
        plan.read(PORT, VifType.ETHERNET, {"bandwidth": {"outbound": {"average": 0}}})


def test_a_scripts_own_bandwidth_is_left_to_it() -> None:
    port = {**PORT, "binding:vif_type": "ethernet", "binding:vif_details": {"bandwidth": "10G"}}
    vif = read_binding(port)
    assert (vif.bandwidth, vif.details) == (None, {"bandwidth": "10G"})


def test_the_drivers_need_nothing_of_the_host() -> None:
    """The package runs on controllers: nothing in it imports the part that plugs."""
    allowed = {"_version", "errors", "model", "neutron"}
    for file in Path(vifplug.neutron.__file__ or "").parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                assert (node.module or "").partition(".")[0] in allowed, f"{file.name} imports {node.module}"
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
                )
                assert not any(name.startswith("vifplug") for name in names), f"{file.name} imports {names}"
