"""The host's plumbing, seen: a graph of it, and the way of one VIF's frames."""

from .sight import Sight, look
from .survey import survey
from .svg import svg
from .trace import Trace, trace
from .wiring import Edge, Fault, Graph, Kind, Node, State

__all__ = [
    "Edge",
    "Fault",
    "Graph",
    "Kind",
    "Node",
    "Sight",
    "State",
    "Trace",
    "look",
    "survey",
    "svg",
    "trace",
]
