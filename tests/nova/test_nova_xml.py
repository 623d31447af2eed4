"""The guest's XML as the real Nova writes it, checked by libvirt's schema."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any

import pytest
from lxml import etree  # type: ignore[import-untyped]  # it ships no types
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import guest as nova_guest

from nova import exception
from nova_side import ADDRESS, ID, TAP, a_vif, an_instance, assert_valid, config, domain, settings, xml
from vifplug.guest import interface_xml
from vifplug.model import read_binding

pytestmark = pytest.mark.usefixtures("nova")

#: one of each type: its details, and what says most of the guest's side
TYPES: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    "ethernet": ({}, "target", {"dev": TAP, "managed": "no"}),
    "bridge": ({"bridge": "br-data"}, "source", {"bridge": "br-data"}),
    "network": ({"network": "default", "portgroup": "gold"}, "source", {"network": "default", "portgroup": "gold"}),
    "direct": ({"source_dev": "eth1", "mode": "vepa"}, "source", {"dev": "eth1", "mode": "vepa"}),
    "hostdev": ({"pci_slot": "0000:05:00.1"}, "source/address", {"type": "pci", "domain": "0x0000", "bus": "0x05",
                "slot": "0x00", "function": "0x1"}),
    "vhostuser": ({"path": "/run/vhost/a", "mode": "server"}, "source", {"type": "unix", "path": "/run/vhost/a",
                  "mode": "server"}),
    "vdpa": ({"device": "/dev/vhost-vdpa-0"}, "source", {"dev": "/dev/vhost-vdpa-0"}),
    "user": ({}, "model", {"type": "virtio"}),
}  # fmt: skip
MULTIQUEUE = {"hw_vif_multiqueue_enabled": "true"}


@pytest.fixture
def libvirt_s_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nova reads some of them; the binding to libvirt itself is not installed here."""
    from nova.tests.fixtures import libvirt as constants

    monkeypatch.setattr(nova_guest, "libvirt", constants)


@pytest.mark.parametrize("vif_type", TYPES)
def test_each_of_the_eight_types_is_valid_in_nova_s_hands(vif_type: str) -> None:
    details, where, attributes = TYPES[vif_type]
    found = xml(a_vif(vif_type, details=details))
    assert found.get("type") == vif_type
    assert found.find("mac").get("address") == ADDRESS
    assert dict(found.find(where).attrib) == attributes
    assert_valid(config(a_vif(vif_type, details=details)).to_xml())


@pytest.mark.parametrize("vif_type", TYPES)
def test_it_is_what_vifplug_itself_writes_for_the_binding(vif_type: str) -> None:
    made = config(a_vif(vif_type, details=TYPES[vif_type][0]))
    assert json.dumps(canonical(made.to_xml())) == json.dumps(canonical(interface_xml(made.vif)))


@pytest.mark.parametrize("vif_type", TYPES)
def test_every_setting_of_nova_s_that_could_reach_a_type_leaves_it_valid(vif_type: str) -> None:
    instance = an_instance(
        extra_specs={"quota:vif_inbound_average": "1024", "quota:vif_outbound_average": "512",
                     "quota:vif_outbound_peak": "600"},
        hw_vif_multiqueue_enabled="true",
        hw_virtio_packed_ring="true",
    )  # fmt: skip
    with settings("libvirt", rx_queue_size=512, tx_queue_size=256, max_queues=3):
        assert_valid(config(a_vif(vif_type, details=TYPES[vif_type][0]), instance).to_xml())


def test_a_tap_is_said_to_be_unmanaged_and_told_its_network_s_mtu() -> None:
    found = xml(a_vif())
    assert found.find("target").get("managed") == "no"
    assert found.find("mtu").get("size") == "1450"
    assert found.find("script") is None


def test_queues_are_those_that_flavor_and_image_give() -> None:
    assert xml(a_vif(), an_instance(6, **MULTIQUEUE)).find("driver").get("queues") == "6"
    assert (
        xml(a_vif(), an_instance(6, {"hw:vif_multiqueue_enabled": "true"})).find("driver").get("queues")
        == "6"
    )
    with settings("libvirt", max_queues=2):
        assert xml(a_vif(), an_instance(6, **MULTIQUEUE)).find("driver").get("queues") == "2"
    assert xml(a_vif(), an_instance(1, **MULTIQUEUE)).find("driver") is None
    assert (
        xml(a_vif(), an_instance(300, **MULTIQUEUE)).find("driver").get("queues") == "256"
    )  # the kernel's most


def test_the_flavor_s_bandwidth_is_in_it() -> None:
    found = xml(
        a_vif(),
        an_instance(extra_specs={"quota:vif_inbound_average": "1024", "quota:vif_inbound_peak": "2048"}),
    )
    assert dict(found.find("bandwidth/inbound").attrib) == {"average": "1024", "peak": "2048"}


def test_the_lower_of_flavor_and_neutron_s_qos_holds_in_each_direction() -> None:
    told = {"inbound": {"average": 500, "burst": 50}, "outbound": {"average": 900}}
    specs = {"quota:vif_inbound_average": "1024", "quota:vif_outbound_average": "300"}
    found = xml(a_vif(details={"bandwidth": told}), an_instance(extra_specs=specs))
    assert dict(found.find("bandwidth/inbound").attrib) == {"average": "500", "burst": "50"}
    assert dict(found.find("bandwidth/outbound").attrib) == {"average": "300"}


