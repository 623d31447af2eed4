"""A guest that boots: it meets the network through what was attached, and lets go of it."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

import pytest

from daemons import until
from hypervisor import Hypervisor, in_guest
from vifplug.errors import GuestHolds
from vifplug.host import Host
from vifplug.libvirt import attach, define, detach, start
from vifplug.libvirt.definition import Scope
from world import ID, TAP, World, binding, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def pings(address: str) -> bool:
    return subprocess.run(["ping", "-c1", "-W1", address], capture_output=True, check=False).returncode == 0


@pytest.fixture
def bridge(hypervisor: Hypervisor, world: World) -> None:
    """The guests' network, with this host in it; the backend puts each VIF into it."""
    ip("link add br-guests type bridge")
    ip("address add 10.9.0.100/24 dev br-guests")
    ip("link set br-guests up")
    world.on("plug", do="ip link set $VIF_DEVNAME master br-guests")


def test_a_guest_pings_through_what_was_attached_and_lets_go_of_it_when_told(
    hypervisor: Hypervisor, bridge: None, connection: Any, host: Host, world: World
) -> None:
    domain = connection.defineXML(hypervisor.guest(boots=True))
    define(host, domain, [binding(1)])
    start(host, domain)
    hypervisor.wait_said("guest", "10.9.0.1 mtu 1500")
    until(lambda: pings("10.9.0.1"))

    attach(host, domain, binding(2, mtu=1450))  # hot-plugged
    hypervisor.wait_said("guest", "10.9.0.2 mtu 1450")
    until(lambda: pings("10.9.0.2"))
    assert (
        in_guest(domain)
        == in_guest(domain, Scope.CONFIG)
        == [TAP.replace("4c1b1b0a", "00000001"), "tap00000002-7d"]
    )

    detached = detach(host, domain, binding(2)["id"])
    assert detached.live and detached.config and detached.unplugged
    hypervisor.wait_said("guest", "is gone")
    assert pings("10.9.0.1")
    assert world.ports() == {binding(1)["id"]}

    # a guest that is paused does not answer; it does when it runs on
    domain.suspend()
    with pytest.raises(GuestHolds, match="it is paused"):
        detach(host, domain, binding(1)["id"], patience=0.5)
    assert links()["tap00000001-7d"].carrier
    waiting = threading.Timer(0.5, domain.resume)
    waiting.start()
    assert detach(host, domain, binding(1)["id"]).unplugged
    waiting.join()
    assert world.ports() == set()
    assert list(links()) == ["br-guests"]


def test_several_queues_reach_the_guest(hypervisor: Hypervisor, connection: Any, host: Host) -> None:
    domain = connection.defineXML(hypervisor.guest(boots=True))
    domain.create()
    hypervisor.wait_said("guest", "guest: up")
    attach(host, domain, binding(queues=2))
    hypervisor.wait_said("guest", "fa:16:3e:00:00:00")
    assert "queues='2'" in domain.XMLDesc()
    assert detach(host, domain, ID).unplugged
