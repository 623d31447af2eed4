"""A bridge with a router on it, and taps as vifplug makes them: persistent, up, in the bridge."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROUTER = "10.0.0.1"


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


@pytest.fixture
def bridge(netns: None) -> str:
    """A bridge with the address 10.0.0.1/24, for which the kernel answers ARP and ping."""
    ip("link add br0 type bridge")
    ip(f"address add {ROUTER}/24 dev br0")
    ip("link set br0 up")
    return "br0"


MakeTap = Callable[..., str]


@pytest.fixture
def make_tap(bridge: str) -> MakeTap:
    def make(name: str, *flags: str, up: bool = True) -> str:
        ip(" ".join(["tuntap add dev", name, "mode tap", *flags]))
        ip(f"link set {name} master {bridge} {'up' if up else 'down'}")
        return name

    return make


@pytest.fixture
def tap(make_tap: MakeTap) -> str:
    return make_tap("tap0", "vnet_hdr")


class Dnsmasq:
    """A real DHCP server on the bridge; its log is read line by line."""

    def __init__(self, leases: Path) -> None:
        options = (
            "no-daemon conf-file=/dev/null port=0 interface=br0 bind-interfaces user=root pid-file= "
            "log-facility=- no-ping dhcp-authoritative dhcp-range=10.0.0.10,10.0.0.20,255.255.255.0,120"
        )
        command = ["dnsmasq", *(f"--{option}" for option in options.split()), f"--dhcp-leasefile={leases}"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.leases = leases
        self.wait_for("sockets bound")

    def wait_for(self, words: str) -> str:
        """The next line of the log with these words in it."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if words in line:
                return line
        raise AssertionError(f"dnsmasq ended without a word of {words!r}")

    def stop(self) -> None:
        self._process.terminate()
        with self._process:  # waits, and closes its log
            pass


@pytest.fixture
def dnsmasq(bridge: str, tmp_path: Path) -> Iterator[Dnsmasq]:
    server = Dnsmasq(tmp_path / "leases")
    yield server
    server.stop()
