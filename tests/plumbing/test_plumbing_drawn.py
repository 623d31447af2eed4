"""Any graph at all is drawn: in columns from guests to the network, nothing on top of anything, well-formed."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from vifplug.plumbing import Edge, Fault, Graph, Kind, Node, State, svg
from vifplug.plumbing.layout import arrange, heights
from vifplug.plumbing.outline import Line, outline

SVG = "{http://www.w3.org/2000/svg}"

_faults = st.lists(
    st.builds(
        Fault, state=st.sampled_from([State.DRIFT, State.DOWN, State.GONE]), text=st.text(), do=st.text()
    ),
    max_size=2,
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Of any shape, with any text in it."""
    graph = Graph()
    for number in range(draw(st.integers(0, 12))):
        graph.add(
            Node(
                id=str(number),
                kind=draw(st.sampled_from(list(Kind))),
                name=draw(st.text(max_size=40)),
                words=draw(st.lists(st.text(), max_size=3)),
                faults=draw(_faults),
                idle=draw(st.booleans()),
            )
        )
    ends = st.sampled_from(sorted(graph.nodes)) if graph.nodes else st.nothing()
    for source, target in draw(st.lists(st.tuples(ends, ends), max_size=20)) if graph.nodes else []:
        if source != target:
            edge: Edge = graph.join(source, target, words=draw(st.lists(st.text(), max_size=2)))
            edge.faults = draw(_faults)
    graph.notes = draw(st.lists(st.text(), max_size=2))
    graph.turn()
    return graph


@given(graphs(), st.text())
def test_any_graph_becomes_well_formed_svg_with_every_node_once(graph: Graph, title: str) -> None:
    root = ElementTree.fromstring(svg(graph, title))  # noqa: S314 (our own)
    groups = [group for group in root.iter(f"{SVG}g") if group.get("id")]
    assert [group.get("id") for group in groups] == list(graph.nodes)
    wide, high = (float(root.get(name) or 0) for name in ("width", "height"))
    for group in groups:
        box = group.find(f"{SVG}rect")
        assert box is not None
        x, y, width, height = (float(box.get(name) or 0) for name in ("x", "y", "width", "height"))
        assert min(x, y) >= 0 and x + width <= wide and y + height <= high


@given(graphs())
def test_every_edge_leads_to_a_later_column_through_each_between(graph: Graph) -> None:
    columned, ways, _ = arrange(graph)
    place = {key: number for number, column in enumerate(columned) for key in column}
    assert graph.nodes.keys() <= place.keys()
    for edge, way in zip(graph.edges, ways, strict=True):
        assert (way[0], way[-1]) == (edge.source, edge.target)
        assert [place[key] - place[way[0]] for key in way] == list(range(len(way)))


@given(graphs(), st.lists(st.floats(10, 200), min_size=12, max_size=12))
def test_nothing_stands_on_anything_else(graph: Graph, sizes: list[float]) -> None:
    columned, _, near = arrange(graph)
    tall = dict.fromkeys(near, 4.0) | dict(zip(graph.nodes, sizes, strict=False))
    middle = heights(columned, tall, near, 10)
    for column in columned:
        for above, below in pairwise(column):
            assert middle[below] - middle[above] >= (tall[above] + tall[below]) / 2 + 10 - 1e-6
    assert all(middle[node] >= tall[node] / 2 - 1e-6 for node in middle)


@given(graphs())
def test_the_tree_tells_every_node_and_every_fault(graph: Graph) -> None:
    def every(lines: list[Line]) -> list[Line]:
        return [one for line in lines for one in [line, *every(line.under)]]

    lines = every(outline(graph))
    assert {(line.what, line.name) for line in lines} == {
        (node.kind.value, node.name) for node in graph.nodes.values()
    }
    told = [fault for line in lines for fault in line.faults]
    assert all(fault in told for part in graph.nodes.values() for fault in part.faults)


def test_a_bridge_between_its_ports_stands_in_the_middle() -> None:
    graph = Graph()
    for name in ("a", "b", "c"):
        graph.add(Node(id=name, kind=Kind.DEVICE, name=name))
        graph.join(name, "bridge")
    graph.add(Node(id="bridge", kind=Kind.BRIDGE, name="bridge"))
    graph.turn()
    columned, _, near = arrange(graph)
    middle = heights(columned, dict.fromkeys(near, 20.0), near, 10)
    assert middle["bridge"] == sorted(middle[name] for name in ("a", "b", "c"))[1]
