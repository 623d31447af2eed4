"""Open vSwitch's bridges and ports, as its database has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..scriptlib.ovsdb import Ovsdb, Refused, TimedOut, Unreachable, one, select, several

if TYPE_CHECKING:
    from ..doctor.place import Place

_LOCK = "ovs_vswitchd"
#: seconds that the database may take
_PATIENCE = 2.0
_WANTED = {
    "Bridge": ["name", "ports", "fail_mode", "datapath_type"],
    "Port": ["_uuid", "name", "interfaces", "tag", "trunks"],
    "Interface": [
        "_uuid",
        "name",
        "type",
        "error",
        "admin_state",
        "link_state",
        "options",
        "ofport",
        "external_ids",
    ],
}
#: interface types that carry frames to other hosts (ovs-vswitchd.conf.db(5), "Tunnel Options")
TUNNELS = (
    "vxlan",
    "geneve",
    "gre",
    "ip6gre",
    "stt",
    "lisp",
    "erspan",
    "ip6erspan",
    "gtpu",
    "bareudp",
    "srv6",
)


class Port(Struct, frozen=True, kw_only=True):
    """One interface of a port in a bridge."""

    name: str
    bridge: str
    #: the interface's type; empty for a device of the kernel
    type: str
    error: str | None
    up: bool
    tag: int | None
    trunks: list[int]
    options: dict[str, str]
    external_ids: dict[str, str]

    @property
    def peer(self) -> str | None:
        """The other end of a patch port."""
        return self.options.get("peer") if self.type == "patch" else None

    @property
    def remote(self) -> str | None:
        """Where a tunnel leads; "flow" where each frame's flow tells."""
        return self.options.get("remote_ip") if self.type in TUNNELS else None


class Bridge(Struct, frozen=True, kw_only=True):
    name: str
    datapath: str
    secure: bool
    ports: list[Port]


class Switch:
    """What the database says now; ``error`` is why it says nothing, None where there is no Open vSwitch."""

    def __init__(self, place: Place) -> None:
        self.bridges: dict[str, Bridge] = {}
        self.error: str | None = None
        found = place.switch
        #: False when nobody moves the frames: ovs-vswitchd holds a lock in the database as long as it runs
        self.runs = False
        #: whether there is anything to ask
        self.is_there = found.is_there
        self.remote = found.remote
        if not self.is_there:
            return
        try:
            with Ovsdb(found.remote, _PATIENCE) as database:
                answers = database.transact(
                    *(select(table, [], columns) for table, columns in _WANTED.items())
                )
                self.runs = database.is_held(_LOCK)
        except TimedOut:
            self.error = f"Open vSwitch's database at {found.remote} does not answer within {_PATIENCE:g} s"
            return
        except (Unreachable, Refused) as error:
            self.error = str(error)
            return
        bridges, ports, interfaces = (answer["rows"] for answer in answers)
        self.bridges = _bridges(bridges, ports, interfaces)

    @property
    def ports(self) -> dict[str, Port]:
        return {port.name: port for bridge in self.bridges.values() for port in bridge.ports}

    def port_of(self, vif_id: str, devname: str) -> Port | None:
        """A VIF's port: by its name, else by the id that Neutron and OVN know it by."""
        found = self.ports
        if devname in found:
            return found[devname]
        return next((port for port in found.values() if port.external_ids.get("iface-id") == vif_id), None)


def _bridges(
    bridges: list[dict[str, Any]], ports: list[dict[str, Any]], interfaces: list[dict[str, Any]]
) -> Any:
    by_uuid = {row["_uuid"][1]: row for row in ports}
    parts = {row["_uuid"][1]: row for row in interfaces}
    made = {}
    for row in bridges:
        of_it = [by_uuid[uuid[1]] for uuid in several(row["ports"]) if uuid[1] in by_uuid]
        made[row["name"]] = Bridge(
            name=row["name"],
            datapath=row["datapath_type"] or "system",
            secure=row["fail_mode"] == "secure",
            ports=[
                _port(row["name"], port, parts[uuid[1]])
                for port in of_it
                for uuid in several(port["interfaces"])
                if uuid[1] in parts
            ],
        )
    return made


def _port(bridge: str, port: dict[str, Any], interface: dict[str, Any]) -> Port:
    return Port(
        name=interface["name"],
        bridge=bridge,
        type=interface["type"],
        error=one(interface["error"]),
        up=one(interface["link_state"]) != "down" and one(interface["admin_state"]) != "down",
        tag=one(port["tag"]),
        trunks=several(port["trunks"]),
        options=interface["options"],
        external_ids=interface["external_ids"],
    )
