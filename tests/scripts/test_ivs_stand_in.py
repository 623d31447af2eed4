"""The plug script ivs with a stand-in for ivs-ctl, whose words and statuses are those of its source (ivs-ctl.c).

Bridge and veth pair of a hybrid plug are the kernel's own.
"""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from vendor import Vendor
from vendor_commands import IVS_CTL
from vifplug.errors import BackendUnavailable, BadDetails, ScriptFailed
from vifplug.host.results import State
from world import ID, TAP, World, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

DOWN = "echo \"Failed: no such datapath 'indigo'\" >&2; exit 1"
ADD, DELETE, SHOW = ["ivs-ctl", "add-port", TAP], ["ivs-ctl", "del-port", TAP], ["ivs-ctl", "show"]
BRIDGE, INNER, PORT = "qbr4c1b1b0a-7d", "qvb4c1b1b0a-7d", "qvo4c1b1b0a-7d"


@pytest.fixture
def ivs(world: World) -> Vendor:
    vendor = Vendor(world, "ivs")
    vendor.command("ivs-ctl", IVS_CTL)
    (vendor.place / "ports").touch()
    return vendor


def hybrid(vendor: Vendor, **details: Any) -> dict[str, Any]:
    return vendor.binding("bridge", vif_details={"bridge": BRIDGE, **details})


def ports(vendor: Vendor) -> list[str]:
    return (vendor.place / "ports").read_text().split()


def test_it_runs_what_nova_ran(ivs: Vendor) -> None:
    host = ivs.host()
    host.plug(ivs.binding())
    assert ivs.calls() == [ADD]

    host.unplug(ID)
    assert ivs.calls() == [DELETE]


def test_hybrid_puts_a_bridge_and_a_veth_pair_in_between(ivs: Vendor) -> None:
    host = ivs.host()
    host.plug(hybrid(ivs))

    found = links()
    assert set(found) == {BRIDGE, INNER, PORT}
    assert found[INNER].master == found[BRIDGE].index
    assert all(link.up for link in found.values())
    assert {found[INNER].mtu, found[PORT].mtu} == {1450}
    assert ivs.calls() == [["ivs-ctl", "add-port", PORT]]

    host.unplug(ID)
    assert ivs.calls() == [["ivs-ctl", "del-port", PORT]]
    assert links() == {}


@pytest.mark.parametrize("kind", ["plain", "hybrid"])
def test_plug_and_unplug_twice_are_as_good_as_once(ivs: Vendor, kind: str) -> None:
    binding, port = (ivs.binding(), TAP) if kind == "plain" else (hybrid(ivs), PORT)
    host = ivs.host()
    host.plug(binding)
    assert ivs.call("plug", binding).error is None
    assert ivs.calls() == [["ivs-ctl", "add-port", port]] * 2 + [SHOW]
    assert ports(ivs) == [port]

    for _ in range(2):
        assert ivs.call("unplug", binding).error is None
        assert ports(ivs) == []
    assert set(links()) == ({TAP} if kind == "plain" else set())


def test_a_hybrid_plug_that_fails_at_the_switch_is_undone(ivs: Vendor) -> None:
    ivs.before("ivs-ctl", '[ "$1" != add-port ] || { echo "Failed: Invalid argument" >&2; exit 1; }')

    with pytest.raises(ScriptFailed, match=f"ivs-ctl add-port {PORT}: Failed: Invalid argument"):
        ivs.host().plug(hybrid(ivs))

    assert links() == {}
    assert ivs.host().list() == []


@pytest.mark.parametrize("made", [[BRIDGE], [BRIDGE, PORT]])
def test_a_hybrid_plug_that_was_killed_halfway_is_finished_or_removed(ivs: Vendor, made: list[str]) -> None:
    commands = {
        BRIDGE: f"link add {BRIDGE} type bridge",
        PORT: f"link add {INNER} type veth peer name {PORT}",
    }
    for device in made:
        subprocess.run(["ip", *commands[device].split()], check=True)
    assert ivs.call("plug", hybrid(ivs)).error is None
    assert links()[INNER].master == links()[BRIDGE].index

    ivs.call("unplug", hybrid(ivs))
    for device in made:
        subprocess.run(["ip", *commands[device].split()], check=True)
    assert ivs.call("unplug", hybrid(ivs)).error is None
    assert links() == {}


def test_without_the_switch_the_error_says_so(ivs: Vendor) -> None:
    ivs.before("ivs-ctl", DOWN)

    with pytest.raises(BackendUnavailable, match="ivs does not run on this host"):
        ivs.host().plug(ivs.binding())
    assert links() == {}


def test_a_port_that_cannot_be_removed_stays_on_record(ivs: Vendor) -> None:
    host = ivs.host()
    host.plug(ivs.binding())
    ivs.before("ivs-ctl", "echo 'Failed: Operation not permitted' >&2; exit 1")

    with pytest.raises(ScriptFailed, match="Operation not permitted"):
        host.unplug(ID)
    assert host.show(ID).state is State.DEBT

    ivs.before("ivs-ctl", None)
    host.unplug(ID)
    assert ports(ivs) == []


def test_a_bridge_that_others_may_use_is_refused(ivs: Vendor) -> None:
    outcome = ivs.call("plug", hybrid(ivs, bridge="br0"))

    assert isinstance(outcome.error, BadDetails)
    assert BRIDGE in outcome.error.message
    assert links() == {}


def test_check_tells_a_lost_port_and_a_lost_master(ivs: Vendor) -> None:
    ivs.call("plug", hybrid(ivs))
    assert not ivs.call("check", hybrid(ivs)).reply.get("drift")

    (ivs.place / "ports").write_text("")
    subprocess.run(["ip", "link", "set", "dev", INNER, "nomaster"], check=True)
    assert ivs.call("check", hybrid(ivs)).reply["drift"] == [
        {"what": "the switch's port", "expected": PORT, "found": None},
        {"what": f"the bridge of {INNER}", "expected": BRIDGE, "found": None},
    ]
