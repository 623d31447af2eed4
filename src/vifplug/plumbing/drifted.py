"""What differs from the record, put where it belongs in the graph."""

from __future__ import annotations

import re
from typing import Any

from ..host.results import Drift, Record
from .sight import Known
from .wiring import Edge, Fault, Graph, Kind, Node, State

#: what the host and the scripts call a port's place
_PORT = re.compile(r"device master|(?:bridge of|port) (\S+)")


def mark(graph: Graph, known: Known) -> None:
    """Mark a VIF, and what it is connected by, with all that is wrong on record or against it."""
    record = known.record
    node = graph.nodes[f"vif:{record.id}"]
    _mark_state(node, record)
    for drift in known.report.drift if known.report is not None else []:
        _mark_drift(graph, node, record, drift)
    if known.error is not None:
        node.faults.append(
            Fault(
                state=State.DRIFT,
                text=f"it cannot be checked: {known.error}",
                do=f"vifplug check {record.id[:8]}",
                stops=False,
            )
        )


def _mark_state(node: Node, record: Record) -> None:
    short = record.id[:8]
    said = (record.error or {}).get("message")
    if record.state == "debt":
        text, do = f"its unplug is owed: {said or 'no reason is on record'}", "vifplug gc tries again"
    elif record.lost:
        text, do = "a reboot took its device", "plug it again if its guest starts again, then: vifplug gc"
    elif record.state != "plugged":
        text = f"{record.state} has not ended"
        do = f"vifplug show {short} --log; if nobody is at work on it: vifplug recover"
    elif record.vif.link_state == "down":
        text, do = "its link is set down", "plug its binding with link_state up: vifplug update"
    elif said:
        text, do = f"its last change failed: {said}", f"vifplug repair {short}"
        node.faults.append(Fault(state=State.DRIFT, text=text, do=do, stops=False))
        return
    else:
        return
    node.faults.append(Fault(state=State.GONE if record.lost else State.DOWN, text=text, do=do))


def _mark_drift(graph: Graph, vif: Node, record: Record, drift: Drift) -> None:
    do = f"vifplug repair {record.id[:8]}"
    text = f"{drift.what}: {_said(drift.expected)} was plugged, {_said(drift.found)} is there"
    edges = graph.after(vif.id)
    device = graph.nodes[edges[0].target] if edges else None
    if drift.what in ("last change", "device up") and (vif.faults or (device and device.faults)):
        return  # it is told already
    if device is None:
        _add(vif, text, do, stops=False)
        return
    if port := _PORT.fullmatch(drift.what):
        if port[1] in (None, device.name):
            _mark_port(graph, device, drift, do)
        else:  # what leads out of the bridge is in it no more: so there it ends
            _add(graph.nodes.get(f"dev:{drift.expected}", vif), text, do)
        return
    if drift.what in ("device", "caller's device"):
        if not device.faults:
            _add(device, text, do)
        return
    named = [
        node
        for node in graph.nodes.values()
        if re.search(rf"(?<!\S){re.escape(node.name)}(?!\S)", drift.what)
    ]
    if drift.what.startswith("routes at "):
        routes = [
            node for edge in graph.after(device.id) if (node := graph.nodes[edge.target]).kind is Kind.ROUTES
        ]
        _add((routes or [device])[0], text, do)
    elif drift.what.startswith(("anti-spoofing", "isolation", "device ")) or device in named:
        _add(device, text, do, stops=False)
    elif named:
        _add(named[0], text, do, stops=drift.found != drift.expected and bool(drift.expected))
    else:
        _add(vif, text, do, stops=False)


def _mark_port(graph: Graph, device: Node, drift: Drift, do: str) -> None:
    """The device is in another bridge than the one it was plugged into, or in none."""
    if device.state is State.GONE:
        return
    wanted = str(drift.expected).removeprefix("in bridge ") if drift.expected else None
    away = [edge for edge in graph.after(device.id) if edge.port == device.name]
    is_in = f"in {graph.nodes[away[0].target].name}" if away else "in no bridge"
    was = f"plugged into {wanted}" if wanted else "plugged into none"
    fault = Fault(state=State.DRIFT, text=f"{device.name} is {is_in}, and was {was}", do=do)
    place: Node | Edge = away[0] if away else device
    if all(fault.text != other.text for other in place.faults):
        place.faults.append(fault)


def _add(place: Node, text: str, do: str, *, stops: bool = True) -> None:
    if all(text != fault.text for fault in place.faults):  # several VIFs may share it
        place.faults.append(Fault(state=State.DRIFT, text=text, do=do, stops=stops))


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value in (None, "") else str(value)
