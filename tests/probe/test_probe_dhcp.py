"""DHCP through a tap: against a real dnsmasq, and against servers that go wrong."""

from __future__ import annotations

import re
from dataclasses import replace

from probe.conftest import Dnsmasq, MakeTap
from probe.peer import Peer, dhcp_server
from vifplug.probe import probe
from vifplug.probe.frames import Dhcp

MAC = "fa:16:3e:00:00:05"


def test_a_lease_is_had_used_and_given_back(tap: str, dnsmasq: Dnsmasq) -> None:
    report = probe(tap, MAC, dhcp=True)

    assert report.ok
    dhcp, arp, ping = report.findings
    assert re.fullmatch(r"10\.0\.0\.1 leased 10\.0\.0\.1\d/24 for 120 s|.*10\.0\.0\.20/24.*", dhcp.text)
    assert (arp.what, arp.target) == ("arp", "10.0.0.1")
    assert (ping.what, ping.target) == ("ping", "10.0.0.1")
    dnsmasq.wait_for("DHCPRELEASE")
    dnsmasq.stop()
    assert dnsmasq.leases.read_text() == ""


def test_an_address_that_is_not_the_vifs_own_is_a_finding(tap: str, dnsmasq: Dnsmasq) -> None:
    report = probe(tap, MAC, ["10.0.0.77/24"], dhcp=True)

    assert not report.ok
    assert report.findings[0].text.endswith("but this VIF's address is 10.0.0.77")


def test_no_server_is_said_so(tap: str) -> None:
    report = probe(tap, MAC, dhcp=True, timeout=0.3)

    assert not report.ok
    assert report.findings[0].text.startswith("DHCP discover sent 3 times; no answer; ")


def test_a_server_that_dies_after_its_offer_is_told_from_one_that_never_was(
    tap: str, make_tap: MakeTap
) -> None:
    def offer_only(request: Dhcp) -> Dhcp | None:
        return _reply(request, 2) if request.options[53] == b"\x01" else None

    with Peer(make_tap("tap1"), dhcp_server(offer_only)):
        report = probe(tap, MAC, dhcp=True, timeout=0.3)

    assert report.findings[0].text.startswith("DHCP request sent 3 times; no answer; ")


def test_a_refusal_carries_the_servers_words(tap: str, make_tap: MakeTap) -> None:
    def refuse(request: Dhcp) -> Dhcp | None:
        if request.options[53] == b"\x01":
            return _reply(request, 2)
        nak = _reply(request, 6)
        return replace(nak, options={**nak.options, 56: b"wrong network"})

    with Peer(make_tap("tap1"), dhcp_server(refuse)):
        report = probe(tap, MAC, dhcp=True)

    assert not report.ok
    assert report.findings[0].text.startswith(
        "DHCP server 10.0.0.3 refused the address it had offered: 'wrong network'"
    )


def test_an_offer_that_a_guest_would_drop_is_told_from_no_offer(tap: str, make_tap: MakeTap) -> None:
    with Peer(make_tap("tap1"), dhcp_server(lambda request: _reply(request, 2), spoil=True)):
        report = probe(tap, MAC, dhcp=True)

    assert not report.ok
    assert "the offer of DHCP server 10.0.0.3 came with a wrong UDP checksum" in report.findings[0].text


def _reply(request: Dhcp, kind: int) -> Dhcp:
    options = {53: bytes([kind]), 54: bytes([10, 0, 0, 3]), 1: b"\xff\xff\xff\x00"}
    return replace(request, is_reply=True, offered="10.0.0.9", options=options)
