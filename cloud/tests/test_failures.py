"""What goes wrong when a VIF is plugged: Nova hears of it in words, tries where it can, and nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cloud.tests.conftest import Guest, World, eventually, pinging

pytestmark = pytest.mark.usefixtures("well")


@pytest.fixture
def well(world: World, cleared: None) -> Iterator[None]:
    yield
    for node in world.nodes:
        world.install_shaky(node)


def said(world: World, name: str, words: str) -> bool:
    return words in world.cloud.processes.log(name).read_text(errors="replace")


def at_work(guest: Guest) -> None:
    """Until the script is being run for its VIF."""

    def idle() -> str | None:
        with guest.world.node("cmp1").client() as client:
            found = [record for record in client.list() if record.id == guest.port]
        return None if found and found[0].state == "plugging" else f"{found}"

    eventually("the VIF is not being plugged", idle, seconds=60)


def test_a_node_without_the_script_is_passed_over(world: World) -> None:
    world.install_shaky(world.node("cmp1"), there=False)
    guest = world.boot("mover", None, world.network("shaky0"))
    guest.answers()
    assert guest.host == "cmp2"
    world.agrees()


def test_with_no_other_node_the_error_names_the_script(world: World) -> None:
    world.install_shaky(world.node("cmp1"), there=False)
    guest = world.boot("stuck", "cmp1", world.network("shaky0"), status="ERROR")
    if world.way == "plugin":
        assert said(
            world, "cmp1-nova", f"VIF {guest.port} cannot be plugged: there is no plug script 'shaky'"
        )
    else:
        assert said(
            world,
            "neutron",
            f'Port {guest.port} is not bound on host cmp1: host cmp1 has no plug script "shaky"',
        )
    guest.delete()
    world.agrees()


def test_a_script_that_fails_says_so_to_nova(world: World) -> None:
    for node in world.nodes:
        node.mood("fails")
    guest = world.boot("unlucky", "cmp1", world.network("shaky0"), status="ERROR")
    teller = "cmp1-nova" if world.way == "plugin" else "cmp1-agent"
    assert said(world, teller, f"the switch has no room for tap{guest.port[:11]}")
    guest.delete()
    world.agrees()


def test_a_script_that_hangs_is_ended_and_delays_nobody_else(world: World) -> None:
    world.node("cmp1").mood("hangs")
    hanging = world.boot("hanging", "cmp1", world.network("shaky0"), status=None)
    at_work(hanging)
    other = world.boot("other", "cmp1")
    other.answers()
    assert world.api.server(hanging.id)["status"] == "BUILD"  # type: ignore[index]
    world.api.settled(hanging.id, "ERROR")
    hanging.delete()
    eventually(
        "what the script began runs on",
        lambda: "sleep 617" in world.node("cmp1").run("ps", "-e", "-o", "args"),
    )
    world.agrees()


def test_a_guest_waits_for_vifplugd_to_come_back(world: World) -> None:
    node = world.node("cmp1")
    world.cloud.processes.stop("cmp1-vifplugd")
    guest = world.boot("patient", "cmp1", status=None)
    teller = "cmp1-nova" if world.way == "plugin" else "cmp1-agent"
    eventually("nobody has noticed", lambda: not said(world, teller, "vifplugd.sock"), seconds=60)
    node.start_vifplugd()
    world.api.settled(guest.id)
    guest.answers()
    world.agrees()


def test_vifplugd_is_killed_in_the_middle_of_a_plug(world: World) -> None:
    node = world.node("cmp1")
    node.mood("waits")
    guest = world.boot("patient", "cmp1", world.network("shaky0"), status=None)
    at_work(guest)
    world.cloud.processes.kill("cmp1-vifplugd")
    node.mood("well")
    node.start_vifplugd()
    world.api.settled(guest.id)
    guest.answers()
    world.agrees()


def test_nova_compute_is_killed_in_the_middle_of_a_plug(world: World) -> None:
    """Nova gives the guest up when it comes back; that its VIF goes is seen to when the guest is deleted."""
    bystander = world.boot("bystander", "cmp1")
    bystander.answers()
    node = world.node("cmp1")
    node.mood("waits")
    guest = world.boot("victim", "cmp1", world.network("shaky0"), status=None)
    at_work(guest)
    with pinging(bystander.address) as pings:
        world.cloud.processes.kill("cmp1-nova")
        node.mood("well")
        time.sleep(1)
        node.start_compute()
        world.cloud.wait_for_computes()
        eventually(
            "Nova is still at it",
            lambda: (world.api.server(guest.id) or {}).get("status") not in ("ERROR", "ACTIVE"),
            seconds=120,
        )
    assert pings.lost == 0
    guest.delete()
    bystander.answers()
    world.agrees()
