"""The graph as SVG: one file that needs nothing else, for light screens and dark ones."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree as ET  # only written, never read

from .layout import arrange, heights
from .wiring import Edge, Graph, Kind, Node, State

_NAMESPACE = "http://www.w3.org/2000/svg"
#: pixels
_WIDE, _ACROSS, _GAP, _MARGIN, _HEAD, _FOOT = 236.0, 76.0, 18.0, 32.0, 112.0, 56.0
_POINT = 4.0
_LINE, _PAD, _ICON = 16.0, 11.0, 34.0
#: characters that fit into a box beside its icon, in each of its fonts, and into the whole of it
_NAME_FITS, _TEXT_FITS, _FAULT_FITS = 21, 29, 34
_MOST_LINES = 4

_HEADINGS = {
    Kind.GUEST: "Guests", Kind.VIF: "VIFs", Kind.DEVICE: "Devices", Kind.BRIDGE: "Bridges",
    Kind.SWITCH: "Switches", Kind.ROUTES: "Routes", Kind.VETH: "Wires", Kind.VLAN: "VLANs", Kind.TUNNEL: "Tunnels",
    Kind.UPLINK: "Uplinks", Kind.REMOTE: "Other hosts",
}  # fmt: skip

#: what things look like wherever they are
_STYLE = """
text { font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif; font-size:11.5px; }
.title { font-size:20px; font-weight:600; } .sum { font-size:13px; }
.head { font-size:11px; font-weight:600; letter-spacing:1px; text-transform:uppercase; }
.name { font-size:13.5px; font-weight:600; font-family:ui-monospace,'SF Mono','DejaVu Sans Mono',Menlo,monospace; }
.icon { fill:none; stroke-width:1.6; stroke-linecap:round; stroke-linejoin:round; }
.wire { fill:none; stroke-width:1.8; }
.tag { font-size:10.5px; paint-order:stroke; stroke-width:5px; stroke-linejoin:round; }
.idle .box { stroke-dasharray:4 4; } .idle .icon, .idle .name { opacity:.55; } .wire.idle { stroke-dasharray:2 6; }
.drift .box, .down .box, .gone .box { stroke-width:1.6; } .gone .box { stroke-dasharray:6 4; }
.wire.drift, .wire.down, .wire.gone { stroke-width:2.4; stroke-dasharray:9 5; }
"""
#: what is told apart by its colour, written out for each screen: not every reader of SVG knows CSS variables
_COLOURED = """
.paper { fill:PAPER; } text { fill:SOFT; } .title, .name { fill:INK; } .box { fill:CARD; stroke:RIM; }
.wire { stroke:WIRE; } .tag { stroke:PAPER; }
.guest .icon { stroke:GUEST; } .vif .icon { stroke:VIF; } .device .icon { stroke:DEVICE; }
.net .icon { stroke:NET; } .out .icon { stroke:OUT; }
.drift .box { fill:PALE_DRIFT; stroke:DRIFT; } .drift .icon, .wire.drift { stroke:DRIFT; }
.down .box, .gone .box { fill:PALE_DOWN; stroke:DOWN; }
.down .icon, .gone .icon, .wire.down, .wire.gone { stroke:DOWN; }
.why.drift, .tag.drift { fill:DRIFT; } .why.down, .why.gone, .tag.down, .tag.gone { fill:DOWN; }
"""
_LIGHT = {
    "PAPER": "#f6f7f9", "INK": "#1b2330", "SOFT": "#5d6a7c", "CARD": "#ffffff", "RIM": "#d5dbe4", "WIRE": "#93a1b5",
    "GUEST": "#6d4fc4", "VIF": "#1f6fd1", "DEVICE": "#0f8a8a", "NET": "#2f7d46", "OUT": "#a3600c",
    "PALE_DRIFT": "#fff6e3", "PALE_DOWN": "#fdeceb", "DRIFT": "#b06500", "DOWN": "#c8322b",
}  # fmt: skip
_DARK = {
    "PAPER": "#12161d", "INK": "#e8edf4", "SOFT": "#97a4b6", "CARD": "#1b212b", "RIM": "#323c4b", "WIRE": "#5b6b81",
    "GUEST": "#a48bf0", "VIF": "#6aa9f7", "DEVICE": "#3fc1bd", "NET": "#66c283", "OUT": "#e0a04a",
    "PALE_DRIFT": "#2e2617", "PALE_DOWN": "#351c1d", "DRIFT": "#f0b04a", "DOWN": "#ff7a70",
}  # fmt: skip

#: drawn in a square of 20
_ICONS = {
    Kind.GUEST: "M2 3h16v10H2z M7 17h6 M10 13v4",
    Kind.VIF: "M6 2v5 M14 2v5 M4 7h12v3a6 6 0 0 1-12 0z M10 16v3",
    Kind.DEVICE: "M3 5h14v10H3z M7 15v3 M10 15v3 M13 15v3 M7 9h6",
    Kind.BRIDGE: "M1 15h18 M2 15C4 6 16 6 18 15 M6 15v-5 M10 15V8.500 M14 15v-5",
    Kind.SWITCH: "M3 6h13l-3-3 M16 6l-3 3 M17 14H4l3-3 M4 14l3 3",
    Kind.ROUTES: "M10 18v-7 M10 11C10 6 4 8 4 3 M10 11c0-5 6-3 6-8 M2 5l2-2 2 2 M14 5l2-2 2 2",
    Kind.VETH: "M3 10a2 2 0 1 0 4 0a2 2 0 1 0-4 0 M13 10a2 2 0 1 0 4 0a2 2 0 1 0-4 0 M7 10h6",
    Kind.VLAN: "M3 4h9l5 6-5 6H3z M7 10h.01",
    Kind.TUNNEL: "M2 16V10a8 8 0 0 1 16 0v6 M6 16v-6a4 4 0 0 1 8 0v6 M1 16h18",
    Kind.UPLINK: "M4 18h12 M10 18V3 M5 8l5-5 5 5",
    Kind.REMOTE: "M3 3h14v6H3z M3 11h14v6H3z M6 6h.01 M6 14h.01",
}  # fmt: skip
_CLASSES = {
    Kind.GUEST: "guest", Kind.VIF: "vif", Kind.DEVICE: "device", Kind.BRIDGE: "net", Kind.SWITCH: "net",
    Kind.ROUTES: "net", Kind.VETH: "device", Kind.VLAN: "device", Kind.TUNNEL: "out", Kind.UPLINK: "out",
    Kind.REMOTE: "out",
}  # fmt: skip


class _Box(NamedTuple):
    x: float
    #: its middle
    y: float
    height: float


def svg(graph: Graph, title: str) -> str:
    """The picture. ``title``: whose plumbing it is."""
    columned, ways, near = arrange(graph)
    tall = {key: _height(graph.nodes[key]) if key in graph.nodes else _POINT for key in near}
    middle = heights(columned, tall, near, _GAP)
    boxes = {
        key: _Box(_MARGIN + place * (_WIDE + _ACROSS), _HEAD + middle[key], tall[key])
        for place, column in enumerate(columned)
        for key in column
    }
    wide = 2 * _MARGIN + max(len(columned), 2) * (_WIDE + _ACROSS) - _ACROSS
    notes = [_short(note, int(wide / 6.4)) for note in graph.notes]
    bottom = max((box.y + box.height / 2 for box in boxes.values()), default=_HEAD)
    high = bottom + _FOOT + _LINE * len(notes)
    root = ET.Element(
        "svg",
        xmlns=_NAMESPACE,
        viewBox=f"0 0 {_n(wide)} {_n(high)}",
        width=_n(wide),
        height=_n(high),
        role="img",
    )
    ET.SubElement(root, "title").text = _clean(title)
    ET.SubElement(root, "style").text = _style()
    ET.SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    _text(root, _MARGIN, 42, title, "title")
    _text(root, _MARGIN, 64, summary(graph), "sum")
    _draw_headings(root, graph, columned)
    wires = ET.SubElement(root, "g")
    for edge, way in zip(graph.edges, ways, strict=True):
        _draw_edge(wires, edge, [boxes[key] for key in way])
    for key, node in graph.nodes.items():
        _draw_node(root, node, boxes[key])
    for edge, way in zip(graph.edges, ways, strict=True):
        _draw_tag(root, edge, *(boxes[key] for key in way[:2]))
    for number, note in enumerate(notes):
        _text(root, _MARGIN, bottom + 36 + number * _LINE, note, "sum")
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode") + "\n"


def _style() -> str:
    return f"{_STYLE}{_in(_LIGHT)}@media (prefers-color-scheme: dark) {{{_in(_DARK)}}}\n"


def _in(colours: dict[str, str]) -> str:
    """The rules in these colours."""
    return re.sub("[A-Z]{3,}(_[A-Z]+)?", lambda word: colours[word[0]], _COLOURED)


def summary(graph: Graph) -> str:
    """How many of what there are, and how many are marked: "2 guests, 3 VIFs; 1 drifted"."""
    counts = [
        (kind, sum(node.kind is kind for node in graph.nodes.values())) for kind in (Kind.GUEST, Kind.VIF)
    ]
    words = {Kind.GUEST: "guest", Kind.VIF: "VIF"}
    told = ", ".join(f"{count} {words[kind]}{'' if count == 1 else 's'}" for kind, count in counts)
    states = [part.state for part in graph.marked]
    bad = [(state, states.count(state)) for state in (State.GONE, State.DOWN, State.DRIFT) if state in states]
    names = {State.GONE: "gone", State.DOWN: "down", State.DRIFT: "drifted"}
    return f"{told}; {', '.join(f'{count} {names[state]}' for state, count in bad) or 'all as it should be'}"


def _draw_headings(root: ET.Element, graph: Graph, columned: list[list[str]]) -> None:
    for place, column in enumerate(columned):
        kinds = list(dict.fromkeys(graph.nodes[key].kind for key in column if key in graph.nodes))
        text = ", ".join(_HEADINGS[kind] for kind in kinds[:2])
        _text(root, _MARGIN + place * (_WIDE + _ACROSS), _HEAD - 14, text, "head")


def _draw_edge(parent: ET.Element, edge: Edge, boxes: list[_Box]) -> None:
    path = f"M{_n(boxes[0].x + _WIDE)} {_n(boxes[0].y)}"
    for one, other in pairwise(boxes):
        bend = (one.x + _WIDE + other.x) / 2
        path += f"C{_n(bend)} {_n(one.y)} {_n(bend)} {_n(other.y)} {_n(other.x)} {_n(other.y)}"
        if other is not boxes[-1]:  # straight through a column
            path += f"H{_n(other.x + _WIDE)}"
    wire = ET.SubElement(parent, "path", {"class": f"wire {edge.state}", "d": path})
    if told := [
        *([f"port {edge.port}"] if edge.port else []),
        *edge.words,
        *(one.text for one in edge.faults),
    ]:
        ET.SubElement(wire, "title").text = _clean(", ".join(told))


def _draw_tag(parent: ET.Element, edge: Edge, one: _Box, other: _Box) -> None:
    """On the wire: what is not said elsewhere."""
    words = [word for word in edge.words if word != "forwarding"]
    if edge.faults and not words:
        words = [edge.state.value]
    if not words or edge.idle:
        return
    tag = _text(
        parent,
        (one.x + _WIDE + other.x) / 2,
        (one.y + other.y) / 2 + 3.5,
        _short(words[0], 13),
        f"tag {edge.state}",
    )
    tag.set("text-anchor", "middle")


def _draw_node(parent: ET.Element, node: Node, box: _Box) -> None:
    top = box.y - box.height / 2
    group = ET.SubElement(parent, "g", {"class": f"{_CLASSES[node.kind]} {node.state}", "id": node.id})
    said = [node.name, ", ".join(node.words), *(f"{fault.text} → {fault.do}" for fault in node.faults)]
    ET.SubElement(group, "title").text = _clean("\n".join(filter(None, said)))
    ET.SubElement(
        group,
        "rect",
        {
            "class": "box",
            "x": _n(box.x),
            "y": _n(top),
            "width": _n(_WIDE),
            "height": _n(box.height),
            "rx": "9",
        },
    )
    icon = {
        "class": "icon",
        "d": _ICONS[node.kind],
        "transform": f"translate({_n(box.x + 11)} {_n(top + 11)})",
    }
    ET.SubElement(group, "path", icon)
    at = top + _PAD + 11
    _text(group, box.x + _PAD + _ICON - 4, at, _short(node.name, _NAME_FITS), "name")
    for line in _words(node):
        at += _LINE
        _text(group, box.x + _PAD + _ICON - 4, at, line)
    at = max(at, top + 30)
    for line in _faults(node):
        at += _LINE
        _text(group, box.x + _PAD, at, line, f"why {node.state}")


def _height(node: Node) -> float:
    lines = max(len(_words(node)), 1)
    return 2 * _PAD + 12 + _LINE * (lines + len(_faults(node)))


def _words(node: Node) -> list[str]:
    whole = [word.replace(" ", "\u00a0") if len(word) <= _TEXT_FITS else word for word in node.words]
    return _wrapped(", ".join(whole), _TEXT_FITS, 3)


def _faults(node: Node) -> list[str]:
    return _wrapped("; ".join(fault.text for fault in node.faults), _FAULT_FITS, _MOST_LINES)


def _wrapped(text: str, fits: int, most: int) -> list[str]:
    import textwrap

    return textwrap.wrap(_clean(text), fits, max_lines=most, placeholder=" …")


def _short(text: str, fits: int) -> str:
    return text if len(text) <= fits else f"{text[: fits - 1]}…"


def _text(parent: ET.Element, x: float, y: float, text: str, kind: str = "") -> ET.Element:
    element = ET.SubElement(parent, "text", {"x": _n(x), "y": _n(y)})
    if kind:
        element.set("class", kind)
    element.text = _clean(text)
    return element


def _clean(text: str) -> str:
    """Without what XML cannot have in it (XML 1.0, 2.2); a name may come from anywhere."""
    return "".join(
        one
        if one in "\n\t"
        or (unicodedata.category(one) not in ("Cc", "Cs") and ord(one) not in (0xFFFE, 0xFFFF))
        else "�"
        for one in text
    )


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
