"""A host whose plumbing is looked at: bindings for one packaged script, the graph, and traces."""

from __future__ import annotations

from typing import Any

from guests import Catalogue
from vifplug.host.results import Plugged
from vifplug.plumbing import Graph, Trace, look, survey, trace
from vifplug.plumbing.walk import Hop

#: seconds for a question: the other host is next door
SOON = 0.9


class Plumbed(Catalogue):
    """As ``vifplug graph`` and ``vifplug trace`` see it."""

    def binding(self, *addresses: str, **details: Any) -> dict[str, Any]:
        made = super().binding(*addresses, **details)
        made["network"]["subnets"][0]["gateway"] = "10.0.0.1"
        made["instance"] = {"name": f"web{addresses[0].rpartition('.')[2]}" if addresses else "web"}
        return made

    def graph(self, *, ask: bool = True) -> Graph:
        with self.host() as host:
            return survey(look(self.config, host, ask=ask))

    def trace(self, plugged: Plugged, target: str | None = None, **how: Any) -> Trace:
        with self.host() as host:
            return trace(self.config, host, plugged.id, target, **{"timeout": SOON, **how})

    def marks(self) -> dict[str, list[str]]:
        """What is marked, by name (a port's has "port " before it): the sentences."""
        graph = self.graph()
        found = {
            node.name: [fault.text for fault in node.faults] for node in graph.nodes.values() if node.faults
        }
        for edge in graph.edges:
            if edge.faults:
                found[f"port {edge.port}"] = [fault.text for fault in edge.faults]
        return found


def end(found: Trace) -> tuple[str, str]:
    """The hop at which it ends."""
    hop: Hop = found.hops[found.ends_at]
    return hop.what, hop.name
