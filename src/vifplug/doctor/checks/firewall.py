"""Firewalls between guests: chains that others made and that frames or packets of VIFs pass through."""

from __future__ import annotations

from msgspec import Struct

from ..check import Findings, check, few, note, ok, problem, warning
from ..place import Place

_OURS = "vifplug"
_NF = "/proc/sys/net/bridge/bridge-nf-call-"


class _Chain(Struct):
    family: str
    table: str
    name: str
    hook: str | None = None
    policy: str | None = None

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


class _Entry(Struct):
    chain: _Chain | None = None


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
        (chain.family, str(chain))
        for chain in _base_chains(place)
        if chain.hook == "forward" and chain.policy == "drop" and chain.family in ("ip", "ip6", "inet")
    ]
    dropping += _legacy(place)
    if not dropping:
        yield ok("no chain drops by its policy what is forwarded")
        return
    names = [name for _, name in dropping]
    called = [
        family for family, setting in (("ip", "iptables"), ("ip6", "ip6tables"))
        if place.number(_NF + setting) == 1 and any(kind in (family, "inet") for kind, _ in dropping)
    ]  # fmt: skip
    bridged = _bridged_vifs(place)
    accept = _accept(names[0])
    if called and bridged:
        yield problem(
            f"{few(names)}: policy drop, and frames on bridges pass through it (bridge-nf-call)",
            why=f"what goes between guests, and between them and the uplink, is dropped: {few(bridged)}",
            do="sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, unless Neutron's"
            f" iptables_hybrid firewall is used; else let VIFs pass: {accept}",
            items=names,
        )
    elif place.uses("routed"):
        yield problem(
            f"{few(names)}: policy drop",
            why="what is routed to and from guests is dropped unless a rule lets it pass",
            do=f"let VIFs pass: {accept}",
            items=names,
        )
    else:
        yield warning(
            f"{few(names)}: policy drop",
            why="routed VIFs would be cut off"
            + (", and bridged ones are, since frames on bridges pass through it" if called else ""),
            do=f"where VIFs are routed, let them pass: {accept}",
            items=names,
        )


def _accept(name: str) -> str:
    if "legacy" in name:
        return f"{name.partition(' ')[0]} -I FORWARD -i tap+ -j ACCEPT, and the same with -o"
    return f"nft insert rule {name} iifname 'tap*' accept, and the same with oifname"


def _legacy(place: Place) -> list[tuple[str, str]]:
    """The same of the old iptables, which nft does not show."""
    found = []
    for family, tool in (("ip", "iptables-legacy"), ("ip6", "ip6tables-legacy")):
        names = place.read(f"/proc/net/{family}_tables_names") or ""
        if "filter" in names.split() and place.program(tool):  # else asking would load the module
            said = place.run(tool, "-S", "FORWARD")
            if said.out.startswith("-P FORWARD DROP"):
                found.append((family, f"{tool} FORWARD"))
    return found


def _bridged_vifs(place: Place) -> list[str]:
    bridges = {link.index for link in place.links.values() if link.kind == "bridge"}
    return [link.name for link in place.vif_links if link.master in bridges]


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
