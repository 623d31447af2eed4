"""A probe opens a real tap on a real bridge and says what works, and what it saw where it does not."""

from __future__ import annotations

import ctypes
import fcntl
import re
import socket
import struct
import subprocess
import threading

import pytest
from msgspec import json

from probe.conftest import MakeTap, ip
from probe.peer import MAC as PEER_MAC
from probe.peer import Peer
from vifplug.errors import DeviceFailed, InvalidInput
from vifplug.host.netlink import Netlink
from vifplug.model.vif import Ethernet as EthernetShape
from vifplug.model.vif import NetworkInfo, Subnet, Vif
from vifplug.probe import ProbeReport, StandInGuest, frames, probe, probe_vif
from vifplug.probe.frames import Arp, Echo, Ethernet, IPv4
from vifplug.probe.tap import Tap

MAC = "fa:16:3e:00:00:05"
OWN = ["10.0.0.5/24"]


def test_arp_and_ping_work_through_a_tap_in_a_bridge(tap: str) -> None:
    report = probe(tap, MAC, OWN, ["10.0.0.1"])

    assert report.ok
    assert report.error is None
    arp, ping = report.findings
    assert (arp.what, arp.target, arp.ok) == ("arp", "10.0.0.1", True)
    assert re.fullmatch(r"10\.0\.0\.1 is at ([0-9a-f]{2}:){5}[0-9a-f]{2}", arp.text)
    assert (ping.what, ping.target, ping.ok) == ("ping", "10.0.0.1", True)
    assert ping.seconds is not None
    assert 0 < ping.seconds < 5
    assert json.decode(json.encode(report), type=ProbeReport) == report


def test_two_guests_reach_each_other(make_tap: MakeTap) -> None:
    with (
        StandInGuest(make_tap("tap1"), "fa:16:3e:00:00:01", ["10.0.0.11/24"]) as one,
        StandInGuest(make_tap("tap2"), "fa:16:3e:00:00:02", ["10.0.0.12/24"]) as two,
    ):
        answer = one.arp("10.0.0.12")
        assert answer is not None
        assert answer.value == "fa:16:3e:00:00:02"
        assert one.ping("10.0.0.12", answer.value) is not None
        assert two.ping("10.0.0.11", "fa:16:3e:00:00:01") is not None


def test_the_host_can_ping_a_stand_in_guest(tap: str) -> None:
    with StandInGuest(tap, MAC, OWN):
        subprocess.run(["ping", "-c", "1", "-W", "5", "10.0.0.5"], check=True, stdout=subprocess.DEVNULL)


def test_an_unanswered_arp_tells_what_was_seen_instead(tap: str) -> None:
    stop = threading.Event()

    def chatter() -> None:
        noise = bytes.fromhex(
            "3333ff000001 fa163e0000aa 86dd 60000000 0018 3aff" + "00" * 32 + "87" + "00" * 23
        )
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("br0", 0))
            while not stop.wait(0.01):
                out.send(noise)

    talker = threading.Thread(target=chatter)
    talker.start()
    try:
        report = probe(tap, MAC, OWN, ["10.0.0.99"], timeout=0.6)
    finally:
        stop.set()
        talker.join()

    assert not report.ok
    assert len(report.findings) == 1  # without a MAC there is nowhere to send a ping
    text = report.findings[0].text
    assert text.startswith("ARP request for 10.0.0.99 sent 3 times; no reply; ")
    assert re.search(r"\d+ other frames seen: .*\d+ × IPv6 neighbour solicitation", text)  # noqa: RUF001
    assert report.seen["IPv6 neighbour solicitation"] > 1


def test_silence_is_called_silence(tap: str) -> None:
    ip(f"link set {tap} nomaster")
    ip(f"link set {tap} addrgenmode none")

    report = probe(tap, MAC, OWN, ["10.0.0.99"], timeout=0.3)

    assert report.findings[0].text == "ARP request for 10.0.0.99 sent 3 times; no reply; no other frame seen"


def test_an_unanswered_ping_is_told_from_an_unanswered_arp(tap: str, make_tap: MakeTap) -> None:
    with Peer(make_tap("tap1"), _arp_only):
        report = probe(tap, MAC, OWN, ["10.0.0.9"], timeout=0.3)

    arp, ping = report.findings
    assert arp.ok
    assert not ping.ok
    assert ping.text.startswith(f"ping to 10.0.0.9 by way of {PEER_MAC} sent 3 times; no reply; ")


