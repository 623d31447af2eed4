"""The rules of anti-spoofing, for whatever addresses a binding may allow."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import plugscript
from guests import ip
from vifplug.scriptlib import antispoofing

MAC = "fa:16:3e:00:00:05"
Network = IPv4Network | IPv6Network


def request(addresses: list[str], pairs: list[dict[str, str]]) -> plugscript.Request:
    return plugscript.Request(
        {
            "vif": {
                "id": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
                "address": MAC,
                "devname": "tap0",
                "details": {"anti_spoofing": True, "allowed_address_pairs": pairs},
            },
            "network": {"subnets": [{"addresses": addresses}]},
        }
    )


#: small numbers, so that networks overlap and touch
address = st.one_of(
    st.integers(0, 64).map(lambda n: str(IPv4Address(0x0A000000 + n))),
    st.integers(0, 64).map(lambda n: str(IPv6Address((0xFD << 120) + n))),
    st.ip_addresses().map(str),
)


def widened(text: str, fewer: int) -> str:
    bits = ip_address(text).max_prefixlen
    return f"{text}/{max(bits - fewer, 0)}"


network = st.one_of(address, st.builds(widened, address, st.one_of(st.integers(0, 8), st.integers(0, 128))))
mac = st.sampled_from([MAC, MAC.upper(), "00:00:5e:00:01:07", "02:00:00:ff:ff:ff"])
pair = st.one_of(
    st.fixed_dictionaries({"ip_address": network}),
    st.fixed_dictionaries({"ip_address": network, "mac_address": mac}),
)
pairs = st.lists(pair, max_size=6)


@pytest.fixture
def tap(netns: None) -> None:
    ip("tuntap add dev tap0 mode tap")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # one namespace for all
@given(addresses=st.lists(address, min_size=1, max_size=4), pairs=pairs)
def test_nft_takes_the_rules_for_any_addresses_and_check_knows_them_again(
    tap: None, addresses: list[str], pairs: list[dict[str, str]]
) -> None:
    asked = request(addresses, pairs)
    antispoofing.load(asked)
    assert antispoofing.drift(asked) == []


@given(addresses=st.lists(address, min_size=1, max_size=4), pairs=pairs, probe=address)
def test_each_mac_may_send_from_its_own_networks_and_no_others(
    addresses: list[str], pairs: list[dict[str, str]], probe: str
) -> None:
    wanted: dict[str, list[Network]] = {MAC: [ip_network(each) for each in addresses]}
    for each in pairs:
        networks = wanted.setdefault(each.get("mac_address", MAC).lower(), [])
        networks.append(ip_network(each["ip_address"], strict=False))

    allowed = antispoofing.allowed(request(addresses, pairs))

    assert allowed.keys() == wanted.keys()
    number, version = int(ip_address(probe)), ip_address(probe).version
    for sender, spans in allowed.items():
        inside = any(first <= number <= last for first, last in spans[0 if version == 4 else 1])
        local = version == 6 and probe == antispoofing._link_local(sender)
        assert inside == (local or any(ip_address(probe) in each for each in wanted[sender]))


@given(st.text(max_size=30))
def test_what_is_no_address_is_refused_and_never_reaches_nft(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError:
        with pytest.raises(plugscript.BadDetails):
            antispoofing.rules(request(["10.0.0.5"], [{"ip_address": text}] if text else [{}]))


@pytest.mark.parametrize("pair", [{}, {"ip_address": 5}, {"ip_address": "10.0.0.1", "mac_address": 5}])
def test_a_pair_of_another_form_is_refused(pair: dict[str, Any]) -> None:
    with pytest.raises(plugscript.BadDetails, match=r"allowed_address_pairs\[0\] must be"):
        antispoofing.rules(request(["10.0.0.5"], [pair]))


def test_without_nft_the_error_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(plugscript.BackendUnavailable, match="the command nft is not there"):
        antispoofing.load(request(["10.0.0.5"], []))
    antispoofing.clear(request(["10.0.0.5"], []))  # there were never any rules


def test_the_link_local_address_is_the_one_that_guests_make(netns: None) -> None:
    ip(f"link add veth0 address {MAC} type veth peer name veth1")
    ip("link set veth1 up")
    ip("link set veth0 up")
    shown = subprocess.run(
        ["ip", "-6", "address", "show", "dev", "veth0"], check=True, capture_output=True, text=True
    )

    assert f"inet6 {antispoofing._link_local(MAC)}/64" in shown.stdout
