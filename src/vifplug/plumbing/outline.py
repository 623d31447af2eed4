"""The graph as a tree for a terminal: from the network to the guests, each thing once."""

from __future__ import annotations

from msgspec import Struct, field

from .wiring import Edge, Fault, Graph, Kind, Node, State


class Line(Struct, frozen=True, kw_only=True):
    """A node, and what hangs on it on the guests' side."""

    what: str
    name: str
    text: str
    state: State
    faults: list[Fault]
    under: list[Line] = field(default_factory=list)


def outline(graph: Graph) -> list[Line]:
    """One tree for each thing that nothing is beyond. What has several ways out stands under the first, and is
    only named under the others."""
    roots = [node for node in graph.nodes.values() if not graph.after(node.id)]
    order = list(Kind)
    told: set[str] = set()
    roots.sort(key=lambda node: (-order.index(node.kind), node.name))
    return [_line(graph, root, None, told) for root in roots]


def _line(graph: Graph, node: Node, edge: Edge | None, told: set[str]) -> Line:
    words = [*(edge.words if edge else []), *node.words]
    faults = [*(edge.faults if edge else []), *node.faults]
    seen = node.id in told
    told.add(node.id)
    state = max([node.state, *([edge.state] if edge else [])], key=list(State).index)
    under = (
        [] if seen else [_line(graph, graph.nodes[one.source], one, told) for one in graph.before(node.id)]
    )
    return Line(
        what=node.kind.value,
        name=node.name,
        text="as above" if seen and graph.before(node.id) else ", ".join(words),
        state=state,
        faults=[] if seen else faults,
        under=under,
    )
