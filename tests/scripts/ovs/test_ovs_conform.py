"""The conformance kit over the plug scripts openvswitch and ovn, with the real daemons in the kit's namespaces."""

from __future__ import annotations

import pytest

from vifplug.conformance import Subject, conform, explained

D = "/run/openvswitch"
_DAEMON = "--detach --no-chdir -vconsole:off -vsyslog:off"
_VSCTL = f"ovs-vsctl -t 10 --db=unix:{D}/db.sock"

SWITCH = [
    f"mkdir {D}",
    f"ovsdb-tool create {D}/conf.db /usr/share/openvswitch/vswitch.ovsschema",
    f"ovsdb-server {D}/conf.db --remote=punix:{D}/db.sock --unixctl={D}/conf.ctl --pidfile={D}/conf.pid {_DAEMON}",
    f"OVS_RUNDIR={D} ovs-vswitchd unix:{D}/db.sock --pidfile={D}/vswitchd.pid --disable-system {_DAEMON}",
    f"{_VSCTL} add-br br-int -- set bridge br-int datapath_type=netdev",
]
#: the kit's VIFs have numbers for ids; each needs a logical port, and the kit makes none
OVN = [
    *SWITCH,
    *(
        f"ovsdb-tool create {D}/{db}.db /usr/share/ovn/ovn-{db}.ovsschema; "
        f"ovsdb-server {D}/{db}.db --remote=punix:{D}/{db}.sock --unixctl={D}/{db}.ctl --pidfile={D}/{db}.pid {_DAEMON}"
        for db in ("nb", "sb")
    ),
    f"OVN_RUNDIR={D} ovn-northd --ovnnb-db=unix:{D}/nb.sock --ovnsb-db=unix:{D}/sb.sock "
    f"--pidfile={D}/northd.pid {_DAEMON}",
    f"{_VSCTL} set open_vswitch . external-ids:ovn-remote=unix:{D}/sb.sock external-ids:ovn-encap-type=geneve "
    "external-ids:ovn-encap-ip=127.0.0.1 external-ids:system-id=host1 external-ids:ovn-bridge-datapath-type=netdev",
    f"OVN_RUNDIR={D} OVS_RUNDIR={D} ovn-controller unix:{D}/db.sock --pidfile={D}/controller.pid {_DAEMON}",
    f"ovn-nbctl --db=unix:{D}/nb.sock ls-add blue "
    + " ".join(f"-- lsp-add blue {number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01" for number in range(800)),
]


def subject(script: str, setup: list[str], prefix: str, **details: object) -> Subject:
    """``prefix`` begins the port's name, which goes on like the tap's."""
    port = f"{prefix}${{VIF_DEVNAME#tap}}"
    return Subject(
        script=script,
        vif_type="ethernet",
        details={"tag": 5, **details},
        changed_details={"tag": 6, **details},
        setup=setup,
        environment={"OVS_RUNDIR": D},
        watch=[f"{_VSCTL} -f csv --columns={columns} list {table}" for table, columns in (
            ("Bridge", "name,datapath_type"), ("Port", "name,tag,trunks"), ("QoS", "type"))],
        perturb=[
            f"{_VSCTL} clear Port {port} tag",
            f"{_VSCTL} set Interface {port} external_ids:iface-id=another",
            f"{_VSCTL} set Interface {port} mtu_request=1234",
            f"{_VSCTL} del-port {port}",
        ],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(subject("openvswitch", SWITCH, "tap"), id="openvswitch"),
        pytest.param(subject("openvswitch", SWITCH, "qvo", hybrid=True), id="openvswitch, hybrid"),
        pytest.param(subject("ovn", OVN, "tap"), id="ovn"),
    ],
)
def test_it_conforms(subject: Subject) -> None:
    report = conform(subject)

    assert not [explained(result) for result in report.results if result.verdict == "failed"]
    assert report.counted("ok") > 70
