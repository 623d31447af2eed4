"""nftables' rules that may drop a VIF's frames, and what they have dropped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from ..doctor.place import Place

#: where frames of a bridge pass; "ip" and "inet" only for what is routed, or with br_netfilter
_BRIDGE_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_ROUTED = ("ip", "inet", "ip6", "arp")


class Filter(Struct, frozen=True, kw_only=True):
    """One chain with rules that drop, or that drops by its policy."""

    family: str
    table: str
    chain: str
    hook: str
    #: the device that it looks at; None for all
    device: str | None
    policy: str
    #: whether any rule of it drops
    drops: bool
    #: by the rule's comment (or its place), how many packets it has dropped
    dropped: dict[str, int]

    @property
    def name(self) -> str:
        return f"{self.family} {self.table} {self.chain}"

    @property
    def total(self) -> int:
        return sum(self.dropped.values())


class Filters(Struct, frozen=True):
    """Every chain that may drop; ``unseen`` says why nobody can tell."""

    chains: list[Filter]
    unseen: str | None = None

    def at(self, device: str) -> list[Filter]:
        """Where frames from this device come in, before any bridge or route."""
        return [
            one
            for one in self.chains
            if one.family == "netdev" and one.hook == "ingress" and one.device == device
        ]

    def of_bridges(self) -> list[Filter]:
        return [one for one in self.chains if one.family == "bridge" and one.hook in _BRIDGE_HOOKS]

    def of_routes(self) -> list[Filter]:
        return [one for one in self.chains if one.family in _ROUTED and one.hook in ("prerouting", "forward")]


def read_filters(place: Place) -> Filters:
    """Those of this network namespace."""
    from ..doctor.check import Unseen

    if place.program("nft") is None:
        return Filters([], "nft is not installed")
    try:
        items = place.ask(dict[str, Any], "nft", "-j", "list", "ruleset").get("nftables") or []
        named = place.run("nft", "list", "chains", "netdev").out if _netdev(items) else ""
    except Unseen as unseen:
        return Filters([], str(unseen))
    return Filters(parse_ruleset(items, devices(named)))


def _netdev(items: list[dict[str, Any]]) -> bool:
    return any(item.get("chain", {}).get("family") == "netdev" for item in items)


def devices(text: str) -> dict[tuple[str, str], str]:
    """The device of each chain (table, chain) at one, from what ``nft list chains netdev`` says: in JSON, nft leaves
    it out (seen with 1.0.6)."""
    found, table, chain = {}, "", ""
    for line in text.splitlines():
        if match := re.match(r"\s*(table netdev|chain) (\S+) \{", line):
            table, chain = (match[2], "") if match[1] != "chain" else (table, match[2])
        elif match := re.search(r"hook \w+ device \"([^\"]+)\"", line):
            found[table, chain] = match[1]
    return found


def parse_ruleset(items: list[dict[str, Any]], at: dict[tuple[str, str], str]) -> list[Filter]:
    """The base chains that drop something, from what ``nft -j list ruleset`` says (libnftables-json(5)).

    ``at``: the device of each chain (table, chain) that looks at one. A chain that such a one jumps to counts with it.
    """
    rules: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    chains = [item["chain"] for item in items if "chain" in item]
    for rule in (item["rule"] for item in items if "rule" in item):
        rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
    found = []
    for chain in chains:
        if "hook" not in chain:
            continue
        key = (chain["family"], chain["table"], chain["name"])
        dropped: dict[str, int] = {}
        drops = _collect(key, rules, dropped, set())
        if drops or chain.get("policy") == "drop":
            device = chain.get("dev") or at.get(key[1:])
            found.append(
                Filter(
                    family=key[0],
                    table=key[1],
                    chain=key[2],
                    hook=chain["hook"],
                    device=device if isinstance(device, str) else None,
                    policy=chain.get("policy", "accept"),
                    drops=drops,
                    dropped=dropped,
                )
            )
    return found


def _collect(
    key: tuple[str, str, str],
    rules: dict[tuple[str, str, str], list[dict[str, Any]]],
    dropped: dict[str, int],
    seen: set[tuple[str, str, str]],
) -> bool:
    """Whether a rule of this chain, or of one that it leads to, drops; their counters are put into ``dropped``."""
    if key in seen:
        return False
    seen.add(key)
    drops = False
    for place, rule in enumerate(rules.get(key, []), 1):
        packets, ends = None, False
        for part in rule.get("expr", []):
            if "counter" in part:
                packets = (part["counter"] or {}).get("packets")
            ends = ends or "drop" in part or "reject" in part
            for word in ("jump", "goto"):
                if word in part:
                    drops |= _collect((*key[:2], part[word]["target"]), rules, dropped, seen)
        if ends:
            drops = True
            if packets is not None:
                name = rule.get("comment") or f"rule {place} of {key[2]}"
                dropped[name] = dropped.get(name, 0) + packets
    return drops
