"""Anti-spoofing: guests that lie about who they are, on the real kernel and nftables."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from ipaddress import IPv6Address

import pytest

from guests import Catalogue, Wire, bare, connected, drops, guest, ip, reaches, rules_left, ruleset
from vifplug.errors import BadDetails
from vifplug.host.results import Plugged
from vifplug.probe import frames
from vifplug.probe.frames import ARP, ARP_REPLY, ARP_REQUEST, BROADCAST, IPV4, NO_MAC, VLAN, Arp, IPv4
from world import World

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

IPV6, RARP, BPDU = 0x86DD, 0x8035, 38
OWN, OTHER = "10.0.0.5", "10.0.0.6"
OWN_6, OTHER_6 = "fd00::5", "fd00::6"
VIRTUAL_MAC, VIRTUAL = "00:00:5e:00:01:07", "10.0.0.77"
LIE_MAC = "fa:16:3e:99:99:99"


@pytest.fixture
def bridge(world: World) -> Catalogue:
    return Catalogue(world, "linux-bridge", bridge="br0", create_bridge=True, anti_spoofing=True)


@pytest.fixture
def plugged(bridge: Catalogue) -> Plugged:
    """With an address pair as Neutron allows it, for a virtual router."""
    pairs = [{"ip_address": VIRTUAL, "mac_address": VIRTUAL_MAC}, {"ip_address": "10.9.0.0/16"}]
    return bridge.plug(OWN, OWN_6, allowed_address_pairs=pairs)


def ethernet(source: str, kind: int, payload: bytes) -> bytes:
    return frames.build_ethernet(frames.Ethernet(BROADCAST, source, kind, payload))


def arp(source: str, sender_mac: str, sender: str, operation: int = ARP_REQUEST) -> bytes:
    return ethernet(source, ARP, frames.build_arp(Arp(operation, sender_mac, sender, NO_MAC, OTHER)))


def udp(source: str, sender: str, ports: tuple[int, int]) -> bytes:
    datagram = struct.pack("!HHHH", *ports, 8 + 4, 0) + b"data"
    return ethernet(source, IPV4, frames.build_ipv4(IPv4(sender, "255.255.255.255", 17, datagram)))


def ipv6(source: str, sender: str, body: bytes, protocol: int = 58) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(body), protocol, 255)
    return ethernet(source, IPV6, header + IPv6Address(sender).packed + IPv6Address("ff02::1").packed + body)


def advertisement(target: str) -> bytes:
    return struct.pack("!BBHI", 136, 0, 0, 0x20000000) + IPv6Address(target).packed


def link_local(mac: str) -> str:
    parts = bytes.fromhex(mac.replace(":", ""))
    return f"fe80::{parts[0] ^ 2:02x}{parts[1]:02x}:{parts[2]:02x}ff:fe{parts[3]:02x}:{parts[4]:02x}{parts[5]:02x}"


SOLICITATION = struct.pack("!BBHI", 135, 0, 0, 0) + IPv6Address(OWN_6).packed
REPORT = struct.pack("!BBHHH", 143, 0, 0, 0, 0)
ROUTER = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
HIDDEN = bytes([58, 0, 1, 4, 0, 0, 0, 0]) + advertisement(OTHER_6)  # behind destination options

Frame = Callable[[str], bytes]
LIES: dict[str, tuple[str, Frame]] = {
    "another MAC address": ("mac", lambda _: arp(LIE_MAC, LIE_MAC, OWN)),
    "another IP address": ("ip", lambda mac: udp(mac, OTHER, (1000, 2000))),
    "another IP address under the virtual MAC": ("ip", lambda _: udp(VIRTUAL_MAC, OWN, (1000, 2000))),
    "the virtual IP address under its own MAC": ("ip", lambda mac: udp(mac, VIRTUAL, (1000, 2000))),
    "no IP address, but not for DHCP": ("ip", lambda mac: udp(mac, frames.NO_ADDRESS, (1000, 67))),
    "ARP request from another's IP address": ("arp", lambda mac: arp(mac, mac, OTHER)),
    "ARP reply for another's IP address": ("arp", lambda mac: arp(mac, mac, OTHER, ARP_REPLY)),
    "ARP reply with another's MAC address": ("arp", lambda mac: arp(mac, LIE_MAC, OWN, ARP_REPLY)),
    "IPv6 from another's address": ("ip6", lambda mac: ipv6(mac, OTHER_6, b"data", 17)),
    "IPv6 from another's link-local address": ("ip6", lambda mac: ipv6(mac, "fe80::1", b"data", 17)),
    "IPv6 from no address": ("ip6", lambda mac: ipv6(mac, "::", b"data", 17)),
    "neighbour advertisement for another": (
        "neighbour advertisement",
        lambda mac: ipv6(mac, OWN_6, advertisement(OTHER_6)),
    ),
    "the same behind an extension header": (
        "neighbour advertisement",
        lambda mac: ipv6(mac, OWN_6, HIDDEN, 60),
    ),
    "router advertisement": ("router advertisement", lambda mac: ipv6(mac, link_local(mac), ROUTER)),
    "DHCP server": ("dhcp server", lambda mac: udp(mac, OWN, (67, 68))),
    "VLAN tag": (
        "protocol",
        lambda mac: ethernet(mac, VLAN, struct.pack("!HH", 7, IPV4) + udp(mac, OWN, (1, 2))[14:]),
    ),
    "spanning tree": ("protocol", lambda mac: ethernet(mac, BPDU, b"\x42\x42\x03" + bytes(35))),
}
TRUTHS: dict[str, Frame] = {
    "ARP": lambda mac: arp(mac, mac, OWN),
    "ARP probe": lambda mac: arp(mac, mac, frames.NO_ADDRESS),
    "ARP of the virtual address": lambda _: arp(VIRTUAL_MAC, VIRTUAL_MAC, VIRTUAL, ARP_REPLY),
    "IP": lambda mac: udp(mac, OWN, (1000, 2000)),
    "IP from an allowed network": lambda mac: udp(mac, "10.9.8.7", (1000, 2000)),
    "DHCP client": lambda mac: udp(mac, frames.NO_ADDRESS, (68, 67)),
    "IPv6": lambda mac: ipv6(mac, OWN_6, b"data", 17),
    "neighbour advertisement": lambda mac: ipv6(mac, OWN_6, advertisement(OWN_6)),
    "link-local address": lambda mac: ipv6(mac, link_local(mac), advertisement(link_local(mac))),
    "is my address free?": lambda mac: ipv6(mac, "::", SOLICITATION),
    "listener report": lambda mac: ipv6(mac, "::", REPORT),
    "RARP after a migration": lambda mac: ethernet(mac, RARP, bytes(28)),
}


def test_no_lie_gets_through_and_each_is_counted_by_its_name(bridge: Catalogue, plugged: Plugged) -> None:
    mac = str(plugged.vif.address)
    lies = {what: frame(mac) for what, (_, frame) in LIES.items()}
    last = udp(mac, OWN, (9, 9))
    with Wire(plugged) as liar, Wire(bridge.plug(OTHER)) as neighbour:
        connected(liar, neighbour, udp(mac, OWN, (8, 8)))
        assert drops(plugged) == {}
        liar.send(*lies.values(), last)
        heard = neighbour.hear_until(last)

    assert heard is not None
    assert [what for what, frame in lies.items() if bare(frame) in heard] == []
    expected: dict[str, int] = {}
    for name, _ in LIES.values():
        expected[name] = expected.get(name, 0) + 1
    assert drops(plugged) == expected


def test_what_is_true_gets_through(bridge: Catalogue, plugged: Plugged) -> None:
    mac = str(plugged.vif.address)
    truths = {what: frame(mac) for what, frame in TRUTHS.items()}
    last = udp(mac, OWN, (9, 9))
    with Wire(plugged) as honest, Wire(bridge.plug(OTHER)) as neighbour:
        connected(honest, neighbour, udp(mac, OWN, (8, 8)))
        honest.send(*truths.values(), last)
        heard = neighbour.hear_until(last)

    assert heard is not None
    assert [what for what, frame in truths.items() if bare(frame) not in heard] == []
    assert drops(plugged) == {}


def test_without_anti_spoofing_every_lie_gets_through(bridge: Catalogue) -> None:
    """The network itself would carry them: it is the rules that stop them."""
    plugged = bridge.plug(OWN, anti_spoofing=False)
    mac = str(plugged.vif.address)
    lies = {what: frame(mac) for what, (_, frame) in LIES.items() if what != "spanning tree"}
    last = udp(mac, OWN, (9, 9))
    with Wire(plugged) as liar, Wire(bridge.plug(OTHER)) as neighbour:
        connected(liar, neighbour, udp(mac, OWN, (8, 8)))
        liar.send(*lies.values(), last)
        heard = neighbour.hear_until(last)

    assert heard is not None
    assert [what for what, frame in lies.items() if bare(frame) not in heard] == []


def test_an_honest_guest_pings_while_one_that_lies_gets_no_answer(bridge: Catalogue) -> None:
    liar = bridge.plug(OWN)
    with (
        guest(liar, "10.0.0.9/24") as lying,
        guest(bridge.plug(OTHER)) as one,
        guest(bridge.plug("10.0.0.7")),
    ):
        assert reaches(one, "10.0.0.7")
        assert lying.arp(OTHER, 0.3) is None


# --- the rules come and go -------------------------------------------------------------------------


def test_a_live_guest_gets_another_allowed_address(bridge: Catalogue) -> None:
    binding = bridge.binding(OWN)
    liar = bridge.host().plug(binding)
    with guest(liar, "10.0.0.9/24") as moved, guest(bridge.plug(OTHER)):
        assert moved.arp(OTHER, 0.2) is None
        binding["vif_details"]["allowed_address_pairs"] = [{"ip_address": "10.0.0.9"}]
        bridge.host().update(binding)
        assert reaches(moved, OTHER)

        binding["vif_details"]["anti_spoofing"] = False
        bridge.host().update(binding)
        assert rules_left().count("vif-") == 1


def test_unplug_takes_the_rules_away_and_nobody_elses(bridge: Catalogue) -> None:
    one, other = bridge.plug(OWN), bridge.plug(OTHER)
    bridge.host().unplug(one.id)
    assert rules_left().split() == ["chain", f"vif-{other.id}", "{"]
    bridge.host().unplug(other.id)
    assert ruleset() == ""  # not even the table


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("flush ruleset", "not in force"),
        ("flush chain netdev vifplug {chain}", "other rules: mac, protocol, dhcp server, dhcpv6 server"),
        ('add rule netdev vifplug {chain} ip saddr 1.2.3.4 drop comment "ip"', "other rules: ip"),
        ('insert rule netdev vifplug {chain} accept comment "all"', "other rules: all"),
    ],
)
def test_check_notices_what_somebody_did_to_the_rules(bridge: Catalogue, command: str, found: str) -> None:
    plugged = bridge.plug(
        OWN, OWN_6, allowed_address_pairs=[{"ip_address": "10.0.0.6"}, {"ip_address": "fd01::/64"}]
    )
    assert bridge.drift(plugged) == []

    subprocess.run(["nft", command.format(chain=f"vif-{plugged.id}")], check=True)
    (line,) = bridge.drift(plugged)
    assert line.startswith(f"anti-spoofing of {plugged.vif.devname}: in force is {found}")

    bridge.refresh(plugged)
    assert bridge.drift(plugged) == []


def test_every_address_may_be_allowed(bridge: Catalogue) -> None:
    pairs = [{"ip_address": "0.0.0.0/0"}, {"ip_address": "::/0"}]
    plugged = bridge.plug(OWN, allowed_address_pairs=pairs)
    with guest(plugged, "10.0.0.9/24") as any_, guest(bridge.plug(OTHER)):
        assert reaches(any_, OTHER)
    assert bridge.drift(plugged) == []


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([{"ip_address": "10.0.0.256"}], "'10.0.0.256' is no IP address or network"),
        ([{"ip_address": "10.0.0.0/33"}], "'10.0.0.0/33' is no IP address or network"),
        ([{"ip_address": "10.0.0.0/-1"}], "'10.0.0.0/-1' is no IP address or network"),
        ([{"ip_address": "fd00::/129"}], "'fd00::/129' is no IP address or network"),
        ([{"ip_address": 'fd00::1" drop'}], "is no IP address or network"),
        ([{"ip_address": OWN, "mac_address": "fa:16:3e"}], "'fa:16:3e' is no MAC address"),
        ([{"mac_address": LIE_MAC}], r"allowed_address_pairs\[0\] must be"),
        (["10.0.0.5"], "must be a object|must be an object"),
    ],
)
def test_pairs_that_cannot_be_are_refused_and_nothing_is_left(
    bridge: Catalogue, pairs: list[object], words: str
) -> None:
    with pytest.raises(BadDetails, match=words):
        bridge.plug(OWN, allowed_address_pairs=pairs)

    assert ruleset() == ""
    assert ip("link").count("br0") == 0


def test_a_guest_of_whom_no_address_is_known_is_refused(bridge: Catalogue) -> None:
    with pytest.raises(BadDetails, match="no address of the guest is known"):
        bridge.plug()
