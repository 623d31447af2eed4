"""Live migrations that fail: the guest stays where it is and is reached, and the destination is as it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cloud.node import Node, Storage
from cloud.tests.conftest import Guest, World, eventually, pinging


@contextmanager
def no_way_in(node: Node) -> Iterator[None]:
    """No guest can arrive there: its QEMU is started, waits, and is never reached."""
    node.run("nft", "-f", "-", stdin="""
        table inet no_way_in {
            chain input {
                type filter hook input priority 0
                tcp dport 49152-49215 reject with tcp reset
            }
        }
    """)  # fmt: skip
    try:
        yield
    finally:
        node.run("nft", "delete", "table", "inet", "no_way_in")


def made_active(guest: Guest) -> None:
    """A guest whose migration Nova could not call off runs on, and is told to have an error."""
    api = guest.world.api

    def unsettled() -> str | None:
        server = api.server(guest.id)
        assert server is not None
        if server["status"] == "ERROR":
            api.act(guest.id, "os-resetState", {"state": "active"})
        state = server["status"] if server["status"] != "ACTIVE" else server["OS-EXT-STS:task_state"]
        return None if state is None else str(state)

    eventually("Nova is still at it", unsettled)


def fails_to_migrate(guest: Guest) -> None:
    """The guest is still where it was, and is reached; Nova has it ACTIVE, or was made to."""
    api, host = guest.world.api, guest.host
    api.act(guest.id, "os-migrateLive", {"host": "cmp2", "block_migration": "auto"})

    # Nova answers before it has begun
    eventually(
        "it has not failed", lambda: [m["status"] for m in guest.migrations()][:1] != ["error"], seconds=90
    )
    made_active(guest)
    assert guest.host == host
    guest.answers()


@pytest.fixture
def storage(world: World, request: pytest.FixtureRequest) -> Iterator[Storage]:
    """What Nova finds where it looks for guests' disks."""
    chosen: Storage = request.param
    world.clear()
    for node in world.nodes:
        node.store(chosen)
    yield chosen
    world.clear()
    for node in world.nodes:
        node.store("local")


@pytest.mark.parametrize("storage", ["local", "shared"], indirect=True)
def test_a_live_migration_that_fails_leaves_nothing(world: World, storage: Storage) -> None:
    """With storage that Nova takes for shared, and libvirt does not, it never unplugs on the destination: vifplugd
    gives the guest up that has not come (daemon.arrival_patience, on these nodes 40 s; cloud/node.py)."""
    guest = world.boot("stays", "cmp1")
    guest.answers()
    with pinging(guest.address) as pings, no_way_in(world.node("cmp2")):
        fails_to_migrate(guest)
        world.agrees(90)
    assert pings.lost <= 1
    assert world.taps(world.node("cmp2")) == []
    if storage == "local":  # and the next one gets there
        made_active(guest)  # the error may have come late
        guest.migrate("cmp2")
        guest.answers()
        world.agrees()


def test_a_host_without_the_script_is_no_destination(world: World, cleared: None) -> None:
    """The guest does not move, and a log says what is missing."""
    guest = world.boot("stays", "cmp1", world.network("shaky0"))
    guest.answers()
    destination = world.node("cmp2")
    world.install_shaky(destination, there=False)
    try:
        fails_to_migrate(guest)
    finally:
        world.install_shaky(destination)
    teller, words = {
        "plugin": ("cmp2-nova", "there is no plug script 'shaky'"),
        "agent": ("neutron", 'host cmp2 has no plug script "shaky"'),
    }[world.way]
    assert words in world.cloud.processes.log(teller).read_text(errors="replace")
    world.agrees()
