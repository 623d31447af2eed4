"""Where the nodes of a graph stand: in columns from the guests to the network, with few crossings."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from .wiring import Graph, Kind

#: how often the columns are put in order, there and back: more does not help
_SWEEPS = 6
_FIRST = {Kind.GUEST: 0, Kind.VIF: 1}


class Arrangement(NamedTuple):
    """What stands where. Beside nodes there are points: where a connection that passes columns goes through them."""

    #: nodes and points, column by column, each from top to bottom
    columns: list[list[str]]
    #: for each edge of the graph its node, its points and its other node
    ways: list[list[str]]
    #: what each node and each point is connected with
    near: dict[str, list[str]]


def arrange(graph: Graph) -> Arrangement:
    """Columns from the guests to the network, in an order with few crossings."""
    depth = _depths(graph)
    before: dict[str, list[str]] = {node: [] for node in graph.nodes}
    after: dict[str, list[str]] = {node: [] for node in graph.nodes}
    ways = []
    for number, edge in enumerate(graph.edges):
        passed = range(depth[edge.source] + 1, depth[edge.target])
        points = {f"\0{number}/{column}": column for column in passed}
        depth |= points
        way = [edge.source, *points, edge.target]
        for one, other in pairwise(way):
            after.setdefault(one, []).append(other)
            before.setdefault(other, []).append(one)
        ways.append(way)
    for node in depth:
        before.setdefault(node, [])
        after.setdefault(node, [])
    near = {node: before[node] + after[node] for node in depth}
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in _together(list(graph.nodes), near):
        found[depth[node]].append(node)
    for _ in range(_SWEEPS):
        _sweep(found, before)
        _sweep(found[::-1], after)
    return Arrangement(found, ways, near)


def _depths(graph: Graph) -> dict[str, int]:
    """The column of each: as far out as its longest way from the guests; devices without VIF stand with the others."""
    found: dict[str, int] = {}

    def depth(node: str) -> int:
        if node not in found:
            kind = graph.nodes[node].kind
            least = _FIRST.get(kind, 2 if kind is Kind.DEVICE else 3)
            found[node] = least  # should there ever be a ring
            found[node] = max([least, *(depth(edge.source) + 1 for edge in graph.before(node))])
        return found[node]

    for node in graph.nodes:
        depth(node)
    return found


def _together(nodes: list[str], near: dict[str, list[str]]) -> list[str]:
    """Nodes and points, with those that hang together beside each other."""
    found: dict[str, None] = {}
    for start in nodes:
        stack = [start]
        while stack:
            node = stack.pop()
            if node not in found:
                found[node] = None
                stack += reversed(near[node])
    return list(found)


def _sweep(found: list[list[str]], towards: dict[str, list[str]]) -> None:
    """Each node goes to the middle of those it is connected with in the columns before."""
    place: dict[str, float] = {}
    for column in found:
        for number, node in enumerate(column):
            place.setdefault(node, (number + 0.5) / len(column))
        column.sort(key=_middle(place, towards))
        for number, node in enumerate(column):
            place[node] = (number + 0.5) / len(column)


def _middle(place: dict[str, float], towards: dict[str, list[str]]) -> Callable[[str], float]:
    def middle(node: str) -> float:
        places = sorted(place[other] for other in towards[node] if other in place)
        return sum(places) / len(places) if places else place[node]

    return middle


def heights(
    found: list[list[str]], tall: dict[str, float], near: dict[str, list[str]], gap: float
) -> dict[str, float]:
    """The middle of each node, in the unit of ``tall`` (the nodes' heights): as near as can be to the middle of what
    it is connected with, and ``gap`` from its neighbours."""
    tallest = max((sum(tall[node] + gap for node in column) for column in found), default=0.0)
    middle: dict[str, float] = {}
    for column in found:
        total = sum(tall[node] + gap for node in column)
        at = (tallest - total) / 2
        for node in column:
            middle[node] = at + (tall[node] + gap) / 2
            at += tall[node] + gap
    for _ in range(_SWEEPS):
        for column in [*found, *found[::-1]]:
            _settle(column, middle, tall, near, gap)
    top = min((middle[node] - tall[node] / 2 for node in middle), default=0.0)
    return {node: place - top for node, place in middle.items()}


def _settle(
    column: list[str],
    middle: dict[str, float],
    tall: dict[str, float],
    near: dict[str, list[str]],
    gap: float,
) -> None:
    """Move each towards its neighbours' middle, none past another: groups that touch move as one."""
    groups: list[_Group] = []
    for node in column:
        others = [middle[other] for other in near[node]]
        wanted = sum(others) / len(others) if others else middle[node]
        last = _Group([node], wanted - tall[node] / 2, tall[node])
        while groups and groups[-1].top + groups[-1].span + gap > last.top:
            last = groups.pop().joined(last, gap)
        groups.append(last)
    for group in groups:
        at = group.top
        for node in group.nodes:
            middle[node] = at + tall[node] / 2
            at += tall[node] + gap


class _Group(NamedTuple):
    """Nodes that stand as close as they may."""

    nodes: list[str]
    #: where its nodes would have the group's top be, added up
    wishes: float
    #: from the top of the first to the bottom of the last
    span: float

    @property
    def top(self) -> float:
        return self.wishes / len(self.nodes)

    def joined(self, other: _Group, gap: float) -> _Group:
        below = self.span + gap
        self.nodes.extend(other.nodes)
        return _Group(self.nodes, self.wishes + other.wishes - len(other.nodes) * below, below + other.span)
