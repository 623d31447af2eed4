"""MTUs that do not fit: larger at the guest than on its way out."""

from __future__ import annotations

from ...host.netlink import Link
from ..check import Findings, check, few, ok, warning
from ..place import Place

#: kinds of bridge ports that lead to guests rather than out of the host
_TO_GUESTS = ("tun", "macvtap")


@check("vifs", "mtu", "VIFs with a larger MTU than their bridge, or than what leads out of it")
def mtu(place: Place) -> Findings:
    links = place.links
    by_index = {link.index: link for link in links.values()}
    behind: dict[tuple[str, int], list[str]] = {}
    fine = 0
    for link in place.vif_links:
        bridge = by_index.get(link.master or -1)
        if bridge is None or bridge.kind != "bridge":
            continue
        narrow = [way for way in (bridge, *_ways_out(bridge, links)) if way.mtu < link.mtu]
        for way in narrow:
            behind.setdefault((way.name, way.mtu), []).append(f"{link.name} ({link.mtu})")
        fine += not narrow
    for (name, size), vifs in behind.items():
        yield warning(
            f"{name} has MTU {size}, and VIFs behind it have more: {few(vifs)}",
            why="a bridge does not fragment: what is larger is dropped without a word. Small packets pass, so"
            " connections open and then hang",
            do=f"ip link set dev {name} mtu SIZE, if the network behind it carries that; else give the VIFs' network"
            f" an MTU of {size} at most",
            items=vifs,
        )
    if fine:
        yield ok(f"the MTU of {fine} VIFs fits their bridges and what leads out of them")


def _ways_out(bridge: Link, links: dict[str, Link]) -> list[Link]:
    return [link for link in links.values() if link.master == bridge.index and link.kind not in _TO_GUESTS]
