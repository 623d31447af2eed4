"""A plug rehearsed: what would be done is said, and nothing of it is done."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from vifplug.errors import BackendUnavailable, DeviceTaken, InvalidInput, ScriptNotFound, VifInUse
from vifplug.host import Host
from world import ID, TAP, World, binding, links

DRY = """[ -n "$VIFPLUG_DRY_RUN" ] || dry=no
if [ "$dry" != no ]; then
    echo "thinking" >&2
    echo "#vifplug {\\"run\\": [\\"touch\\", \\"port $VIF_ID\\"], \\"dry\\": true}" >&2
    exit 0
fi"""


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    with world.host() as host:
        yield host


def test_it_tells_the_steps_and_the_commands_and_does_none_of_them(world: World, host: Host) -> None:
    world.info(dry_run=True)
    world.on("plug", do=DRY)
    rehearsal = host.rehearse(binding(mtu=1400, queues=2))
    assert [step.name for step in rehearsal.steps] == ["intent", "device", "script plug", "outcome"]
    device, script = rehearsal.steps[1:3]
    assert device.text == f"make the tap {TAP}: MAC fe:16:3e:00:00:00, MTU 1400, 2 queues, up"
    assert script.commands == [["touch", f"port {ID}"]]
    assert world.requests()[0]["dry_run"] is True
    assert (links(), world.ports(), host.list()) == ({}, set(), [])
    plugged = host.plug(binding(mtu=1400, queues=2))
    assert rehearsal.xml == plugged.xml


def test_a_script_without_a_dry_run_is_not_called(world: World, host: Host) -> None:
    script = host.rehearse(binding()).steps[2]
    assert "no dry run" in script.text
    assert world.asked() == []


def test_what_stands_has_no_steps(world: World, host: Host) -> None:
    host.plug(binding())
    assert host.rehearse(binding()).steps == []


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"mtu": 1400}, ["intent", "device", "outcome"]),
        ({"vif_details": {"tag": 1}}, ["intent", "device", "script unplug", "script plug", "outcome"]),
        ({"queues": 2}, ["script unplug", "remove device", "intent", "device", "script plug", "outcome"]),
    ],
    ids=["kernel alone", "script alone", "another device"],
)
def test_a_change_is_told_as_it_would_be_made(
    world: World, host: Host, changed: dict[str, Any], names: list[str]
) -> None:
    host.plug(binding())
    before = links()
    assert [step.name for step in host.rehearse(binding(**changed)).steps] == names
    assert links() == before
    assert world.asked() == ["plug"]


def test_what_would_be_refused_is_refused(world: World, host: Host) -> None:
    with pytest.raises(ScriptNotFound):
        host.rehearse(binding(script="nosuch"))
    with pytest.raises(InvalidInput):
        host.rehearse({"id": ID, "vif_type": "vhostuser", "address": "fa:16:3e:00:00:01"})
    subprocess.run(["ip", "link", "add", TAP, "type", "bridge"], check=True)
    with pytest.raises(DeviceTaken, match=f"{TAP} is taken: a bridge"):
        host.rehearse(binding())


def test_a_change_under_a_guest_is_refused(world: World, host: Host) -> None:
    from vifplug.probe.guest import StandInGuest

    host.plug(binding())
    with StandInGuest(TAP, "fa:16:3e:00:00:00", ["10.0.0.1/24"]), pytest.raises(VifInUse, match="queues"):
        host.rehearse(binding(queues=2))


def test_what_the_script_foresees_is_said(world: World, host: Host) -> None:
    world.info(dry_run=True)
    world.on("plug", status=69)
    with pytest.raises(BackendUnavailable, match="the backend said no"):
        host.rehearse(binding())
    assert links() == {}
