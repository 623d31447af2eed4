"""The scripts that come with vifplug pass the kit, on the real thing where it can be had here."""

from __future__ import annotations

import pytest

from vifplug.conformance import Subject, conform, explained

pytestmark = pytest.mark.slow

BRIDGE = ["ip link add br0 type bridge", "ip link set br0 up"]
UPLINK = [
    "ip link add up0 type veth peer name up1",
    "ip link set up0 up",
    "ip link set up1 up",
    "ip address add 192.0.2.1/24 dev up0",
]
ISOLATED = {"isolated": True}
GUARDED = {"bridge": "br0", "anti_spoofing": True, "isolated": True}
FLOOD_LIST = {"vni": 4096, "remotes": ["192.0.2.2", "192.0.2.3"], "local": "192.0.2.1"}

SUBJECTS = {
    "linux-bridge": Subject(
        script="linux-bridge", details={"bridge": "br0"}, changed_details=ISOLATED, setup=BRIDGE
    ),
    "linux-bridge that makes its bridge": Subject(
        script="linux-bridge", details={"bridge": "br{number}", "create_bridge": True}
    ),
    "linux-bridge with anti-spoofing": Subject(script="linux-bridge", details=GUARDED, setup=BRIDGE),
    "vxlan-bridge": Subject(script="vxlan-bridge", details=FLOOD_LIST, setup=UPLINK),
    "routed": Subject(script="routed"),
    "macvtap": Subject(script="macvtap", details={"source_dev": "up0", "made_by": "script"}, setup=UPLINK),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_shipped_script_keeps_the_contract(name: str) -> None:
    report = conform(SUBJECTS[name])

    assert not [explained(result) for result in report.results if result.verdict == "failed"]
    assert report.counted("ok") > 60
