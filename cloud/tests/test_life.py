"""A guest's life, through Nova's API: after each step kernel, ledger, Neutron and Nova agree."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

from cloud.node import Node
from cloud.tests.conftest import Guest, World, answers, eventually, pinging

_STARTED = "Loaded VIF plugins"

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(scope="module")
def booted() -> Iterator[list[Guest]]:
    """The guest that the tests share; a test that loses it leaves the list empty."""
    guests: list[Guest] = []
    yield guests


@pytest.fixture
def guest(world: World, booted: list[Guest]) -> Guest:
    """ACTIVE, and it answers; a new one when an earlier test has spoilt it."""
    if booted:
        server = world.api.server(booted[0].id)
        if server is None or server["status"] != "ACTIVE":
            world.clear()
            booted.clear()
    if not booted:
        booted.append(world.boot("web"))
        booted[0].answers()
    return booted[0]


def calls(guest: Guest) -> int:
    """How often a script was called for its VIF, on the node where it is."""
    with guest.node.client() as client:
        return len(client.calls(guest.port))


def started(world: World, node: Node) -> int:
    """How often nova-compute has told that it had loaded its plugins."""
    return world.cloud.processes.log(f"{node.name}-nova").read_text().count(_STARTED)


def test_a_guest_boots_and_is_reached(world: World, guest: Guest) -> None:
    world.agrees()
    interface = etree.fromstring(guest.xml()).find("devices/interface")
    assert interface is not None
    assert interface.get("type") == "ethernet"
    target = interface.find("target")
    assert target is not None
    assert target.get("dev") == f"tap{guest.port[:11]}"
    assert target.get("managed") == "no"


def test_a_second_interface_is_attached_and_detached(world: World, guest: Guest) -> None:
    port, address = world.make_port(world.network("data1"))
    path = f"/servers/{guest.id}/os-interface"
    world.api("compute", "POST", path, {"interfaceAttachment": {"port_id": port}})
    guest.ports[port] = address
    guest.answers()
    world.agrees()
    world.api("compute", "DELETE", f"{path}/{port}")
    eventually(
        "it is still attached",
        lambda: [
            each
            for each in world.api("compute", "GET", path)["interfaceAttachments"]
            if each["port_id"] == port
        ],
    )
    del guest.ports[port]
    world.api("network", "DELETE", f"/ports/{port}")
    world.agrees()
    assert not answers(address)
    guest.answers()


def test_reboot(world: World, guest: Guest) -> None:
    for kind in ("SOFT", "HARD"):
        guest.act("reboot", {"type": kind})
        guest.answers()
        world.agrees()


def test_stop_and_start(world: World, guest: Guest) -> None:
    guest.act("os-stop", until="SHUTOFF")
    assert not answers(guest.address)
    world.agrees()
    guest.act("os-start")
    guest.answers()
    world.agrees()


def test_pause_and_suspend(world: World, guest: Guest) -> None:
    guest.act("pause", until="PAUSED")
    assert not answers(guest.address)
    world.agrees()
    guest.act("unpause")
    guest.answers()
    guest.act("suspend", until="SUSPENDED")
    assert not answers(guest.address)
    world.agrees()
    guest.act("resume")
    guest.answers()
    world.agrees()


def test_rebuild(world: World, guest: Guest) -> None:
    guest.act("rebuild", {"imageRef": world.api.image("guest")})
    guest.answers()
    world.agrees()


def test_a_restart_of_nova_compute_disturbs_no_guest(world: World, guest: Guest) -> None:
    before, node = calls(guest), guest.node
    with pinging(guest.address) as pings:
        for end in ("stop", "kill"):
            getattr(world.cloud.processes, end)(f"{node.name}-nova")
            log = started(world, node)
            node.start_compute()
            eventually("nova-compute is not back", lambda before=log: started(world, node) == before)  # type: ignore[misc]
            world.cloud.wait_for_computes()
        time.sleep(1)
    assert pings.lost == 0
    assert pings.sent > 30
    if world.way == "plugin":
        assert calls(guest) == before
    world.agrees()


def test_shelve_and_unshelve_onto_the_other_node(world: World, guest: Guest) -> None:
    first = guest.host
    guest.act("shelve", until="SHELVED_OFFLOADED")
    world.agrees()
    guest.act("unshelve", {"host": world.other(first).name})
    guest.answers()
    assert guest.host != first
    world.agrees()


def test_live_migration_there_and_back(world: World, guest: Guest) -> None:
    for _ in range(2):
        source, destination = guest.host, world.other(guest.host).name
        with pinging(guest.address, every=0.05) as pings:
            guest.migrate(destination)
            world.agrees()
        print(
            f"{source} to {destination}: {pings.lost} of {pings.sent} pings lost, at most {pings.gap:.2f} s without"
        )
        assert guest.host == destination
        assert pings.gap < 5
        assert world.api.port(guest.port)["status"] == "ACTIVE"
        guest.answers()
    # of the new host's port Nova waits for network-vif-plugged: a port left DOWN fails it
    guest.act("rebuild", {"imageRef": world.api.image("guest")})
    guest.answers()
    world.agrees()


def test_delete(world: World, guest: Guest, booted: list[Guest]) -> None:
    guest.delete()
    booted.clear()
    for node in world.nodes:
        eventually(f"something is left on {node.name}", lambda n=node: world.taps(n))  # type: ignore[misc]
        with node.client() as client:
            assert client.list() == []
    world.agrees()
