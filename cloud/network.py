"""The cloud's wires, between network namespaces: the controller's (0) and one for each node.

============  ===========================  ======================================================================
controller    node                         what it carries
============  ===========================  ======================================================================
``brm``       ``m0``, 10.77.0.1N           management: HTTP, RPC, migrations; and the VXLAN tunnels (``10.77.0.1N``)
``brdata``    ``d0`` in bridge br-data     physical networks data0 and data1: guests' 10.9.0.0/24 and 10.9.1.0/24
``brswitch``  ``s0`` in br-switch of       physical network switch0: guests' 10.9.4.0/24
              Open vSwitch
============  ===========================  ======================================================================
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from .place import CloudError, Place

_CLONE_NEWNET = 0x40000000

CONTROLLER = "10.77.0.1"


def address(number: int) -> str:
    """A node's, in the management network."""
    return f"10.77.0.{10 + number}"


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def make(place: Place) -> None:
    hub = place.netns(0)
    _namespace(hub)
    for bridge, addresses in (
        ("brm", [f"{CONTROLLER}/24"]),
        ("brdata", ["10.9.0.1/24", "10.9.1.1/24", "10.9.7.1/24"]),
        ("brswitch", ["10.9.4.1/24"]),
    ):
        _bridge(hub, bridge)
        for each in addresses:
            ip("-n", hub, "addr", "add", each, "dev", bridge)
    for number in place.numbers:
        node = place.netns(number)
        _namespace(node)
        _wire(hub, "brm", f"m{number}", node, "m0")
        ip("-n", node, "addr", "add", f"{address(number)}/24", "dev", "m0")
        _wire(hub, "brdata", f"d{number}", node, "d0")
        _bridge(node, "br-data")
        ip("-n", node, "link", "set", "d0", "master", "br-data")
        _wire(hub, "brswitch", f"s{number}", node, "s0")
        for namespace, device in ((hub, f"s{number}"), (node, "s0")):
            # a switch in user space reads frames whose checksum nobody has filled in, else
            subprocess.run(
                ["ip", "netns", "exec", namespace, "ethtool", "-K", device, "tx", "off"],
                check=True,
                capture_output=True,
            )


def remove(place: Place) -> None:
    for number in range(place.choices.nodes + 1):
        subprocess.run(["ip", "netns", "del", place.netns(number)], check=False, capture_output=True)


def enter(place: Place) -> None:
    """This process, and what it starts from now on, is in the controller's network."""
    path = Path("/run/netns") / place.netns(0)
    if not path.exists():
        raise CloudError(f"the network namespace {path.name} is gone: ./dev cloud down, then up")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


def pids(place: Place, number: int) -> list[int]:
    """The processes in a namespace of ours."""
    done = subprocess.run(
        ["ip", "netns", "pids", place.netns(number)], check=False, capture_output=True, text=True
    )
    return [int(line) for line in done.stdout.split()]


def _namespace(name: str) -> None:
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def _bridge(namespace: str, name: str) -> None:
    ip("-n", namespace, "link", "add", name, "type", "bridge", "mcast_snooping", "0")
    ip("-n", namespace, "link", "set", name, "up")


def _wire(hub: str, bridge: str, name: str, node: str, peer: str) -> None:
    ip("-n", hub, "link", "add", name, "type", "veth", "peer", "name", peer, "netns", node)
    ip("-n", hub, "link", "set", name, "master", bridge, "up")
    ip("-n", node, "link", "set", peer, "up")
