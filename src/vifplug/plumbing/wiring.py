"""The plumbing as a graph: guests, VIFs, devices, bridges and what leads out, and what is wrong with each."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import inf

from msgspec import Struct, field


class Kind(StrEnum):
    """What a node is."""

    GUEST = "guest"
    VIF = "vif"
    #: a tap, or whatever else a guest has for a device
    DEVICE = "device"
    BRIDGE = "bridge"
    #: a bridge of Open vSwitch
    SWITCH = "switch"
    #: the host's own routes
    ROUTES = "routes"
    #: one of a pair, or a device made on top of another
    VETH = "veth"
    VLAN = "vlan"
    TUNNEL = "tunnel"
    #: a card, or what stands for one: it leads out of this host
    UPLINK = "uplink"
    #: another host, or a group of them
    REMOTE = "remote"


class State(StrEnum):
    """How a node or an edge stands, the worst last."""

    OK = "ok"
    #: nothing is wrong and nobody is there: a tap without a guest
    IDLE = "idle"
    #: not as it was plugged
    DRIFT = "drift"
    DOWN = "down"
    GONE = "gone"


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong."""

    state: State
    #: a sentence
    text: str
    #: what to do about it, a command where there is one
    do: str
    #: whether frames go no further here
    stops: bool = True


class Node(Struct, kw_only=True):
    #: unique within the graph: "vif:…", "guest:…", "dev:…", "remote:…"
    id: str
    kind: Kind
    name: str
    #: what else there is to say of it, a few words each
    words: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    idle: bool = False
    #: the kernel's device at which its frames can be watched
    device: str | None = None

    @property
    def state(self) -> State:
        return _worst(self.faults, State.IDLE if self.idle else State.OK)


class Edge(Struct, kw_only=True):
    """A connection. In a finished graph it points from the guest's side to the network's."""

    source: str
    target: str
    #: as a port of a bridge: what it is called there, else empty
    port: str = ""
    words: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    idle: bool = False

    @property
    def state(self) -> State:
        return _worst(self.faults, State.IDLE if self.idle else State.OK)


def _worst(faults: list[Fault], otherwise: State) -> State:
    order = list(State)
    return max((fault.state for fault in faults), key=order.index, default=otherwise)


class Graph:
    """Nodes by id, and the edges between them."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self._joined: dict[frozenset[str], Edge] = {}
        self._ends: tuple[dict[str, list[Edge]], dict[str, list[Edge]]] | None = None
        #: what could not be looked at, a sentence each
        self.notes: list[str] = []

    def add(self, node: Node) -> Node:
        """The node of this id: this one, unless there is one already."""
        return self.nodes.setdefault(node.id, node)

    def join(self, source: str, target: str, *, port: str = "", words: list[str] | None = None) -> Edge:
        """The connection of the two: one, however often it is asked for."""
        both = frozenset((source, target))
        if both not in self._joined:
            self._joined[both] = Edge(source=source, target=target, port=port, words=words or [])
            self.edges.append(self._joined[both])
            self._ends = None
        return self._joined[both]

    def after(self, node: str) -> list[Edge]:
        """The edges that lead from a node towards the network."""
        return self._index()[0].get(node, [])

    def before(self, node: str) -> list[Edge]:
        """The edges that lead to a node from the guests' side."""
        return self._index()[1].get(node, [])

    def _index(self) -> tuple[dict[str, list[Edge]], dict[str, list[Edge]]]:
        """The edges by their sources, and by their targets."""
        if self._ends is None:
            self._ends = {}, {}
            for edge in self.edges:
                self._ends[0].setdefault(edge.source, []).append(edge)
                self._ends[1].setdefault(edge.target, []).append(edge)
        return self._ends

    @property
    def marked(self) -> list[Node | Edge]:
        """What has a fault."""
        every: list[Node | Edge] = [*self.nodes.values(), *self.edges]
        return [part for part in every if part.faults]

    def turn(self) -> None:
        """Point every edge from the guests to the network: to what is nearer to a way out of this host; where there
        is none, away from the guests."""
        out = self._distances(
            [node.id for node in self.nodes.values() if node.kind in (Kind.UPLINK, Kind.REMOTE)]
        )
        guests = self._distances(
            [node.id for node in self.nodes.values() if node.kind in (Kind.GUEST, Kind.VIF)]
        )

        def far(node: str) -> tuple[float, float, float, str]:
            kind = self.nodes[node].kind
            own = {Kind.GUEST: 3.0, Kind.VIF: 2.0, Kind.REMOTE: -1.0}.get(kind, 0.0)
            return own, out.get(node, inf), -guests.get(node, 0.0), node

        for edge in self.edges:
            if far(edge.source) < far(edge.target):
                edge.source, edge.target = edge.target, edge.source
        self._ends = None

    def _distances(self, starts: list[str]) -> dict[str, float]:
        near: dict[str, list[str]] = {}
        for edge in self.edges:
            near.setdefault(edge.source, []).append(edge.target)
            near.setdefault(edge.target, []).append(edge.source)
        found: dict[str, float] = dict.fromkeys(starts, 0.0)
        queue = deque(starts)
        while queue:
            node = queue.popleft()
            for other in near.get(node, []):
                if other not in found:
                    found[other] = found[node] + 1
                    queue.append(other)
        return found

    def of(self, starts: list[str]) -> Graph:
        """What frames of these nodes pass, and who is behind them: no other guests."""
        wanted: set[str] = set()
        for follow in (self.after, self.before):
            queue = deque(starts)
            seen = set(starts)
            while queue:
                node = queue.popleft()
                for edge in follow(node):
                    other = edge.target if edge.source == node else edge.source
                    if other not in seen:
                        seen.add(other)
                        queue.append(other)
            wanted |= seen
        part = Graph()
        part.nodes = {key: node for key, node in self.nodes.items() if key in wanted}
        part.edges = [edge for edge in self.edges if {edge.source, edge.target} <= wanted]
        part.notes = self.notes
        return part
