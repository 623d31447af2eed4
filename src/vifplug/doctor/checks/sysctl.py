"""Kernel settings that drop frames. Meanings: Documentation/networking/ip-sysctl.rst of the kernel."""

from __future__ import annotations

from ..check import Findings, check, many, note, ok, problem, warning
from ..place import Place

_NET = "/proc/sys/net"
#: neighbours that a host has beside its guests' (gateways, other hosts), at least
_OTHERS = 64


@check("sysctl", "bridge-netfilter", "Whether frames on bridges pass through the host's own firewall")
def bridge_netfilter(place: Place) -> Findings:
    """br_netfilter; the kernel's default is 1 as soon as the module is there, and Docker loads it."""
    on = [
        name for name in ("iptables", "ip6tables", "arptables")
        if place.number(f"{_NET}/bridge/bridge-nf-call-{name}") == 1
    ]  # fmt: skip
    if not on:
        yield ok("frames on bridges do not pass through the host's own firewall (bridge-nf-call-*)")
        return
    names = [f"net.bridge.bridge-nf-call-{name}" for name in on]
    yield note(
        f"{', '.join(names)} = 1",
        why="frames between guests of one bridge go through the host's FORWARD rules and connection tracking. Neutron's"
        " iptables_hybrid firewall needs that; for all else it costs speed, and drops what those rules do not let pass",
        do=f"unless that firewall is used: sysctl -w {'=0 '.join(names)}=0, and in /etc/sysctl.d/90-vifplug.conf",
        items=names,
    )


@check("sysctl", "forwarding", "Whether the host forwards packets, for routed VIFs")
def forwarding(place: Place) -> Findings:
    """The script ``routed`` sets it for each tap; what comes from the uplink is forwarded by the uplink's setting."""
    whole = place.number(f"{_NET}/ipv4/conf/all/forwarding")
    if whole is None:
        whole = place.number(f"{_NET}/ipv4/ip_forward")
    if whole is None:
        yield note("net.ipv4.ip_forward cannot be read", why="routed VIFs need it")
    elif whole == 1:
        yield ok("the host forwards IPv4")
    elif not place.uses("routed"):
        yield ok("the host does not forward IPv4, and no VIF is routed")
    else:
        forwarding = [
            name for name in place.links
            if name != "lo" and not name.startswith("tap")
            and place.number(f"{_NET}/ipv4/conf/{name}/forwarding") == 1
        ]  # fmt: skip
        if forwarding:
            yield ok(f"the host forwards IPv4 that comes in at {', '.join(forwarding)}")
            return
        yield problem(
            "net.ipv4.ip_forward = 0, and no uplink forwards either",
            why="nothing that comes from elsewhere reaches routed VIFs",
            do="sysctl -w net.ipv4.conf.UPLINK.forwarding=1 (net.ipv4.ip_forward=1 for all), and in"
            " /etc/sysctl.d/90-vifplug.conf",
        )


@check("sysctl", "reverse-path", "Whether packets are dropped for the way that they came by")
def reverse_path(place: Place) -> Findings:
    """For a device the larger of its own and "all" counts (ip-sysctl, rp_filter)."""
    strict = place.number(f"{_NET}/ipv4/conf/all/rp_filter")
    if strict == 1 and place.uses("routed"):
        yield warning(
            "net.ipv4.conf.all.rp_filter = 1",
            why="with more than one uplink, what comes in by another than the route back leads out of is dropped",
            do="with several uplinks: sysctl -w net.ipv4.conf.all.rp_filter=0 and 1 for each device that should be"
            " strict (routed sets it for its taps by itself)",
        )
    elif strict == 2 and place.uses("routed"):
        yield note(
            "net.ipv4.conf.all.rp_filter = 2",
            why="it goes before the strict mode of each tap: routed guests may send from addresses that are not theirs",
            do="sysctl -w net.ipv4.conf.all.rp_filter=0, or let bindings ask for anti_spoofing",
        )
    else:
        yield ok(f"net.ipv4.conf.all.rp_filter = {'?' if strict is None else strict}")


@check("sysctl", "arp", "Whether the host answers ARP for the gateways of routed VIFs")
def arp(place: Place) -> Findings:
    """arp_ignore: 1 and 2 answer for addresses of the device itself alone, which is where routed has 169.254.1.1."""
    ignore = place.number(f"{_NET}/ipv4/conf/all/arp_ignore") or 0
    if ignore > 2 and place.uses("routed"):
        yield problem(
            f"net.ipv4.conf.all.arp_ignore = {ignore}",
            why="the host does not answer ARP for the gateway of routed VIFs: their guests reach nothing",
            do="sysctl -w net.ipv4.conf.all.arp_ignore=0 (or 1, or 2)",
        )
    else:
        yield ok(f"net.ipv4.conf.all.arp_ignore = {ignore}")


@check("sysctl", "neighbours", "Whether the neighbour tables have room for this host's VIFs")
def neighbours(place: Place) -> Findings:
    """gc_thresh3 is the most that a table holds; beyond it the kernel logs "neighbour table overflow"."""
    vifs = len(place.vif_links)
    wanted = 2 * vifs + _OTHERS
    for version in ("ipv4", "ipv6"):
        most = place.number(f"{_NET}/{version}/neigh/default/gc_thresh3")
        if most is None:
            continue
        if most < wanted:
            yield warning(
                f"net.{version}.neigh.default.gc_thresh3 = {most}, with {many(vifs, 'VIF')}",
                why="the table overflows where the host itself speaks to guests (routed, DHCP, metadata): packets are"
                " dropped at random",
                do=f"sysctl -w net.{version}.neigh.default.gc_thresh3={4 * wanted}"
                f" net.{version}.neigh.default.gc_thresh2={2 * wanted}"
                f" net.{version}.neigh.default.gc_thresh1={wanted}",
            )
        else:
            yield ok(f"the {version} neighbour table holds {most}")
