"""MTUs that do not fit: larger at the guest than on its way out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from ...host.netlink import Link
from ..check import Findings, check, few, many, ok, warning
from ..place import Place

#: kinds of bridge ports that lead to guests rather than out of the host
_TO_GUESTS = ("tun", "macvtap")


@check("vifs", "mtu", "VIFs with a larger MTU than their bridge, or than what leads out of it")
def mtu(place: Place) -> Findings:
    ways = _ways(place.links.values())
    narrow: defaultdict[Link, list[str]] = defaultdict(list)
    fine = 0
    for vif in place.vif_links:
        if vif.master not in ways:
            continue
        too_small = [way for way in ways[vif.master] if way.mtu < vif.mtu]
        for way in too_small:
            narrow[way].append(f"{vif.name} ({vif.mtu})")
        fine += not too_small
    for way, vifs in narrow.items():
        yield warning(
            f"{way.name} has MTU {way.mtu}, and VIFs behind it have more: {few(vifs)}",
            why="a bridge does not fragment: what is larger is dropped without a word. Small packets pass, so"
            " connections open and then hang",
            do=f"ip link set dev {way.name} mtu SIZE, if the network behind it carries that; else give the VIFs' own"
            f" network an MTU of {way.mtu} at most",
            items=vifs,
        )
    if fine:
        yield ok(f"the MTU of {many(fine, 'VIF')} fits the bridge and what leads out of it")


def _ways(links: Collection[Link]) -> dict[int | None, list[Link]]:
    """For the index of each bridge: itself, and its ports that lead out of the host."""
    ways: dict[int | None, list[Link]] = {link.index: [link] for link in links if link.kind == "bridge"}
    for link in links:
        if link.master in ways and link.kind not in _TO_GUESTS:
            ways[link.master].append(link)
    return ways
