"""Open vSwitch and OVN on this host."""

from __future__ import annotations

from typing import Any

from ..check import Findings, check, few, many, note, ok, problem, warning
from ..place import Place


@check("openvswitch", "ovsdb", "Whether Open vSwitch's database answers, and its switch follows it")
def ovsdb(place: Place) -> Findings:
    tables = place.switch.tables
    if not place.switch.is_there:
        if place.program("ovs-vswitchd") is None:
            yield ok("Open vSwitch is not installed")
        else:
            yield note(
                f"Open vSwitch is installed and does not run ({tables.error})",
                why="the scripts openvswitch and ovn need it",
                do="systemctl enable --now openvswitch-switch",
            )
    elif tables.root is None:
        yield problem(
            f"Open vSwitch's database cannot be used: {tables.error}",
            why="no VIF can be plugged with the scripts openvswitch and ovn, and unplugs leave debts",
            do="systemctl restart openvswitch-switch; as an ordinary user, run this as root",
        )
    elif tables.root["cur_cfg"] != tables.root["next_cfg"]:
        yield problem(
            f"ovs-vswitchd does not follow its database: it is at change {tables.root['cur_cfg']}, asked for"
            f" {tables.root['next_cfg']}",
            why="ports are on record there and do not exist: VIFs hang at plug until their deadline",
            do="see that ovs-vswitchd runs: systemctl restart openvswitch-switch; its log says more",
        )
    else:
        datapaths = few(_several(tables.root["datapath_types"])) or "of unknown types"
        version = tables.root["ovs_version"] or _installed(place)
        yield ok(f"Open vSwitch {version} answers, with datapaths {datapaths}")


@check("openvswitch", "ovs-bridges", "The integration bridge, and what it does without its controller")
def ovs_bridges(place: Place) -> Findings:
    tables = place.switch.tables
    if tables.root is None:
        return
    name = tables.external_ids.get("ovn-bridge", "br-int")
    bridges = {row["name"]: row for row in tables.bridges}
    if name not in bridges:
        yield note(
            f"there is no bridge {name}; there are: {few(sorted(bridges)) or 'none'}",
            why="VIFs are plugged into it unless their details name another",
            do=f"ovs-vsctl --may-exist add-br {name} -- set-fail-mode {name} secure (Neutron's agent and OVN make it"
            " themselves)",
        )
    elif bridges[name]["fail_mode"] != "secure":
        yield warning(
            f"{name} has fail_mode {bridges[name]['fail_mode'] or 'standalone (the default)'}",
            why="when its controller is gone it forwards like any switch: between networks, and past port security",
            do=f"ovs-vsctl set-fail-mode {name} secure",
        )
    else:
        yield ok(f"{name} has fail_mode secure")


@check("openvswitch", "stale-ports", "Ports whose device is gone or could not be opened")
def stale_ports(place: Place) -> Findings:
    tables = place.switch.tables
    if tables.root is None:
        return
    broken = {row["name"]: str(row["error"]) for row in tables.interfaces if row["error"]}
    gone = [name for name, error in broken.items() if "No such device" in error]
    other = [name for name in broken if name not in gone]
    if gone:
        yield warning(
            f"{many(len(gone), 'port')} without a device: {few(gone)}",
            why="left behind by guests that are gone; with hundreds ovs-vswitchd becomes slow, and a new tap of such a"
            " name is taken into its old network",
            do=f"ovs-vsctl --if-exists del-port {gone[0]}",
            items=gone,
        )
    if other:
        yield warning(
            f"{many(len(other), 'port')} out of order: {few(other)}; {other[0]}: {broken[other[0]]}",
            why="nothing passes through them",
            do=f"ovs-vsctl list interface {other[0]}; tail /var/log/openvswitch/ovs-vswitchd.log",
            items=other,
        )
    if not broken:
        yield ok(f"{many(len(tables.interfaces), 'port')}, each with its device")


@check("openvswitch", "ovn", "What OVN's controller needs to be told on this host")
def ovn(place: Place) -> Findings:
    """ovn-controller(8), "Configuration": ovn-remote, ovn-encap-type, ovn-encap-ip and system-id."""
    tables = place.switch.tables
    if tables.root is None:
        return
    runs = "ovn-controller" in place.processes
    known = tables.external_ids
    if not runs and "ovn-remote" not in known:
        yield ok("OVN is not used on this host")
        return
    missing = [
        key for key in ("ovn-remote", "ovn-encap-type", "ovn-encap-ip", "system-id") if not known.get(key)
    ]
    if missing:
        yield problem(
            f"OVN is not told {few(missing)}",
            why="ovn-controller does not join the network without: VIFs of the script ovn wait until their deadline",
            do="ovs-vsctl set open_vswitch . " + " ".join(f"external-ids:{key}=VALUE" for key in missing),
            items=missing,
        )
    if not runs:
        yield problem(
            f"ovn-controller does not run, though ovn-remote is {known['ovn-remote']}",
            why="no port of OVN's on this host comes up, and changes do not arrive",
            do="systemctl restart ovn-controller (ovn-host in Debian)",
        )
    elif not missing:
        yield ok(f"ovn-controller runs, with ovn-remote {known['ovn-remote']}")


def _installed(place: Place) -> str:
    """Whoever starts the switch without ovs-ctl leaves its version out of the database."""
    if place.program("ovs-vsctl") is None:
        return "of unknown version"
    return place.run("ovs-vsctl", "--version").out.partition("\n")[0].rpartition(" ")[2]


def _several(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]
