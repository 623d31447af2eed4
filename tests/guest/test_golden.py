"""Every folder of tests/golden: binding.json gives interface.xml, and libvirt takes it as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

from guest import golden
from vifplug.guest import interface_xml
from vifplug.model import Vif, VifType, read_binding
from vifplug.model.vif import Shape

# libvirt 9.0 has passt in its schema and its documents, but its parser answers this
NO_PASST = "Invalid value for attribute 'type' in element 'backend': 'passt'"


def binding(case: str) -> Vif:
    return read_binding((golden.GOLDEN / case / "binding.json").read_bytes())


@pytest.mark.parametrize("case", golden.CASES)
def test_a_binding_gives_its_golden_interface(case: str, accept_golden: bool) -> None:
    xml = interface_xml(binding(case))
    path = golden.GOLDEN / case / "interface.xml"
    if accept_golden:
        path.write_text(xml)
    assert path.exists(), f"{path} is missing; write it with: pytest tests/guest --accept-golden"
    assert xml == path.read_text()


@pytest.mark.parametrize("case", golden.CASES)
def test_libvirts_schema_accepts_each_golden_interface(case: str) -> None:
    assert golden.schema_complaint((golden.GOLDEN / case / "interface.xml").read_text()) == ""


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[etree._Element | None, str]]:
    interfaces = {case: (golden.GOLDEN / case / "interface.xml").read_text() for case in golden.CASES}
    return golden.libvirt_keeps(interfaces, tmp_path_factory.mktemp("domains"))


@pytest.mark.parametrize("case", golden.CASES)
def test_libvirt_defines_a_domain_with_it_and_keeps_every_element_and_attribute(
    case: str, kept: dict[str, tuple[etree._Element | None, str]]
) -> None:
    interface, answer = kept[case]
    if "passt" in case and NO_PASST in answer:
        version = subprocess.run(["virsh", "--version"], capture_output=True, text=True, check=True).stdout
        assert version.startswith("9.0."), f"libvirt {version} was thought to know passt: {answer}"
        return
    assert interface is not None, answer
    ours = etree.fromstring((golden.GOLDEN / case / "interface.xml").read_text())
    if interface.get("type") == "hostdev" and interface.get("managed") is None:
        interface.set("managed", "no")  # libvirt's own way to write "no" there is to write nothing
    assert golden.lost(ours, interface) == []


# --- the two judges can say no --------------------------------------------------------------------

BROKEN = {
    "unknown-attribute": "<interface type='ethernet'><target dev='tap0' managed='perhaps'/></interface>",
    "unknown-type": "<interface type='teleport'><target dev='tap0'/></interface>",
    "no-source": "<interface type='vhostuser'><model type='virtio'/></interface>",
    "multicast-mac": "<interface type='ethernet'><mac address='01:00:00:00:00:01'/></interface>",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_schema_refuses_a_broken_interface(broken: str) -> None:
    assert golden.schema_complaint(BROKEN[broken])


def test_libvirt_refuses_a_broken_interface_and_takes_the_good_one_after_it(tmp_path: Path) -> None:
    good = "<interface type='ethernet'><target dev='tap0' managed='no'/></interface>"
    kept = golden.libvirt_keeps(BROKEN | {"good": good}, tmp_path)
    for name in BROKEN:
        interface, answer = kept[name]
        assert interface is None
        assert "error:" in answer
    assert kept["good"][0] is not None


def test_what_libvirt_drops_is_seen_as_lost(tmp_path: Path) -> None:
    """The very drops for which vifplug refuses an option are real: libvirt takes these without a word."""
    dropped = {
        "queues-on-e1000": "<interface type='ethernet'><target dev='t' managed='no'/><model type='e1000'/>"
        "<driver queues='4'/></interface>",
        "alias": "<interface type='ethernet'><target dev='t' managed='no'/><alias name='net7'/></interface>",
        "reserved-name": "<interface type='bridge'><source bridge='b'/><target dev='vnet9'/></interface>",
        "slirp-source": "<interface type='user'><source dev='eth0'/></interface>",
    }
    kept = golden.libvirt_keeps(dropped, tmp_path)
    for name, interface in dropped.items():
        shown = kept[name][0]
        assert shown is not None, kept[name][1]
        assert golden.lost(etree.fromstring(interface), shown), name


# --- the folder is whole --------------------------------------------------------------------------


def _words(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {
            word for key, item in value.items() for word in _words(item, f"{path}.{key}") | {f"{path}.{key}"}
        }
    if isinstance(value, list):
        return {word for item in value for word in _words(item, path)}
    return {f"{path}={value}"}


def test_each_type_has_a_golden_case() -> None:
    assert {binding(case).type for case in golden.CASES} == set(VifType)


@pytest.mark.parametrize("shape", Shape.__args__, ids=lambda shape: shape.__name__)
def test_each_detail_of_each_type_has_a_golden_case(shape: type) -> None:
    import msgspec

    used: set[str] = set()
    for case in golden.CASES:
        vif = binding(case)
        if isinstance(vif.shape, shape):
            used |= {
                field.name
                for field in msgspec.structs.fields(shape)
                if (value := getattr(vif.shape, field.name)) is not None and value != []
            }
    assert used == {field.name for field in msgspec.structs.fields(shape)}


def test_each_option_that_a_binding_may_have_is_in_a_golden_case() -> None:
    words = {
        word
        for case in golden.CASES
        for word in _words(json.loads((golden.GOLDEN / case / "binding.json").read_text()))
    }
    for option in (
        ".mtu", ".queues", ".model", ".boot_order", ".alias", ".devname",
        ".link_state=up", ".link_state=down",
        ".driver.name=vhost", ".driver.name=qemu", ".driver.rx_queue_size", ".driver.tx_queue_size",
        ".driver.txmode=iothread", ".driver.txmode=timer", ".driver.ioeventfd", ".driver.event_idx",
        ".driver.packed", ".driver.iommu", ".driver.ats",
        ".bandwidth.inbound.average", ".bandwidth.inbound.peak", ".bandwidth.inbound.burst",
        ".bandwidth.inbound.floor", ".bandwidth.outbound.average", ".bandwidth.outbound.peak",
        ".bandwidth.outbound.burst",
        ".vif_details.virtualport.type=openvswitch", ".vif_details.virtualport.type=midonet",
        ".vif_details.virtualport.type=802.1Qbg", ".vif_details.virtualport.type=802.1Qbh",
        ".vif_details.vlan=42", ".vif_details.vlan.trunk", ".vif_details.vlan.native",
        ".vif_details.vlan.native_mode=tagged",
        ".vif_details.made_by=script", ".vif_details.made_by=libvirt",
        ".vif_details.mode=vepa", ".vif_details.mode=bridge", ".vif_details.mode=private",
        ".vif_details.mode=passthrough", ".vif_details.mode=server", ".vif_details.mode=client",
    ):  # fmt: skip
        assert option in words, option
