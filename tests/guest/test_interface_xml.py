"""The guest's ``<interface>``: what is refused and why, and that no value can break the XML."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

from guest import golden
from guest.bindings import ADDRESS, BASE, ID, bindings, read, texts
from vifplug.errors import InvalidInput
from vifplug.guest import interface_xml
from vifplug.model import Vif
from vifplug.model.vif import Network, OpenvswitchPort, User, Vhostuser


def element(**binding: Any) -> etree._Element:
    return etree.fromstring(interface_xml(read(**binding)))


def attribute(path: str, name: str, **binding: Any) -> str | None:
    found = element(**binding).find(path)
    assert found is not None, path
    value = found.get(name)
    return None if value is None else str(value)


# --- never left to a default ----------------------------------------------------------------------


@pytest.mark.parametrize(("made_by", "managed"), [("vifplug", "no"), ("script", "no"), ("libvirt", "yes")])
def test_who_makes_an_ethernet_device_is_written_out(made_by: str, managed: str) -> None:
    details = {"made_by": made_by, "vif_plug_script": "midonet"}
    assert attribute("target", "managed", vif_type="ethernet", vif_details=details) == managed


def test_an_open_vswitch_port_is_known_by_the_port_id_and_not_by_chance() -> None:
    details = {"bridge": "br-int", "virtualport": {"type": "openvswitch"}}
    found = attribute("virtualport/parameters", "interfaceid", vif_type="bridge", vif_details=details)
    assert found == ID


def test_an_open_vswitch_port_of_a_vif_built_by_hand_is_known_by_the_port_id_too() -> None:
    vif = Vif(id=ID, devname="tap0", shape=Network(network="n", virtualport=OpenvswitchPort()))
    assert f'interfaceid="{ID}"' in interface_xml(vif)


@pytest.mark.parametrize(("managed", "word"), [(True, "yes"), (False, "no")])
def test_whether_libvirt_takes_a_pci_card_from_its_driver_is_written_out(managed: bool, word: str) -> None:
    details = {"pci_slot": "0000:3b:00.1", "managed": managed}
    assert element(vif_type="hostdev", vif_details=details).get("managed") == word


def test_the_same_vif_gives_the_same_text() -> None:
    binding = {"vif_type": "ethernet", "mtu": 1450, "queues": 2}
    assert interface_xml(read(**binding)) == interface_xml(read(**binding))


# --- refused, with the option, the value and the type ---------------------------------------------

TYPES: dict[str, dict[str, Any]] = {
    "ethernet": {},
    "bridge": {"bridge": "br0"},
    "network": {"network": "default"},
    "direct": {"source_dev": "eth0"},
    "hostdev": {"pci_slot": "0000:3b:00.1"},
    "vhostuser": {"path": "/run/vhu"},
    "vdpa": {"device": "/dev/vhost-vdpa-0"},
    "user": {},
}
RATE = {"average": 1000}


def refused(field: str, sentence: str, **binding: Any) -> None:
    vif = read(**binding)
    with pytest.raises(InvalidInput, match=re.escape(sentence)) as caught:
        interface_xml(vif)
    assert caught.value.context["field"] == field
    assert caught.value.message.startswith(field)
    assert f"VIF type {vif.type}" in caught.value.message


@pytest.mark.parametrize("type_", ["hostdev", "vhostuser", "vdpa", "user"])
def test_bandwidth_is_refused_where_no_device_of_the_host_is_there_to_shape(type_: str) -> None:
    refused(
        "bandwidth",
        "no device to shape",
        vif_type=type_,
        vif_details=TYPES[type_],
        bandwidth={"inbound": RATE},
    )


@pytest.mark.parametrize("type_", ["ethernet", "bridge", "network", "direct"])
def test_bandwidth_is_written_where_the_host_has_a_device_to_shape(type_: str) -> None:
    bandwidth = {"inbound": RATE}
    path = "bandwidth/inbound"
    found = attribute(path, "average", vif_type=type_, vif_details=TYPES[type_], bandwidth=bandwidth)
    assert found == "1000"


@pytest.mark.parametrize("type_", ["ethernet", "bridge", "direct"])
def test_a_floor_is_refused_but_for_a_libvirt_network(type_: str) -> None:
    bandwidth = {"inbound": RATE | {"floor": 10}}
    field = "bandwidth.inbound.floor"
    refused(field, "promises a floor", vif_type=type_, vif_details=TYPES[type_], bandwidth=bandwidth)


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("model", {"model": "e1000e"}),
        ("driver", {"driver": {"ats": True}}),
        ("link_state", {"link_state": "up"}),
    ],
)
def test_what_the_card_itself_decides_is_refused_for_hostdev(field: str, option: dict[str, Any]) -> None:
    refused(field, "leave", vif_type="hostdev", vif_details=TYPES["hostdev"], **option)


def test_vdpa_takes_the_virtio_model_alone() -> None:
    refused("model", "use virtio", vif_type="vdpa", vif_details=TYPES["vdpa"], model="virtio-transitional")


@pytest.mark.parametrize("type_", ["vhostuser", "vdpa", "user"])
def test_a_choice_of_back_end_is_refused_where_there_is_one_alone(type_: str) -> None:
    refused("driver.name", "one back end", vif_type=type_, vif_details=TYPES[type_], driver={"name": "vhost"})


@pytest.mark.parametrize(
    ("type_", "details", "sentence"),
    [
        ("bridge", {"vlan": 42}, "virtualport of type openvswitch"),
        ("bridge", {"vlan": 42, "virtualport": {"type": "midonet"}}, "virtualport of type openvswitch"),
        ("direct", {"vlan": {"tags": [1, 2], "trunk": True}, "mode": "passthrough"}, "one tag"),
        ("hostdev", {"vlan": {"tags": [1, 2], "trunk": True}}, "one tag"),
    ],
)
def test_a_vlan_is_refused_where_nothing_would_tag(
    type_: str, details: dict[str, Any], sentence: str
) -> None:
    refused("vif_details.vlan", sentence, vif_type=type_, vif_details=TYPES[type_] | details)


def test_port_forwards_of_slirp_are_refused_for_libvirt() -> None:
    details = {"port_forwards": [{"proto": "tcp", "start": 80}]}
    refused("vif_details.port_forwards", "passt", vif_type="user", vif_details=details)


@pytest.mark.parametrize("name", ["vnet0", "vif1", "macvtap9", "macvlan3"])
@pytest.mark.parametrize("type_", ["bridge", "network", "direct", "vhostuser"])
def test_a_name_that_libvirt_would_drop_is_refused(type_: str, name: str) -> None:
    refused("devname", "for its own", vif_type=type_, vif_details=TYPES[type_], devname=name)


def test_such_a_name_is_refused_for_a_tap_that_libvirt_makes_and_fine_for_one_that_is_there() -> None:
    refused(
        "devname", "for its own", vif_type="ethernet", vif_details={"made_by": "libvirt"}, devname="vnet0"
    )
    assert attribute("target", "dev", vif_type="ethernet", devname="vnet0") == "vnet0"


def test_a_name_that_the_kernel_takes_and_libvirts_schema_does_not_is_refused() -> None:
    refused("devname", "schema", vif_type="ethernet", devname="tap0@1")
    refused("vif_details.bridge", "schema", vif_type="bridge", vif_details={"bridge": "br@0"})
    refused("vif_details.source_dev", "schema", vif_type="direct", vif_details={"source_dev": "eth@0"})
    details = {"network": "n", "portgroup": "é"}
    refused("vif_details.portgroup", "schema", vif_type="network", vif_details=details)


@pytest.mark.parametrize(
    ("type_", "field"), [("vhostuser", "path"), ("hostdev", "pci_slot"), ("vdpa", "device")]
)
def test_what_the_script_did_not_answer_either_is_named(type_: str, field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"vif_details.{field} is missing: VIF type {type_}.*reply"):
        interface_xml(read(vif_type=type_))


# --- an MTU is the network's and not the VIF's wish -----------------------------------------------


@pytest.mark.parametrize("type_", TYPES)
def test_the_mtu_is_told_where_the_guests_device_can_be_told_and_else_left_out(type_: str) -> None:
    mtu = element(vif_type=type_, vif_details=TYPES[type_], mtu=1450).find("mtu")
    assert (mtu is not None) == (type_ in ("ethernet", "bridge", "network", "vhostuser"))


# --- no value can break the XML -------------------------------------------------------------------


def values(root: etree._Element) -> set[str]:
    return {value for element in root.iter() for value in element.attrib.values()}


@given(text=texts())
def test_any_text_of_a_vif_built_by_hand_comes_back_from_the_xml_or_is_refused(text: str) -> None:
    for shape in (
        Network(network=text),
        Network(network="n", virtualport=OpenvswitchPort(profile_id=text)),
        User(backend="passt", log_file=text),
        Vhostuser(path=text),
    ):
        vif = Vif(id=ID, devname="tap0", address=ADDRESS, shape=shape)
        try:
            xml = interface_xml(vif)
        except InvalidInput as error:
            assert "XML cannot carry" in error.message or "is missing" in error.message
        else:
            root = etree.fromstring(xml)
            assert text in values(root) or (text == "" and "log_file" in repr(shape))
            assert values(etree.fromstring(xml.encode())) == values(root)


@given(binding=bindings())
def test_whatever_is_accepted_is_xml_that_libvirts_schema_accepts(binding: dict[str, Any]) -> None:
    try:
        xml = interface_xml(read(**binding))
    except InvalidInput as error:
        assert error.message
        return
    assert golden.schema_complaint(xml) == ""


def test_the_base_of_these_bindings_is_accepted() -> None:
    """Else the test above could pass by being refused everything."""
    for type_, details in TYPES.items():
        assert golden.schema_complaint(interface_xml(read(vif_type=type_, vif_details=details))) == ""
    assert BASE["id"] == ID
