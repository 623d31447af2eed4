"""Frames: what is built is read back, and no bytes whatever make a reader raise."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.probe import frames
from vifplug.probe.frames import Arp, Dhcp, Echo, Ethernet, IPv4, Udp

macs = st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":"))
ips = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
shorts = st.integers(0, 0xFFFF)
options = st.dictionaries(st.integers(1, 254), st.binary(max_size=255), max_size=6)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    for read in (frames.read_ethernet, frames.read_arp, frames.read_ipv4, frames.read_echo, frames.read_dhcp):
        read(data)
    frames.read_udp(IPv4("10.0.0.1", "10.0.0.2", frames.UDP, data))


@given(
    st.sampled_from([frames.ARP, frames.IPV4, frames.IPV6, frames.VLAN, 0x88CC]),
    st.sampled_from([b"", b"\x45", b"\x60" + bytes(5) + b"\x00"]),
    st.binary(max_size=120),
)
def test_any_frame_is_described_in_a_few_words(kind: int, start: bytes, rest: bytes) -> None:
    frame = Ethernet("fa:16:3e:00:00:01", "fa:16:3e:00:00:02", kind, start + rest)

    assert 0 < len(frames.describe(frames.build_ethernet(frame))) < 50


@given(macs, macs, shorts, st.binary(min_size=46, max_size=100))
def test_an_ethernet_frame_comes_back(destination: str, source: str, kind: int, payload: bytes) -> None:
    frame = Ethernet(destination, source, kind, payload)

    assert frames.read_ethernet(frames.build_ethernet(frame)) == frame


@given(st.integers(1, 2), macs, ips, macs, ips)
def test_an_arp_packet_comes_back(operation: int, mac: str, ip: str, other_mac: str, other: str) -> None:
    arp = Arp(operation, mac, ip, other_mac, other)

    assert frames.read_arp(frames.build_arp(arp)) == arp


@given(ips, ips, st.sampled_from([0, 8]), shorts, shorts, st.binary(max_size=64))
def test_a_ping_comes_back_through_every_layer(
    source: str, destination: str, kind: int, ident: int, sequence: int, data: bytes
) -> None:
    echo = Echo(kind, ident, sequence, data)
    packet = IPv4(source, destination, frames.ICMP, frames.build_echo(echo))

    # what Ethernet pads a short packet with is not part of it
    read = frames.read_ipv4(frames.build_ipv4(packet) + bytes(18))

    assert read == packet
    assert frames.read_echo(read.payload) == echo


@given(ips, ips, shorts, shorts, macs, ips, st.booleans(), options)
def test_a_dhcp_message_comes_back_through_udp(
    source: str,
    destination: str,
    port: int,
    other: int,
    mac: str,
    ip: str,
    reply: bool,
    opts: dict[int, bytes],
) -> None:
    message = Dhcp(reply, 0x12345678, mac, ip, ip, opts)
    datagram = Udp(port, other, frames.build_dhcp(message))
    packet = IPv4(source, destination, frames.UDP, frames.build_udp(datagram, source, destination))

    read = frames.read_udp(packet)

    assert read == datagram
    assert frames.read_dhcp(read.payload) == message


@given(st.binary(min_size=8, max_size=60), st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_noticed_by_the_checksum(data: bytes, where: int, change: int) -> None:
    good = bytearray(frames.build_echo(Echo(8, 1, 2, data)))
    good[4 + where % (len(good) - 4)] ^= change
    read = frames.read_echo(bytes(good))

    assert read is not None
    assert not read.checksum_ok


def test_a_datagram_without_checksum_counts_as_right() -> None:
    packet = IPv4("10.0.0.1", "10.0.0.2", frames.UDP, bytes.fromhex("0043 0044 000a 0000 6869"))

    assert frames.read_udp(packet) == Udp(67, 68, b"hi")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("333300000016 fa163e000001 86dd 60000000 0020 3aff" + "00" * 32 + "87", "IPv6 neighbour solicitation"),
        ("333300000016 fa163e000001 86dd 60000000 0024 0001" + "00" * 32 + "3a00050200000100 8f",
         "IPv6 multicast listener report"),
        ("333300000016 fa163e000001 86dd 60000000 0020 1140" + "00" * 60, "IPv6 packet"),
        ("ffffffffffff fa163e000001 8100 0064 0800", "frame with VLAN tag 100"),
        ("0180c2000000 fa163e000001 0026 424203", "spanning tree frame"),
        ("0180c200000e fa163e000001 88cc 0207", "frame of type 0x88cc"),
        ("ffffffffffff fa163e000001 0806 00", "odd ARP"),
        ("ffffffffffff fa163e000001 0800 45", "odd IPv4 packet"),
        ("ffff", "runt"),
    ],
)  # fmt: skip
def test_a_frame_is_named_by_what_it_is(frame: str, words: str) -> None:
    assert frames.describe(bytes.fromhex(frame)) == words


@pytest.mark.parametrize(
    ("protocol", "payload", "words"),
    [
        (1, frames.build_echo(Echo(8, 1, 1, b"")), "ping"),
        (1, frames.build_echo(Echo(0, 1, 1, b"")), "ping reply"),
        (1, b"\x03\x01" + bytes(30), "ICMP 'destination unreachable'"),
        (1, b"\x0b\x00" + bytes(30), "other ICMP message"),
        (17, frames.build_udp(Udp(68, 67, b""), "10.0.0.1", "10.0.0.2"), "DHCP message"),
        (17, frames.build_udp(Udp(5353, 5353, b""), "10.0.0.1", "10.0.0.2"), "UDP datagram"),
        (6, bytes(20), "TCP segment"),
        (112, bytes(20), "IPv4 packet of protocol 112"),
    ],
)
def test_an_ipv4_packet_is_named_by_what_it_carries(protocol: int, payload: bytes, words: str) -> None:
    packet = frames.build_ipv4(IPv4("10.0.0.1", "10.0.0.2", protocol, payload))
    frame = Ethernet("fa:16:3e:00:00:01", "fa:16:3e:00:00:02", frames.IPV4, packet)

    assert frames.describe(frames.build_ethernet(frame)) == words


def test_a_later_fragment_and_a_spoilt_header_are_no_packet() -> None:
    good = frames.build_ipv4(IPv4("10.0.0.1", "10.0.0.2", 17, b"data"))
    fragment = good[:6] + b"\x00\x10" + good[8:10] + bytes(2) + good[12:]
    fragment = fragment[:10] + frames.checksum(fragment[:20]).to_bytes(2) + fragment[12:]

    assert frames.read_ipv4(good) is not None
    assert frames.read_ipv4(good[:8] + b"\x01" + good[9:]) is None
    assert frames.checksum(fragment[:20]) == 0
    assert frames.read_ipv4(fragment) is None


def test_a_long_dhcp_option_comes_in_parts() -> None:
    message = Dhcp(True, 1, "fa:16:3e:00:00:01", "0.0.0.0", "10.0.0.5", {})  # noqa: S104
    data = frames.build_dhcp(message)[:-1] + b"\x00" + b"\x38\x02no" + b"\x38\x03 no" + b"\xff"

    assert frames.read_dhcp(data) == replace(message, options={56: b"no no"})