def test_a_spoilt_ping_reply_is_a_finding(tap: str, make_tap: MakeTap) -> None:
    with Peer(make_tap("tap1"), _spoilt_ping):
        report = probe(tap, MAC, OWN, ["10.0.0.9"])

    assert not report.ok
    assert (
        report.findings[1].text
        == "10.0.0.9 replied with a wrong ICMP checksum, and a guest drops such a packet"
    )


def test_another_subnet_is_reached_by_way_of_the_gateway(tap: str) -> None:
    ip("address add 192.0.2.1/32 dev lo")

    report = probe(tap, MAC, OWN, ["192.0.2.1"], gateway="10.0.0.1")

    assert [(f.what, f.target, f.ok) for f in report.findings] == [
        ("arp", "10.0.0.1", True),
        ("ping", "192.0.2.1", True),
    ]


def test_another_subnet_without_a_gateway_is_said_so(tap: str) -> None:
    report = probe(tap, MAC, OWN, ["192.0.2.1"])

    assert report.findings[0].text == (
        "192.0.2.1 is on another subnet (this guest has 10.0.0.5/24) and no gateway is known"
    )


def test_without_an_address_arp_alone_is_asked(tap: str) -> None:
    report = probe(tap, MAC, targets=["10.0.0.1"])

    assert report.ok
    assert [finding.what for finding in report.findings] == ["arp"]


def test_an_address_without_its_prefix_asks_on_the_link(tap: str) -> None:
    ip("route add 10.0.0.5/32 dev br0")

    assert probe(tap, MAC, ["10.0.0.5"], ["10.0.0.1"]).ok


# --- the tap itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [[], ["multi_queue"]])
@pytest.mark.parametrize("made_with", [[], ["vnet_hdr"]])
@pytest.mark.parametrize("opened_with", [False, True])
def test_every_kind_of_tap_is_opened(
    make_tap: MakeTap, queues: list[str], made_with: list[str], opened_with: bool
) -> None:
    name = make_tap("tap1", *queues, *made_with)

    with StandInGuest(name, MAC, OWN, vnet_hdr=opened_with) as guest:
        answer = guest.arp("10.0.0.1")
        assert answer is not None
        assert guest.ping("10.0.0.1", answer.value) is not None


def test_the_larger_header_that_a_guest_left_behind_is_kept_to(tap: str) -> None:
    former = Tap(tap)
    fcntl.ioctl(former.fileno(), 0x400454D8, struct.pack("i", 12))  # TUNSETVNETHDRSZ
    former.close()

    assert probe(tap, MAC, OWN, ["10.0.0.1"]).ok


def test_a_tap_is_given_back(tap: str) -> None:
    probe(tap, MAC, OWN, ["10.0.0.1"])

    with Netlink() as netlink:
        link = netlink.link(tap)
    assert link is not None
    assert not link.carrier


@pytest.mark.parametrize("flags", [["vnet_hdr"], ["vnet_hdr", "multi_queue"]])
def test_a_tap_that_a_guest_holds_is_left_to_it(make_tap: MakeTap, flags: list[str]) -> None:
    name = make_tap("tap1", *flags)

    with StandInGuest(name, MAC, OWN) as guest:
        report = probe(name, MAC, OWN, ["10.0.0.1"])
        assert guest.arp("10.0.0.1") is not None

    assert not report.ok
    assert report.error is not None
    assert report.error["code"] == "vif_in_use"
    assert report.error["message"].startswith("tap1 is held by a guest (EBUSY): ")


def test_a_missing_tap_is_missed_and_not_made(bridge: str) -> None:
    report = probe("tap9", MAC, OWN, ["10.0.0.1"])

    assert report.error is not None
    assert report.error["message"] == "no such device: tap9 is not in this network namespace"
    with Netlink() as netlink:
        assert netlink.link("tap9") is None


def test_a_device_that_is_down_is_said_so(make_tap: MakeTap) -> None:
    report = probe(make_tap("tap1", up=False), MAC, OWN, ["10.0.0.1"])

    assert report.error is not None
    assert report.error["message"] == "tap1 is down: bring it up with 'ip link set tap1 up'"


def test_a_device_that_is_no_tap_is_said_so(bridge: str) -> None:
    report = probe(bridge, MAC, OWN, ["10.0.0.1"])

    assert report.error is not None
    assert report.error["message"] == "br0 is a bridge device, not a tap"


