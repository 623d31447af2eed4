"""The vendors' plug scripts keep the whole contract, with stand-ins for the vendors' commands."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from vendor import PACKAGE, Vendor
from vendor_commands import EBRCTL, FP_VDEV, IFC_CTL, IVS_CTL, MM_CTL, OVS_VSCTL, PORT_CONTROL
from vifplug.conformance import CASES, Subject, conform, explained
from world import World

pytestmark = pytest.mark.slow

#: these kill a vendor's command at its work: of a stand-in that tells nothing. After each command, others do
IN_THE_MIDDLE = ("killed-at-moments", "unplug-killed-at-moments")
SLOT = {"physical_network": "physnet1", "pci_slot": "1000{number}:3b:00.1"}


class Mechanism(Struct, frozen=True):
    commands: dict[str, str]
    details: dict[str, Any] = {}
    vif_type: str = "ethernet"
    perturb: list[str] = []


SCRIPTS = {
    "iovisor": Mechanism({"ifc_ctl": IFC_CTL}, perturb=[": >$place/ifc_list_gateway"]),
    "midonet": Mechanism({"mm-ctl": MM_CTL}, perturb=["rm -f $place/port-*"]),
    "ivs": Mechanism({"ivs-ctl": IVS_CTL}, perturb=[": >$place/ports"]),
    "vrouter": Mechanism({"vrouter-port-control": PORT_CONTROL}, perturb=["rm -f $place/ports/*"]),
    "fp-vdev": Mechanism(
        {"fp-vdev": FP_VDEV, "ovs-vsctl": OVS_VSCTL},
        {"path": "/run/fp{number}", "vhostuser_ovs_plug": True, "bridge_name": "br-int"},
        "vhostuser",
        perturb=["ip link delete dev $VIF_DEVNAME", "rm -f $place/ovs-*"],
    ),
    "ebrctl": Mechanism({"ebrctl": EBRCTL}, SLOT, "hostdev"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_keeps_the_contract(world: World, name: str) -> None:
    mechanism = SCRIPTS[name]
    vendor = Vendor(world, name)
    for command, body in mechanism.commands.items():
        vendor.command(command, body)
    place = str(vendor.place)
    if name == "vrouter":
        (vendor.place / "ports").mkdir()
    else:
        (vendor.place / "ports").touch()
    (vendor.place / "ifc_list_gateway").touch()
    subject = Subject(
        script=str(PACKAGE / "scripts" / name),
        vif_type=mechanism.vif_type,
        details=mechanism.details,
        watch=[f"cd {place}; cat ports ifc_list_gateway 2>/dev/null; ls -R"],
        perturb=[command.replace("$place", place) for command in mechanism.perturb],
        environment={
            **vendor.environment,
            "VENDOR_CALLS": "/dev/null",
            "IFC_LIST_GATEWAY": f"{place}/ifc_list_gateway",
            "VROUTER_PORTS": f"{place}/ports",
        },
        keep=[str(world.folder)],
    )

    report = conform(subject, only=[case for case in CASES if case not in IN_THE_MIDDLE])

    failed = [explained(result) for result in report.results if result.verdict == "failed"]
    assert not failed, "\n\n".join(failed)
    assert len([result for result in report.results if result.verdict == "ok"]) > 50
