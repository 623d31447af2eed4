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
#: remembers which port is bound; it is not MidoNet's
MM_CTL = """#!/bin/sh
case $1 in
--bind-port) echo "$3" >"/run/vendor/port-$2" ;;
--unbind-port) rm "/run/vendor/port-$2" 2>/dev/null || { echo "State configuration error" >&2; exit 3; } ;;
--list-hosts)
    echo "Host: id=11111111-0000-4000-8000-000000000000 (*)"
    for port in /run/vendor/port-*; do
        [ ! -e "$port" ] || echo "    VirtualPortMapping{port=${port#*/port-}, device=$(cat "$port")}"
    done
    ;;
esac
"""
ISOLATED = {"isolated": True}
GUARDED = {"bridge": "br0", "anti_spoofing": True, "isolated": True}
#: Open vSwitch with its daemons, in the kit's own namespaces
SWITCH = [
    "mkdir /run/ovs",
    "ovsdb-tool create /run/ovs/conf.db /usr/share/openvswitch/vswitch.ovsschema",
    "ovsdb-server /run/ovs/conf.db --remote=punix:/run/ovs/db.sock --unixctl=/run/ovs/db.ctl"
    " --pidfile=/run/ovs/db.pid -vconsole:off -vsyslog:off --no-chdir --detach",
    "ovs-vswitchd unix:/run/ovs/db.sock --unixctl=/run/ovs/vswitchd.ctl --disable-system"
    " --pidfile=/run/ovs/vswitchd.pid -vconsole:off -vsyslog:off --no-chdir --detach",
    "ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev",
]
RECORDS = "ovs-vsctl --columns=name,external_ids list Interface"
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
    "openvswitch": Subject(
        script="openvswitch",
        details={"bridge": "br-int"},
        changed_details={"tag": 7},
        setup=SWITCH,
        watch=[RECORDS],
        environment={"OVS_RUNDIR": "/run/ovs"},
        perturb=['ovs-vsctl del-port "$VIF_DEVNAME"'],
    ),
    "midonet, with a stand-in for mm-ctl": Subject(
        script="midonet",
        setup=[
            "mkdir -p /run/vendor/bin",
            f"cat >/run/vendor/bin/mm-ctl <<'SH'\n{MM_CTL}SH",
            "chmod +x /run/vendor/bin/mm-ctl",
        ],
        watch=["ls /run/vendor"],
        environment={"PATH": "/run/vendor/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        perturb=['mm-ctl --unbind-port "$VIF_ID"'],
    ),
    "macvtap": Subject(script="macvtap", details={"source_dev": "up0", "made_by": "script"}, setup=UPLINK),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_shipped_script_keeps_the_contract(name: str) -> None:
    report = conform(SUBJECTS[name])

    assert not [explained(result) for result in report.results if result.verdict == "failed"]
    assert report.counted("ok") > 60