def test_a_tap_that_goes_down_while_open_is_said_so(tap: str) -> None:
    with StandInGuest(tap, MAC, OWN) as guest:
        ip(f"link set {tap} down")
        with pytest.raises(DeviceFailed, match="tap0 is down"):
            guest.arp("10.0.0.1")


def test_a_tap_that_goes_away_while_open_is_said_so(tap: str) -> None:
    with StandInGuest(tap, MAC, OWN) as guest:
        ip(f"link delete {tap}")
        with pytest.raises(DeviceFailed, match="tap0 went away while it was open"):
            guest.arp("10.0.0.1")


@pytest.mark.real_root
def test_a_user_without_privilege_gets_a_reason(tap: str) -> None:
    reports: list[ProbeReport] = []

    def as_nobody() -> None:
        # the bare system call changes this thread alone
        assert ctypes.CDLL(None).syscall(117, 65534, 65534, 65534) == 0
        reports.append(probe(tap, MAC, OWN, ["10.0.0.1"]))

    thread = threading.Thread(target=as_nobody)
    thread.start()
    thread.join()

    error = reports[0].error
    assert error is not None
    assert error["code"] == "no_permission"
    assert "root" in error["message"]


# --- what is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"devname": "a/b"}, "devname"),
        ({"devname": "tap0\0"}, "devname"),
        ({"devname": "x" * 16}, "devname"),
        ({"address": "01:00:5e:00:00:01"}, "address"),
        ({"address": "nonsense"}, "address"),
        ({"addresses": ["10.0.0.5/33"]}, "addresses[0]"),
        ({"targets": ["10.0.0.1", "fe80::1"]}, "targets[1]"),
        ({"targets": []}, "targets"),
        ({"gateway": "router"}, "gateway"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(wrong: dict[str, object], field: str) -> None:
    asked: dict[str, object] = {"devname": "tap0", "address": MAC, "addresses": OWN, "targets": ["10.0.0.1"]}

    with pytest.raises(InvalidInput) as caught:
        probe(**{**asked, **wrong})  # type: ignore[arg-type]

    assert caught.value.context["field"] == field


def test_a_vif_is_probed_with_what_its_binding_says(make_tap: MakeTap) -> None:
    subnet = Subnet(cidr="10.0.0.0/24", gateway="10.0.0.1", addresses=["10.0.0.5"])
    other = Subnet(cidr="fd00::/64", gateway="fd00::1", addresses=["fd00::5"])
    vif = _vif(make_tap("tap1"), subnet, other)

    report = probe_vif(vif)

    assert report.ok
    assert [finding.target for finding in report.findings] == ["10.0.0.1", "10.0.0.1"]


def test_a_vif_of_a_network_without_gateway_needs_a_target(make_tap: MakeTap) -> None:
    vif = _vif(make_tap("tap1"), Subnet(addresses=["10.0.0.5"]))

    with pytest.raises(InvalidInput, match="nothing to ask: name an IPv4 address"):
        probe_vif(vif)
    assert probe_vif(vif, ["10.0.0.1"]).ok


def _vif(devname: str, *subnets: Subnet) -> Vif:
    return Vif(
        id="4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
        shape=EthernetShape(),
        address=MAC,
        devname=devname,
        network=NetworkInfo(subnets=list(subnets)),
    )


def _arp_only(frame: Ethernet) -> bytes | None:
    arp = frames.read_arp(frame.payload) if frame.kind == frames.ARP else None
    if arp is None or arp.target != "10.0.0.9":
        return None
    reply = Arp(frames.ARP_REPLY, PEER_MAC, arp.target, arp.sender_mac, arp.sender)
    return frames.build_ethernet(Ethernet(arp.sender_mac, PEER_MAC, frames.ARP, frames.build_arp(reply)))


def _spoilt_ping(frame: Ethernet) -> bytes | None:
    packet = frames.read_ipv4(frame.payload) if frame.kind == frames.IPV4 else None
    echo = frames.read_echo(packet.payload) if packet and packet.protocol == frames.ICMP else None
    if packet is None or echo is None:
        return _arp_only(frame)
    reply = bytearray(frames.build_echo(Echo(frames.ECHO_REPLY, echo.ident, echo.sequence, echo.data)))
    reply[2] ^= 0xFF
    back = frames.build_ipv4(IPv4(packet.destination, packet.source, frames.ICMP, bytes(reply)))
    return frames.build_ethernet(Ethernet(frame.source, PEER_MAC, frames.IPV4, back))
