"""Firewalls between guests: chains that others made and that frames or packets of VIFs pass through."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from ..check import Findings, check, few, note, ok, problem, warning
from ..place import Place

_OURS = "vifplug"
#: in the place of a table's name, for chains of the old iptables
_LEGACY = "-"
#: a name as taps have them
_TAP = "tap4c1b1b0a-7d"
_NF = "/proc/sys/net/bridge/bridge-nf-call-"


class _Chain(Struct):
    family: str
    table: str
    name: str
    hook: str | None = None
    policy: str | None = None
    #: of the old iptables: whether VIFs may pass
    passes: bool = False

    def __str__(self) -> str:
        return f"{self.name} FORWARD" if self.table == _LEGACY else f"{self.family} {self.table} {self.name}"


class _Rule(Struct):
    expr: list[dict[str, Any]] = []


class _Entry(Struct):
    chain: _Chain | None = None
    rule: _Rule | None = None


class _Listing(Struct):
    nftables: list[_Entry] = []


def _base_chains(place: Place) -> list[_Chain]:
    """Chains of nftables that hang at a hook; iptables-nft's and ebtables-nft's are among them."""
    listed = place.ask(_Listing, "nft", "-j", "list", "chains").nftables
    return [entry.chain for entry in listed if entry.chain is not None and entry.chain.hook is not None]


@check("firewall", "forward-policy", "Chains that drop what is forwarded unless a rule says otherwise")
def forward_policy(place: Place) -> Findings:
    """Docker, for one, has set the policy of FORWARD to DROP since version 1.13 where it turned on forwarding."""
    dropping = [
        chain
        for chain in _base_chains(place)
        if chain.hook == "forward" and chain.policy == "drop" and chain.family in ("ip", "ip6", "inet")
    ]
    dropping += _legacy(place)
    if not dropping:
        yield ok("no chain drops by its policy what is forwarded")
        return
    concerned = False
    for bridge in _bridges_of_vifs(place):
        shut = [
            chain for chain in dropping if _sees_bridges(place, chain) and not _passes(place, chain, bridge)
        ]
        concerned = concerned or bool(shut)
        if shut:
            names = list(map(str, shut))
            yield problem(
                f"{few(names)}: policy drop, and frames on {bridge} pass through it (bridge-nf-call)",
                why="what goes between guests, and between them and the uplink, is dropped",
                do="sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, or, where"
                f" Neutron's iptables_hybrid firewall is used, let the bridge pass: {_accept(shut[0], bridge)}",
                items=names,
            )
    shut = [chain for chain in dropping if not _passes(place, chain, _TAP)]
    names = list(map(str, shut))
    if shut and place.uses("routed"):
        yield problem(
            f"{few(names)}: policy drop",
            why="what is routed to and from guests is dropped, since no rule lets it pass",
            do=f"let VIFs pass: {_accept(shut[0], 'tap*')}",
            items=names,
        )
    elif shut and not concerned:
        yield warning(
            f"{few(names)}: policy drop",
            why="no VIF meets it now; routed ones would be cut off, and bridged ones while bridge-nf-call-* is on",
            do=f"before VIFs are routed, let them pass: {_accept(shut[0], 'tap*')}",
            items=names,
        )
    elif not concerned:
        yield ok(f"{few(list(map(str, dropping)))}: policy drop, and rules that let VIFs pass")


def _sees_bridges(place: Place, chain: _Chain) -> bool:
    settings = {"ip": ["iptables"], "ip6": ["ip6tables"]}.get(chain.family, ["iptables", "ip6tables"])
    return any(place.number(f"{_NF}{setting}") == 1 for setting in settings)


def _passes(place: Place, chain: _Chain, device: str) -> bool:
    """Whether what comes from ``device`` and what goes to it is accepted whatever it is, or Neutron looks at it.

    For a frame on a bridge that is the bridge (br_netfilter shows its ports to the match physdev alone).
    """
    if chain.table == _LEGACY:
        return chain.passes
    accepted: set[str] = set()
    for entry in place.ask(
        _Listing, "nft", "-j", "list", "chain", chain.family, chain.table, chain.name
    ).nftables:
        parts = [
            (word, _object(what))
            for one in (entry.rule.expr if entry.rule else [])
            for word, what in one.items()
        ]
        if any(word == "jump" and str(what.get("target")).startswith("neutron-") for word, what in parts):
            return True
        words = {word for word, _ in parts}
        if "accept" not in words or words - {"match", "accept", "counter"}:
            continue
        matches = [what for word, what in parts if word == "match"]
        sides = {str(_object(_object(match.get("left")).get("meta")).get("key")) for match in matches}
        named = all(
            match.get("op") == "==" and fnmatchcase(device, str(match.get("right"))) for match in matches
        )
        if named and sides <= {"iifname", "oifname"}:
            accepted |= sides or {"iifname", "oifname"}
    return accepted == {"iifname", "oifname"}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _accept(chain: _Chain, device: str) -> str:
    """Rules that let pass what comes from a device or goes to it."""
    if chain.table == _LEGACY:
        return f"{chain.name} -I FORWARD -i {device.replace('*', '+')} -j ACCEPT, and the same with -o"
    return f"nft insert rule {chain} iifname '{device}' accept; nft insert rule {chain} oifname '{device}' accept"


def _legacy(place: Place) -> list[_Chain]:
    """The FORWARD chains of the old iptables, which nft does not show."""
    found = []
    for family, tool in (("ip", "iptables-legacy"), ("ip6", "ip6tables-legacy")):
        names = place.read(f"/proc/net/{family}_tables_names") or ""
        if "filter" not in names.split() or not place.program(tool):  # asking would load the module
            continue
        lines = place.run(tool, "-S", "FORWARD").out.splitlines()
        if "-P FORWARD DROP" in lines:
            passes = {f"-A FORWARD {side} tap+ -j ACCEPT" for side in ("-i", "-o")} <= set(lines)
            found.append(_Chain(family=family, table=_LEGACY, name=tool, passes=passes))
    return found


def _bridges_of_vifs(place: Place) -> list[str]:
    masters = {link.master for link in place.vif_links}
    return [link.name for link in place.links.values() if link.kind == "bridge" and link.index in masters]


@check("firewall", "bridge-chains", "Chains for frames on bridges that others made (nftables, ebtables)")
def bridge_chains(place: Place) -> Findings:
    others = [chain for chain in _base_chains(place) if chain.family == "bridge" and chain.table != _OURS]
    drop = [f"{chain.table} {chain.name}" for chain in others if chain.policy == "drop"]
    rest = [f"{chain.table} {chain.name}" for chain in others if chain.policy != "drop"]
    if drop:
        yield warning(
            f"nftables bridge chains with policy drop: {few(drop)}",
            why="frames of guests that none of its rules accepts go no further",
            do=f"see whose it is and what it lets pass: nft list table bridge {drop[0].split()[0]}",
            items=drop,
        )
    if rest:
        yield note(
            f"nftables bridge chains that are not vifplug's: {few(rest)}",
            why="their rules (ebtables' too) may drop frames of guests",
            do=f"nft list table bridge {rest[0].split()[0]}",
            items=rest,
        )
    if not others:
        yield ok("no chain of others looks at frames on bridges")
