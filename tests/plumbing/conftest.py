"""Hosts whose plumbing is real: bridges, tunnels and wires in namespaces, and other hosts at their ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guests import Elsewhere, ip
from plumbed import Plumbed
from world import World

FAR = "10.0.0.1"


@pytest.fixture
def far(world: World) -> Iterator[Elsewhere]:
    """Another host, 10.0.0.1, at the end of the wire eth9 of this one."""
    other = Elsewhere()
    ip(f"link add eth9 type veth peer name far0 netns {other.namespace}")
    ip("link set eth9 up")
    other.do(lambda: ip(f"address add {FAR}/24 dev far0"))
    other.do(lambda: ip("link set far0 up"))
    yield other
    other.close()


@pytest.fixture
def bridged(world: World, far: Elsewhere) -> Plumbed:
    """VIFs in br-data, which leads out by eth9."""
    ip("link add br-data type bridge")
    ip("link set br-data up")
    ip("link set eth9 master br-data")
    return Plumbed(world, "linux-bridge", bridge="br-data")