def test_the_image_s_model_is_the_guest_s() -> None:
    found = xml(a_vif(), an_instance(hw_vif_model="e1000e", **MULTIQUEUE))
    assert found.find("model").get("type") == "e1000e"
    assert found.find("driver") is None


def test_an_emulated_guest_is_not_given_to_vhost() -> None:
    assert xml(a_vif(), virt_type="qemu").find("driver").get("name") == "qemu"


def test_of_an_encrypted_guest_nova_until_33_asks_for_the_iommu_late() -> None:
    made = config(a_vif())
    made.driver_iommu = True
    assert made.format_dom().find("driver").get("iommu") == "on"
    assert_valid(made.to_xml())


def test_a_migration_s_destination_is_written_on_the_source() -> None:
    """As nova.virt.libvirt.migration does: the destination's details, and the guest's own address kept."""
    from nova.objects import migrate_data as data
    from nova.virt.libvirt import migration

    source = a_vif("bridge", details={"bridge": "br-here"})
    moving = data.VIFMigrateData(
        port_id=ID, vnic_type="normal", vif_type="bridge", host="there", source_vif=source,
        profile={}, vif_details={**source["details"], "bridge": "br-there"},
    )  # fmt: skip
    moving.supports_os_vif_delegation = False
    before = (
        config(source)
        .to_xml()
        .replace(
            "</interface>",
            "<address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/></interface>",
        )
    )
    migrate = data.LibvirtLiveMigrateData(vifs=[moving])
    after = migration._update_vif_xml(etree.fromstring(domain(before)), migrate, config)
    interface = after.find("devices/interface")
    assert interface.find("source").get("bridge") == "br-there"
    assert interface.find("address").get("slot") == "0x03"


@pytest.mark.parametrize("vif_type", TYPES)
@pytest.mark.usefixtures("libvirt_s_constants")
def test_nova_finds_the_interface_in_a_running_guest_to_detach_it(vif_type: str) -> None:
    cfg = config(a_vif(vif_type, details=TYPES[vif_type][0]))
    text = cfg.to_xml().replace("</interface>", "<alias name='net0'/></interface>")
    if (
        vif_type == "network"
    ):  # libvirt tells of a running guest what bridge it is, and not of the same at rest
        text = text.replace('network="default"', 'network="default" bridge="virbr0"')
    guest = nova_guest.Guest(Domain(domain(text)))
    found = guest.get_interface_by_cfg(cfg)
    assert found.alias == "net0"
    assert guest.get_interface_by_cfg(cfg, from_persistent_config=True).to_xml() == found.to_xml()
    assert_valid(found.to_xml())  # which Nova hands to libvirt for the detachment
    other = config(a_vif(vif_type, details=TYPES[vif_type][0], address="fa:16:3e:00:00:99"))
    assert guest.get_interface_by_cfg(other) is None


@pytest.mark.usefixtures("libvirt_s_constants")
def test_nova_s_own_interfaces_are_found_as_ever() -> None:
    cfg = config(a_vif("tap", script=None))
    assert type(cfg) is vconfig.LibvirtConfigGuestInterface
    guest = nova_guest.Guest(Domain(domain(cfg.to_xml())))
    assert guest.get_interface_by_cfg(cfg) == cfg
    assert guest.get_interface_by_cfg(cfg, True) == cfg


def test_what_the_type_cannot_do_is_said_before_the_guest_is_made() -> None:
    with pytest.raises(
        exception.VirtualInterfacePlugException, match=f"VIF {ID} cannot be plugged: vif_details.path"
    ):
        config(a_vif("vhostuser"))
    with pytest.raises(exception.VirtualInterfacePlugException, match="vif_details.bridge"):
        config(a_vif("bridge"))


def test_copies_are_worth_as_much() -> None:
    cfg = config(a_vif())
    assert copy.deepcopy(cfg).to_xml() == cfg.to_xml()


def test_types_that_nova_knows_itself_stay_nova_s_where_no_script_is_named() -> None:
    assert type(config(a_vif("vhostuser", None, details={"vhostuser_socket": "/run/s"}))) is (
        vconfig.LibvirtConfigGuestInterface
    )
    assert type(config(a_vif("ethernet", None))) is not vconfig.LibvirtConfigGuestInterface


def test_the_binding_is_the_same_however_neutron_orders_its_subnets() -> None:
    one, other = a_vif(), a_vif()
    other["network"]["subnets"].reverse()
    other["profile"] = {"migrating_to": "there"}
    other["active"] = True
    assert binding(one) == binding(other)
    assert read_binding(binding(one))


def binding(vif: Any) -> Any:
    from nova.network import os_vif_util

    return os_vif_util.nova_to_osvif_vif(vif).binding


def canonical(text: str) -> str:
    return subprocess.run(
        ["xmllint", "--c14n", "--noblanks", "-"], input=text, capture_output=True, text=True, check=True
    ).stdout


class Domain:
    """libvirt's, as far as Nova reads the XML of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def XMLDesc(self, _: int) -> str:  # noqa: N802 (libvirt's name)
        return self.text
