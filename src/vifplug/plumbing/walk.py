"""The ways of a VIF's frames through the graph, hop by hop."""

from __future__ import annotations

from msgspec import Struct, field
from msgspec.structs import replace

from .filters import Filter, Filters
from .wiring import Edge, Fault, Graph, Kind, Node, State

#: ways that are followed at most: a bridge may have many ports that lead out
_MOST = 32


class Hop(Struct, frozen=True, kw_only=True):
    """One thing that a frame passes."""

    #: guest, vif, device, filter, port, bridge, switch, routes, veth, vlan, tunnel, uplink or remote
    what: str
    name: str
    text: str = ""
    state: State = State.OK
    faults: list[Fault] = field(default_factory=list)
    #: frames of the probe that were seen here on the way out, and answers on the way back; None where nobody can look
    out: int | None = None
    back: int | None = None
    #: for a filter: what it dropped while the probe ran, by its rules' names
    dropped: dict[str, int] = field(default_factory=dict)
    #: the kernel's device to watch
    device: str | None = None

    @property
    def stop(self) -> Fault | None:
        """Why frames go no further, where something says so."""
        return next((fault for fault in self.faults if fault.stops), None)


Way = list[Hop]


def ways(graph: Graph, vif_id: str, filters: Filters) -> list[Way]:
    """Every way from the VIF's guest out of this host, or to where it ends."""
    start = f"vif:{vif_id}"
    before = [_hop(graph.nodes[edge.source]) for edge in graph.before(start)]
    found: list[Way] = []
    _follow(graph, start, [*before, _hop(graph.nodes[start])], filters, found)
    return found


def _follow(graph: Graph, node: str, way: Way, filters: Filters, found: list[Way]) -> None:
    onwards = graph.after(node)
    if not onwards and len(found) < _MOST:
        found.append(way)
    for edge in onwards:
        if len(found) >= _MOST:
            return
        _follow(graph, edge.target, [*way, *_step(graph, edge, filters)], filters, found)


def _step(graph: Graph, edge: Edge, filters: Filters) -> list[Hop]:
    """What is passed from one node to the next one, which is its last."""
    source, target = graph.nodes[edge.source], graph.nodes[edge.target]
    hops: list[Hop] = []
    entrance = source.kind is Kind.DEVICE and target.kind is not Kind.REMOTE
    if entrance and source.device is not None:
        hops += [_filter(one) for one in filters.at(source.device)]
    if edge.port and edge.port == source.name:  # it comes into a bridge
        state = State.IDLE if edge.idle and not edge.faults else edge.state
        text = ", ".join([f"of {target.name}", *edge.words])
        hops.append(Hop(what="port", name=edge.port, text=text, state=state, faults=edge.faults))
        words, faults = [], []
    else:
        words, faults = edge.words, edge.faults
    if target.kind is Kind.ROUTES and words:
        words = [f"to {', '.join(words)}"]
    hops.append(_hop(target, words, faults))
    if target.kind is Kind.BRIDGE:
        hops += [_filter(one) for one in filters.of_bridges()]
    elif target.kind is Kind.ROUTES:
        hops += [_filter(one) for one in filters.of_routes()]
    return hops


def _hop(node: Node, words: list[str] | None = None, faults: list[Fault] | None = None) -> Hop:
    every = [*(faults or []), *node.faults]
    worst = max((fault.state for fault in every), key=list(State).index, default=node.state)
    return Hop(
        what=node.kind.value,
        name=node.name,
        text=", ".join([*(words or []), *node.words]),
        state=worst,
        faults=every,
        device=node.device,
    )


def _filter(one: Filter) -> Hop:
    of = f"{one.family} {one.hook}, policy {one.policy}"
    name = "anti-spoofing" if (one.family, one.table) == ("netdev", "vifplug") else one.name
    return Hop(what="filter", name=name, text=f"{of}, {one.name}" if name != one.name else of)


def counted(way: Way, before: Filters, after: Filters) -> Way:
    """The way, with what its filters dropped between two looks at them."""
    was = {one.name: one.dropped for one in before.chains}
    diffs = {
        one.name: {
            rule: packets - was.get(one.name, {}).get(rule, 0)
            for rule, packets in one.dropped.items()
            if packets > was.get(one.name, {}).get(rule, 0)
        }
        for one in after.chains
    }
    return [
        replace(hop, dropped=diffs.get(hop.text.rpartition(", ")[2]) or diffs.get(hop.name) or {})
        if hop.what == "filter"
        else hop
        for hop in way
    ]
