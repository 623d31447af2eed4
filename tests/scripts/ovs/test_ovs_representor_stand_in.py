"""Functions of a card, with a stand-in for the card: what sysfs would show is a directory made here, and the
representor is a tap (so the guest stands at it). The switch is real. The names are those of the kernel's
Documentation/networking/switchdev.rst and Documentation/ABI/testing/sysfs-class-net."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from scripts.ovs.switch import Switch, guest, port, reaches
from vifplug.config import ScriptSettings
from vifplug.probe import StandInGuest

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

PF, VF = "0000:03:00.0", "0000:03:00.4"
REPRESENTOR = "enp3s0f0_2"


class Card:
    """A card with one uplink; its function 2 is at VF."""

    def __init__(self, folder: Path) -> None:
        self.sysfs = folder / "sys"
        self.devices = self.sysfs / "bus/pci/devices"
        (self.devices / VF).mkdir(parents=True)
        (self.devices / PF / "net/enp3s0f0").mkdir(parents=True)
        (self.devices / VF / "physfn").symlink_to(f"../{PF}")
        (self.devices / PF / "virtfn2").symlink_to(f"../{VF}")
        self.device("enp3s0f0", "p0")

    def device(self, name: str, port_name: str | None, switch: str = "1070fd") -> None:
        folder = self.sysfs / "class/net" / name
        folder.mkdir(parents=True)
        if port_name is not None:
            (folder / "phys_switch_id").write_text(f"{switch}\n")
            (folder / "phys_port_name").write_text(f"{port_name}\n")


@pytest.fixture
def card(switch: Switch) -> Card:
    card = Card(switch.folder)
    environment = {**switch.config.script["openvswitch"].environment, "SYSFS_PATH": str(card.sysfs)}
    switch.config = structs.replace(
        switch.config, script={"openvswitch": ScriptSettings(environment=environment)}
    )
    return card


def hostdev(**fields: Any) -> dict[str, Any]:
    return port(1, vif_type="hostdev", vif_details={"pci_slot": VF}, **fields)


def make_tap(name: str) -> None:
    subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr"], check=True)


@pytest.mark.parametrize("port_name", ["pf0vf2", "c1pf0vf2", "2"])
def test_the_stand_in_cards_representor_joins_the_switch(switch: Switch, card: Card, port_name: str) -> None:
    card.device("lo", None)
    card.device("enp3s0f0_3", "pf0vf3")
    card.device("enp9s0f0_2", port_name, switch="another")
    card.device(REPRESENTOR, port_name)
    make_tap(REPRESENTOR)
    host = switch.host()
    one, other = hostdev(), port(2)
    for binding in (one, other):
        host.plug(binding)
    assert REPRESENTOR in switch.ports()
    assert host.check(one["id"]).ok

    with StandInGuest(REPRESENTOR, one["address"], ["10.0.0.1/24"]) as here, guest(other) as there:
        assert reaches(here, there)

    host.unplug(one["id"])
    assert REPRESENTOR not in switch.ports()


def test_an_unplug_needs_no_stand_in_card(switch: Switch, card: Card) -> None:
    """Its driver may be gone by then."""
    card.device(REPRESENTOR, "pf0vf2")
    make_tap(REPRESENTOR)
    switch.done("plug", hostdev())
    (card.devices / VF / "physfn").unlink()

    switch.done("unplug", hostdev())

    assert switch.ports() == set()


def test_a_stand_in_card_out_of_switchdev_mode_is_named(switch: Switch, card: Card) -> None:
    error = switch.call("plug", hostdev()).error

    assert error is not None
    assert error.code == "bad_details"
    assert f"pci_slot {VF} has no representor: is its card ({PF}) in switchdev mode" in error.message


def test_the_stand_in_cards_vdpa_device_is_answered(switch: Switch, card: Card) -> None:
    card.device(REPRESENTOR, "pf0vf2")
    make_tap(REPRESENTOR)
    (card.devices / VF / "vdpa0/vhost-vdpa-7").mkdir(parents=True)
    binding = port(1, vif_type="vdpa", profile={"pci_slot": VF.upper()})

    assert switch.done("plug", binding) == {"vif": {"device": "/dev/vhost-vdpa-7"}}
    assert switch.ports() == {REPRESENTOR}

    named = port(1, vif_type="vdpa", vif_details={"pci_slot": VF, "device": "/dev/vhost-vdpa-3"})
    assert switch.done("plug", named) == {}
