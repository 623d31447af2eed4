"""The plug script routed: guests with addresses of their own, reached by the host's routes."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from guests import Catalogue, Wire, guest, ip, reaches, rules_left
from vifplug.errors import BadDetails, ScriptFailed
from vifplug.host.results import Plugged
from vifplug.probe import StandInGuest, frames
from world import World, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

GATEWAY, GATEWAY_6 = "169.254.1.1", "fd00::1"


@pytest.fixture
def routed(world: World) -> Catalogue:
    if not Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists():  # before Linux 6.17
        subprocess.run(["sysctl", "-q", "net.ipv6.conf.all.forwarding=1"], check=True)
    return Catalogue(world, "routed")


def alone(plugged: Plugged, address: str, gateway: str | None = GATEWAY) -> StandInGuest:
    """A guest that has its address as a /32: everybody else is behind the gateway."""
    return StandInGuest(plugged.vif.devname, str(plugged.vif.address), [f"{address}/32"], gateway=gateway)


def routes(version: int = 4) -> dict[str, str]:
    """Destination and device of the routes that the script made."""
    listed = subprocess.run(
        ["ip", f"-{version}", "-j", "route", "show", "proto", "118"], check=True, capture_output=True
    ).stdout
    return {route["dst"]: route["dev"] for route in json.loads(listed or b"[]")}


def test_a_guest_with_a_single_address_reaches_another_by_the_hosts_routes(routed: Catalogue) -> None:
    one, other = routed.plug("10.0.0.5"), routed.plug("10.7.7.7")
    assert routes() == {"10.0.0.5": one.vif.devname, "10.7.7.7": other.vif.devname}

    with alone(one, "10.0.0.5") as asking, alone(other, "10.7.7.7"):
        gateway = asking.arp(GATEWAY)
        assert gateway is not None
        assert gateway.value == links()[one.vif.devname].address
        assert asking.ping("10.7.7.7", gateway.value, 5.0) is not None
        assert asking.ping(GATEWAY, gateway.value) is not None


def test_for_a_guest_that_takes_others_for_neighbours_the_host_answers_by_proxy_arp(
    routed: Catalogue,
) -> None:
    one, other = routed.plug("10.0.0.5"), routed.plug("10.0.0.6")
    with guest(one) as asking, guest(other):
        answer = asking.arp("10.0.0.6")
        assert answer is not None
        assert answer.value == links()[one.vif.devname].address
        assert reaches(asking, "10.0.0.6")
        assert asking.arp("10.0.0.7", 0.3) is None  # to whom no route leads


def test_the_host_itself_reaches_the_guest(routed: Catalogue) -> None:
    one = routed.plug("10.0.0.5")
    with alone(one, "10.0.0.5"):
        assert (
            subprocess.run(["ping", "-c1", "-W5", "10.0.0.5"], check=False, capture_output=True).returncode
            == 0
        )


def test_what_comes_from_another_address_is_dropped(routed: Catalogue) -> None:
    one, other = routed.plug("10.0.0.5"), routed.plug("10.0.0.6")
    # what the other guest would answer
    ip(f"neigh add 10.0.0.6 lladdr {other.vif.address} dev {other.vif.devname}")
    host = str(links()[one.vif.devname].address)
    addresses_and_data = slice(26, None)  # what a router leaves as it was

    def sent_from(address: str) -> bytes:
        body = frames.build_echo(frames.Echo(frames.ECHO_REQUEST, 1, 1, bytes(range(56))))
        packet = frames.build_ipv4(frames.IPv4(address, "10.0.0.6", frames.ICMP, body))
        return frames.build_ethernet(frames.Ethernet(host, str(one.vif.address), frames.IPV4, packet))

    lie, truth = sent_from("10.0.0.9"), sent_from("10.0.0.5")
    with Wire(one) as guest, Wire(other) as neighbour:
        for _ in range(100):  # until the kernel has seen that the other guest is there
            guest.send(lie, truth)
            heard = neighbour.hear_until(truth, 0.05, addresses_and_data)
            if heard is not None:
                break
        assert heard is not None
        assert lie[addresses_and_data] not in heard


def reaches_gateway(guest: StandInGuest) -> bool:
    return reaches(guest, GATEWAY)


def test_anti_spoofing_is_for_routed_guests_too(routed: Catalogue) -> None:
    one = routed.plug("10.0.0.5", "fd00::5", anti_spoofing=True)
    assert rules_left().split() == ["chain", f"vif-{one.id}", "{"]
    assert routed.drift(one) == []
    with alone(one, "10.0.0.5") as honest:
        assert reaches_gateway(honest)
    with alone(one, "10.0.0.9") as lying:
        assert lying.arp(GATEWAY, 0.3) is None

    routed.host().unplug(one.id)
    assert rules_left() == ""


# --- IPv6 ------------------------------------------------------------------------------------------


def icmpv6(plugged: Plugged, source: str, target: str, body: bytes, mac: str) -> bytes:
    """A frame with an ICMPv6 message and its checksum (RFC 4443, 2.3)."""
    ends = IPv6Address(source).packed + IPv6Address(target).packed
    total = frames.checksum(ends + struct.pack("!IHBB", len(body), 0, 0, 58) + body)
    body = body[:2] + struct.pack("!H", total) + body[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ends + body
    return frames.build_ethernet(frames.Ethernet(mac, str(plugged.vif.address), 0x86DD, packet))


def solicited(asking: StandInGuest, plugged: Plugged, source: str, target: str) -> str | None:
    """The MAC address that is advertised for ``target``."""
    body = struct.pack("!BBHI", 135, 0, 0, 0) + IPv6Address(target).packed
    body += bytes([1, 1]) + bytes.fromhex(str(plugged.vif.address).replace(":", ""))
    last = IPv6Address(target).packed[-3:]
    group = "ff02::1:ff" + last.hex()[:2] + ":" + last.hex()[2:]
    frame = icmpv6(plugged, source, group, body, "33:33:ff:" + last.hex(":"))

    def advertised(answer: frames.Ethernet) -> str | None:
        message = answer.payload[40:]
        if answer.kind != 0x86DD or message[:1] != b"\x88" or message[8:24] != IPv6Address(target).packed:
            return None
        return message[26:32].hex(":")

    for _ in range(20):  # the address that the host answers from has to settle first
        if found := asking.exchange(frame, advertised, 0.2):
            return found.value
    return None


def test_the_host_answers_for_the_ipv6_gateways_by_proxy_ndp(routed: Catalogue) -> None:
    binding = routed.binding("10.0.0.5")
    binding["network"]["subnets"] = [{"cidr": "fd00::/64", "gateway": GATEWAY_6, "addresses": ["fd00::5"]}]
    one = routed.host().plug(binding)
    assert routes(6) == {"fd00::5": one.vif.devname}

    with StandInGuest(one.vif.devname, str(one.vif.address)) as asking:
        own = links()[one.vif.devname].address
        assert solicited(asking, one, "fd00::5", GATEWAY_6) == own
        assert solicited(asking, one, "fd00::5", "fe80::1") == own


def test_ipv6_goes_from_guest_to_guest(routed: Catalogue) -> None:
    one, other = routed.plug("fd00::5"), routed.plug("fd00::6")
    # what the other guest would answer, if it spoke IPv6
    ip(f"-6 neigh add fd00::6 lladdr {other.vif.address} dev {other.vif.devname}")
    with StandInGuest(one.vif.devname, str(one.vif.address)) as asking, Wire(other) as asked:
        own = solicited(asking, one, "fd00::5", "fe80::1")
        assert own is not None
        echo = struct.pack("!BBHHH", 128, 0, 0, 1, 1) + b"is this the way?"
        sent = icmpv6(one, "fd00::5", "fd00::6", echo, own)
        hop = bytes.fromhex(f"{other.vif.address}{links()[other.vif.devname].address}".replace(":", ""))
        arrived = hop + sent[12:21] + bytes([254]) + sent[22:]  # one hop further
        for _ in range(100):  # until the kernel has seen that the other guest is there
            asking.send(sent)
            if asked.hear_until(arrived, 0.05) is not None:
                return
        raise AssertionError("nothing arrives")


# --- what it leaves and what it refuses -----------------------------------------------------------


def test_unplug_leaves_nothing_and_plug_twice_is_as_good_as_once(routed: Catalogue) -> None:
    ip("link add theirs type veth peer name peer")
    before = ip("-o address"), ip("route show table all"), ip("-6 route show table all")
    one = routed.plug("10.0.0.5", "fd00::5")
    routed.refresh(one)
    assert routed.drift(one) == []

    routed.host().unplug(one.id)
    assert (ip("-o address"), ip("route show table all"), ip("-6 route show table all")) == before


def test_a_device_that_stays_is_given_back_as_it_was(routed: Catalogue) -> None:
    """The details changed in a way that unplugs and plugs while the device stays."""
    binding = routed.binding("10.0.0.5")
    one = routed.host().plug(binding)
    binding["vif_details"]["anything"] = "else"
    routed.host().plug(binding)

    assert routed.drift(one) == []
    verbs = [call.verb for call in routed.host().calls(one.id)]
    assert verbs == ["plug", "unplug", "plug", "check"]


def test_a_live_guest_gets_other_addresses(routed: Catalogue) -> None:
    binding = routed.binding("10.0.0.5", "10.0.0.55")
    one, other = routed.host().plug(binding), routed.plug("10.0.0.6")
    binding["network"]["subnets"][0]["addresses"] = ["10.0.0.5", "10.0.0.7"]
    routed.host().update(binding)

    assert routes() == dict.fromkeys(("10.0.0.5", "10.0.0.7"), one.vif.devname) | {
        "10.0.0.6": other.vif.devname
    }
    with alone(one, "10.0.0.7") as asking, alone(other, "10.0.0.6"):
        gateway = asking.arp(GATEWAY)
        assert gateway is not None
        assert asking.ping("10.0.0.6", gateway.value, 5.0) is not None


def test_an_address_that_leads_elsewhere_already_is_refused_and_its_route_stays(routed: Catalogue) -> None:
    first = routed.plug("10.0.0.5")

    with pytest.raises(
        ScriptFailed, match=f"another route to 10.0.0.5 on this host: 10.0.0.5 dev {first.vif.devname}"
    ):
        routed.plug("10.0.0.5")

    assert routes() == {"10.0.0.5": first.vif.devname}
    assert routed.drift(first) == []


@pytest.mark.parametrize(
    ("change", "drift"),
    [
        ("ip route del 10.0.0.5", "routes at {dev}, IPv4: ['10.0.0.5'] is []"),
        ("ip address flush dev {dev} scope link", "addresses at {dev}, IPv4: ['169.254.1.1'] is []"),
        ("sysctl -q net.ipv4.conf.{dev}.proxy_arp=0", "net/ipv4/conf/{dev}/proxy_arp: 1 is 0"),
        ("sysctl -q net.ipv4.conf.{dev}.rp_filter=0", "net/ipv4/conf/{dev}/rp_filter: 1 is 0"),
    ],
)
def test_check_notices_what_drifted_and_another_plug_mends_it(
    routed: Catalogue, change: str, drift: str
) -> None:
    one = routed.plug("10.0.0.5")
    subprocess.run(change.format(dev=one.vif.devname).split(), check=True)
    assert drift.format(dev=one.vif.devname) in routed.drift(one)

    routed.refresh(one)
    assert routed.drift(one) == []


@pytest.mark.parametrize(
    ("addresses", "details", "words"),
    [
        ([], {}, "there is nothing to route"),
        (["10.0.0.5"], {"gateways": ["10.0.0.1"]}, "gateways must match"),
        (["10.0.0.5"], {"gateways": ["169.254.1.1.1"]}, "'169.254.1.1.1' is no IP address"),
    ],
)
def test_what_cannot_be_is_refused(
    routed: Catalogue, addresses: list[str], details: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadDetails, match=words):
        routed.plug(*addresses, **details)

    assert links() == {}
    assert routes() == {}


def test_unplug_does_not_touch_what_somebody_else_did_at_a_device_of_that_name(routed: Catalogue) -> None:
    one = routed.plug("10.0.0.5")
    name = one.vif.devname
    ip(f"link delete {name}")
    ip(f"tuntap add dev {name} mode tap")
    ip(f"link set {name} up")
    ip(f"address add 169.254.9.9/32 dev {name} scope link")
    subprocess.run(["sysctl", "-q", f"net.ipv4.conf.{name}.proxy_arp=1"], check=True)

    routed.host().unplug(one.id)

    assert "169.254.9.9" in ip(f"address show dev {name}")
    assert socket.if_nametoindex(name)
    assert Path(f"/proc/sys/net/ipv4/conf/{name}/proxy_arp").read_text() == "1\n"
