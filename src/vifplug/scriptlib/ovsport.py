"""One VIF's port in Open vSwitch's database: made so, compared, removed. Nothing here waits for the switch.

The columns are those of ovs-vswitchd.conf.db(5). The external ids are what os-vif and Nova write
(iface-id, iface-status, attached-mac, vm-uuid) and what libvirt writes besides (vm-id).
"""

from __future__ import annotations

from plugscript import BackendUnavailable, Drift, Failed, RetryLater

from .ovsdb import Ovsdb, Refused, insert, mutate, one, optional, select, several, to_map, to_set, update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Row = dict[str, Any]

#: an external id on what is ours: the VIF's id on interfaces and QoS rows; see _MADE for bridges
MARK = "vifplug"
_MADE = {MARK: "made for its ports"}
#: others write to the same database: a transaction whose ground has moved is thought out anew
_TRIES = 5
_INTERFACE = ["_uuid", "external_ids", "type", "options", "mtu_request", "ingress_policing_rate",
              "ingress_policing_burst", "error", "ofport"]  # fmt: skip
_PORT = ["_uuid", "interfaces", "tag", "trunks", "vlan_mode", "qos"]


class Port:
    """What shall be: a port of one interface. What is None is left as it is found."""

    def __init__(
        self, name: str, bridge: str, ids: Mapping[str, str], *, type_: str = "",
        options: Mapping[str, str] | None = None, mtu: int | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.bridge = bridge
        #: iface-id and our mark are among them
        self.ids = dict(ids)
        self.type = type_
        self.options = dict(options or {})
        #: columns of the Interface and of the Port
        self.interface: Row = {} if mtu is None else {"mtu_request": mtu}
        self.vlan: Row = {}
        #: other_config of an egress-policer; empty for none
        self.policer: dict[str, str] = {}

    def words(self) -> list[str]:
        """For the log: what is set, as ovs-vsctl would take it."""
        columns = {"type": self.type, **self.options, **self.interface, **self.vlan}
        said = [f"{key}={value}" for key, value in columns.items() if value not in ("", 0)]
        return [*said, *(f"external_ids:{key}={value}" for key, value in self.ids.items())]


class Found:
    """What the database has of a port's name and bridge."""

    def __init__(self, db: Ovsdb, name: str, bridge: str) -> None:
        bridges, ports, interfaces = (
            result["rows"]
            for result in db.transact(
                select("Bridge", [["name", "==", bridge]], ["_uuid"]),
                select("Port", [["name", "==", name]], _PORT),
                select("Interface", [["name", "==", name]], _INTERFACE),
            )
        )
        self.name = name
        self.bridge: Row | None = bridges[0] if bridges else None
        self.interface: Row | None = interfaces[0] if interfaces else None
        self.port: Row | None = ports[0] if ports else None
        #: the name of the bridge that it is in
        self.place: str | None = None
        self.policer: Row | None = None
        if self.port is not None:
            queries = [select("Bridge", [["ports", "includes", self.port["_uuid"]]], ["name"])]
            if one(self.port["qos"]) is not None:
                queries.append(
                    select("QoS", [["_uuid", "==", self.port["qos"]]], ["other_config", "external_ids"])
                )
            places, *qos = (result["rows"] for result in db.transact(*queries))
            self.place = places[0]["name"] if places else None
            self.policer = qos[0][0] if qos and qos[0] else None

    def belongs_to(self, ids: Mapping[str, str]) -> bool:
        """Whether it is the VIF's: by our mark, or (made by Nova or libvirt, and without one) by its iface-id."""
        if self.port is None or self.interface is None:
            return False
        found: dict[str, str] = self.interface["external_ids"]
        key = MARK if MARK in found else "iface-id"
        return found.get(key) == ids[key]

    def refuse_other(self, ids: Mapping[str, str]) -> None:
        """Raises Failed if the name is taken by what is not this VIF's."""
        if self.interface is None or self.belongs_to(ids):
            return
        iface_id = self.interface["external_ids"].get("iface-id")
        whose = f"the iface-id {iface_id}" if iface_id else "no iface-id"
        raise Failed(
            f"Open vSwitch has an interface {self.name} already, with {whose}, which is not this VIF's: "
            f"if nothing needs it any more, remove it with 'ovs-vsctl del-port {self.name}'"
        )


class Datapath:
    """What moves a bridge's frames."""

    def __init__(self, type_: str, dpdk: bool) -> None:
        #: datapath_type: system (the kernel's) or netdev (in ovs-vswitchd itself)
        self.type = type_ or "system"
        self.userspace = self.type == "netdev"
        #: whether the switch has DPDK's ports, such as vhost-user
        self.dpdk = self.userspace and dpdk


def datapath_of(db: Ovsdb, bridge: str) -> Datapath | None:
    """None: there is no such bridge."""
    bridges, switch = (
        result["rows"]
        for result in db.transact(
            select("Bridge", [["name", "==", bridge]], ["datapath_type"]),
            select("Open_vSwitch", [], ["dpdk_initialized"]),
        )
    )
    return Datapath(bridges[0]["datapath_type"], switch[0]["dpdk_initialized"]) if bridges else None


def ensure_bridge(db: Ovsdb, bridge: str, make: str | None) -> Datapath:
    """The bridge's datapath. A missing bridge is made with that of ``make``.

    Raises BackendUnavailable for a missing bridge that is not to be made.
    """
    last: object = "another removes it again and again"
    for _ in range(_TRIES):
        datapath = datapath_of(db, bridge)
        if datapath is not None:
            return datapath
        if make is None:
            raise BackendUnavailable(
                f"Open vSwitch has no bridge {bridge} on this host: make it, or set vif_details.create_bridge to true"
            )
        row = {
            "name": bridge,
            "datapath_type": make,
            "ports": ["named-uuid", "port"],
            "external_ids": to_map(_MADE),
        }
        try:
            db.change(
                ["add-br", bridge, f"datapath_type={make}"],
                insert("Interface", {"name": bridge, "type": "internal"}, "interface"),
                insert("Port", {"name": bridge, "interfaces": ["named-uuid", "interface"]}, "port"),
                insert("Bridge", row, "bridge"),
                mutate("Open_vSwitch", [], ["bridges", "insert", ["named-uuid", "bridge"]]),
                _NEXT,
            )
        except Refused as refused:  # another was quicker, or the name is a port's
            last = refused
        if db.dry_run:
            return Datapath(make, dpdk=True)
    raise Failed(f"bridge {bridge} cannot be made: {last}")


def ensure(db: Ovsdb, port: Port, clear: Mapping[str, list[str]]) -> int:
    """Make the database say so, and nothing twice: what is right already is not touched.

    ``clear`` names columns to empty, by table. Returns the configuration's number: once the switch has
    come that far, all of it is applied. Raises Failed where the name is taken by somebody else's.
    """
    for _ in range(_TRIES):
        found = Found(db, port.name, port.bridge)
        found.refuse_other(port.ids)
        if found.port is not None and found.place == port.bridge and _alike(found, port):
            words, operations = "set-port", _changes(found, port, clear)
        else:
            words, operations = "add-port", [*_removal(found), *_addition(port)]
        try:
            results = db.change([words, port.bridge, port.name, *port.words()], *operations, _NEXT, _NUMBER)
        except Refused as refused:
            last: object = refused
            continue
        if db.dry_run:
            return 0
        if all(result.get("count") != 0 for result in results):
            return int(results[-1]["rows"][0]["next_cfg"])
        last = f"bridge {port.bridge} went away"
    raise RetryLater(f"Open vSwitch's database refuses port {port.name}: {last}")


def remove(
    db: Ovsdb, name: str, bridge: str, ids: Mapping[str, str], *, keep_bridge: bool = False
) -> int | None:
    """Remove the port if it is this VIF's; None if there is nothing of it. Returns as ``ensure`` does.

    With its last port goes a bridge that was made here, unless ``keep_bridge``.
    """
    number = None
    for _ in range(_TRIES):
        found = Found(db, name, bridge)
        # it looks at the ports before they change
        operations = [] if keep_bridge else _bridge_removal(db, bridge, found)
        with_bridge = bool(operations)
        operations += _removal(found) if found.belongs_to(ids) else []
        if not operations:
            return number
        try:
            results = db.change(["del-port", found.place or bridge, name], *operations, _NEXT, _NUMBER)
        except Refused as refused:
            last = refused
        else:
            number = int(results[-1]["rows"][0]["next_cfg"]) if results else None
            if keep_bridge or with_bridge or not results:
                return number
            # Once more: of several that go at once, each saw the others' ports, and the last one sees none.
    raise RetryLater(f"Open vSwitch's database keeps port {name}: {last}")


def ports_of(db: Ovsdb, ids: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The names of the VIF's ports: those that have our mark, and those of ``names`` that are its all the same."""
    marked = ["external_ids", "includes", to_map({MARK: ids[MARK]})]
    same_id = ["external_ids", "includes", to_map({"iface-id": ids["iface-id"]})]
    queries: list[list[Any]] = [[marked], *([same_id, ["name", "==", name]] for name in names)]
    results = db.transact(*(select("Interface", where, ["name", "external_ids"]) for where in queries))
    rows = [row for result in results for row in result["rows"]]
    ours = [row["name"] for row in rows if row["external_ids"].get(MARK, ids[MARK]) == ids[MARK]]
    return list(dict.fromkeys(ours))


def compare(found: Found, port: Port, *, device_may_miss: bool = False) -> list[Drift]:
    """What is not as it was plugged."""
    if found.port is None or found.interface is None:
        return [Drift(f"port {port.name}", f"in bridge {port.bridge}", None)]
    row = {**found.interface, **found.port}
    seen: list[tuple[str, object, object]] = [
        (f"bridge of {port.name}", port.bridge, found.place),
        ("type", port.type, row["type"]),
    ]
    if not device_may_miss:
        seen.append(("error", None, one(row["error"])))
    seen += [(f"external_ids:{key}", value, row["external_ids"].get(key)) for key, value in port.ids.items()]
    seen += [(f"options:{key}", value, row["options"].get(key)) for key, value in port.options.items()]
    for column, value in {**port.interface, **port.vlan}.items():
        seen.append(
            (column, value, sorted(several(row[column])) if isinstance(value, list) else one(row[column]))
        )
    if port.policer:
        seen.append(("egress policer", port.policer, found.policer and found.policer["other_config"]))
    return [Drift(what, expected, value) for what, expected, value in seen if expected != value]


# --- operations ----------------------------------------------------------------------------------

#: as ovs-vsctl does: the switch writes the number into cur_cfg when it has applied all up to it
_NEXT = mutate("Open_vSwitch", [], ["next_cfg", "+=", 1])
_NUMBER = select("Open_vSwitch", [], ["next_cfg"])


def _value(value: Any) -> Any:
    return to_set(value) if isinstance(value, list) else value


def _alike(found: Found, port: Port) -> bool:
    """Whether the interface can become the one wanted; its type and options cannot change while it lives."""
    interface = found.interface
    return interface is not None and interface["type"] == port.type and interface["options"] == port.options


def _addition(port: Port) -> list[Row]:
    interface = {
        "name": port.name,
        "type": port.type,
        "options": to_map(port.options),
        "external_ids": to_map(port.ids),
        **port.interface,
    }
    row = {"name": port.name, "interfaces": ["named-uuid", "interface"]}
    row.update({column: _value(value) for column, value in port.vlan.items()})
    operations = [insert("Interface", interface, "interface")]
    if port.policer:
        operations.append(_policer(port))
        row["qos"] = ["named-uuid", "qos"]
    operations.append(insert("Port", row, "port"))
    operations.append(
        mutate("Bridge", [["name", "==", port.bridge]], ["ports", "insert", ["named-uuid", "port"]])
    )
    return operations


def _policer(port: Port) -> Row:
    row = {
        "type": "egress-policer",
        "other_config": to_map(port.policer),
        "external_ids": to_map({MARK: port.ids[MARK]}),
    }
    return insert("QoS", row, "qos")


def _changes(found: Found, port: Port, clear: Mapping[str, list[str]]) -> list[Row]:
    """What makes a port that is there the one that is wanted."""
    assert found.interface is not None  # noqa: S101 (for mypy: the caller saw to it)
    assert found.port is not None  # noqa: S101
    operations: list[Row] = []
    ids = found.interface["external_ids"]
    new = {key: value for key, value in port.ids.items() if ids.get(key) != value}
    if new:
        operations.append(
            mutate(
                "Interface",
                [["_uuid", "==", found.interface["_uuid"]]],
                ["external_ids", "delete", to_set(list(new))],
                ["external_ids", "insert", to_map(new)],
            )
        )
    for table, row, wanted in (
        ("Interface", found.interface, port.interface),
        ("Port", found.port, port.vlan),
    ):
        emptied = {column: None for column in clear.get(table, []) if column not in wanted}
        values = {
            column: optional(_value(value))
            for column, value in {**wanted, **emptied}.items()
            if value != (sorted(several(row[column])) if isinstance(value, list) else one(row[column]))
        }
        if values:
            operations.append(update(table, [["_uuid", "==", row["_uuid"]]], values))
    ours = found.policer is not None and MARK in found.policer["external_ids"]
    has = found.policer["other_config"] if found.policer is not None and ours else {}
    if has != port.policer:
        qos = to_set([])
        if ours:
            operations.append(_removed_policer(found.port["qos"]))
        if port.policer:
            operations.append(_policer(port))
            qos = ["named-uuid", "qos"]
        operations.append(update("Port", [["_uuid", "==", found.port["_uuid"]]], {"qos": qos}))
    return operations


def _removed_policer(uuid: Any) -> Row:
    return {"op": "delete", "table": "QoS", "where": [["_uuid", "==", uuid]]}


def _removal(found: Found) -> list[Row]:
    """Take the port out of the bridge that it is in; nothing else refers to it, so it goes."""
    if found.port is None:
        return []
    uuid = found.port["_uuid"]
    operations = [mutate("Bridge", [["ports", "includes", uuid]], ["ports", "delete", uuid])]
    if found.policer is not None and MARK in found.policer["external_ids"]:
        operations.append(update("Port", [["_uuid", "==", uuid]], {"qos": to_set([])}))
        operations.append(_removed_policer(found.port["qos"]))
    return operations


def _bridge_removal(db: Ovsdb, bridge: str, found: Found) -> list[Row]:
    """Remove a bridge that was made here, with its last port; patch ports to other bridges do not count."""
    if found.bridge is None:
        return []
    where = [["name", "==", bridge], ["external_ids", "includes", to_map(_MADE)]]
    rows = db.select("Bridge", where, ["_uuid", "ports"])
    if not rows:
        return []
    uuid, ports = rows[0]["_uuid"], several(rows[0]["ports"])
    gone = found.port["_uuid"] if found.port else None
    left = db.transact(
        *(select("Port", [["_uuid", "==", port]], ["name", "interfaces"]) for port in ports if port != gone)
    )
    interfaces = [uuid for result in left for row in result["rows"] for uuid in several(row["interfaces"])]
    types = db.transact(
        *(select("Interface", [["_uuid", "==", one]], ["name", "type"]) for one in interfaces)
    )
    if any(row["type"] != "patch" and row["name"] != bridge for result in types for row in result["rows"]):
        return []
    unchanged = {
        "op": "wait", "table": "Bridge", "where": [["_uuid", "==", uuid]], "columns": ["ports"], "until": "==",
        "rows": [{"ports": to_set(ports)}], "timeout": 0,
    }  # fmt: skip
    return [unchanged, mutate("Open_vSwitch", [], ["bridges", "delete", uuid])]
