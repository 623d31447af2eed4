"""A VIF as QEMU's arguments: what each type gives, what QEMU alone cannot do, and how values are quoted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given

from guest.bindings import ADDRESS, ID, bindings, read, texts
from vifplug.errors import InvalidInput
from vifplug.guest import qemu_arguments
from vifplug.model import Vif
from vifplug.model.vif import Vhostuser

NIC = f"virtio-net-pci,netdev=host-{ID},id=vif-{ID},mac={ADDRESS}"
VFIO = {"pci_slot": "0000:3b:00.1", "managed": False}


def arguments(**binding: Any) -> list[str]:
    return qemu_arguments(read(**binding))


def parsed(argument: str) -> list[tuple[str, str]]:
    """``head,key=value`` as QEMU reads it (include/qemu/option.h): a single comma ends a value, two are one."""
    parts, index = [""], 0
    while index < len(argument):
        if argument[index] != ",":
            parts[-1] += argument[index]
        elif argument[index + 1 : index + 2] == ",":
            parts[-1] += ","
            index += 1
        else:
            parts.append("")
        index += 1
    options = [part.partition("=") for part in parts[1:]]
    return [("", parts[0]), *((key, value) for key, _, value in options)]


# --- each type ------------------------------------------------------------------------------------


def test_a_tap_is_opened_by_its_name_and_no_script_of_qemus_touches_it() -> None:
    assert arguments(vif_type="ethernet") == [
        "-netdev",
        f"tap,id=host-{ID},ifname=tap4c1b1b0a-7d,script=no,downscript=no",
        "-device",
        NIC,
    ]


def test_queues_need_as_many_on_both_sides_and_a_vector_each() -> None:
    netdev, nic = arguments(vif_type="ethernet", queues=4)[1::2]
    assert netdev.endswith(",queues=4")
    assert nic == f"{NIC},mq=on,vectors=10"


@pytest.mark.parametrize(("name", "word"), [("vhost", "on"), ("qemu", "off")])
def test_the_kernels_back_end_is_chosen_when_asked_for(name: str, word: str) -> None:
    assert arguments(vif_type="ethernet", driver={"name": name})[1].endswith(f",vhost={word}")


def test_each_driver_option_has_its_property() -> None:
    driver = {
        "txmode": "iothread",
        "rx_queue_size": 512,
        "ioeventfd": True,
        "event_idx": False,
        "iommu": True,
        "ats": True,
        "packed": True,
    }
    assert arguments(vif_type="ethernet", driver=driver, mtu=9000, boot_order=1, alias="ua-a")[3] == (
        f"virtio-net-pci,netdev=host-{ID},id=ua-a,mac={ADDRESS},bootindex=1,host_mtu=9000,tx=bh,"
        "ioeventfd=on,event_idx=off,rx_queue_size=512,iommu_platform=on,ats=on,packed=on"
    )


def test_another_model_gets_no_virtio_property() -> None:
    assert arguments(vif_type="ethernet", model="e1000e", mtu=1450)[3] == NIC.replace(
        "virtio-net-pci", "e1000e"
    )


@pytest.mark.parametrize(
    ("details", "socket"),
    [
        ({"mode": "server"}, "path=/run/vhu,server=on"),
        ({"mode": "client"}, "path=/run/vhu"),
        ({"mode": "client", "reconnect": 10}, "path=/run/vhu,reconnect=10"),
        ({"mode": "client", "reconnect": 0}, "path=/run/vhu"),
    ],
)
def test_a_vhost_user_socket_is_listened_on_or_connected_to(details: dict[str, Any], socket: str) -> None:
    found = arguments(vif_type="vhostuser", vif_details={"path": "/run/vhu"} | details, queues=2)
    assert found == [
        "-chardev",
        f"socket,id=chr-{ID},{socket}",
        "-netdev",
        f"vhost-user,id=host-{ID},chardev=chr-{ID},queues=2",
        "-device",
        f"{NIC},mq=on,vectors=6",
    ]


def test_a_vdpa_device_is_opened_by_its_path() -> None:
    found = arguments(vif_type="vdpa", vif_details={"device": "/dev/vhost-vdpa-3"})
    assert found[:2] == ["-netdev", f"vhost-vdpa,id=host-{ID},vhostdev=/dev/vhost-vdpa-3"]


def test_a_pci_card_is_given_by_its_address() -> None:
    found = arguments(vif_type="hostdev", vif_details=VFIO, address=None, boot_order=2)
    assert found == ["-device", f"vfio-pci,host=0000:3b:00.1,id=vif-{ID},bootindex=2"]


def test_a_cards_address_and_vlan_are_left_to_its_plug_script() -> None:
    found = arguments(vif_type="hostdev", vif_details=VFIO | {"vlan": 42, "vif_plug_script": "sriov-vf"})
    assert found[1].startswith("vfio-pci,")


def test_qemus_own_user_network_forwards_ports() -> None:
    forwards = [
        {"proto": "tcp", "start": 2022, "to": 22, "address": "127.0.0.1"},
        {"proto": "udp", "start": 5000, "end": 5001},
    ]
    found = arguments(vif_type="user", vif_details={"port_forwards": forwards})
    assert found[1] == (
        f"user,id=host-{ID},hostfwd=tcp:127.0.0.1:2022-:22,hostfwd=udp::5000-:5000,hostfwd=udp::5001-:5001"
    )


# --- what QEMU alone cannot do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "sentence", "binding"),
    [
        ("vif_type", "bridge helper", {"vif_type": "bridge", "vif_details": {"bridge": "br0"}}),
        ("vif_type", "libvirt's own", {"vif_type": "network", "vif_details": {"network": "n"}}),
        ("vif_type", "libvirt makes the macvtap", {"vif_type": "direct", "vif_details": {"source_dev": "e"}}),
        (
            "vif_details.made_by",
            "no libvirt",
            {"vif_type": "ethernet", "vif_details": {"made_by": "libvirt"}},
        ),
        (
            "vif_details.managed",
            "vfio-pci first",
            {"vif_type": "hostdev", "vif_details": VFIO | {"managed": True}},
        ),
        ("address", "only a plug script", {"vif_type": "hostdev", "vif_details": VFIO}),
        (
            "vif_details.vlan",
            "only a plug script",
            {"vif_type": "hostdev", "vif_details": VFIO | {"vlan": 42}, "address": None},
        ),
        ("vif_details.backend", "starts passt", {"vif_type": "user", "vif_details": {"backend": "passt"}}),
        (
            "vif_details.port_forwards.dev",
            "not on devices",
            {
                "vif_type": "user",
                "vif_details": {"port_forwards": [{"proto": "tcp", "start": 1, "dev": "eth0"}]},
            },
        ),
        (
            "vif_details.port_forwards.address",
            "IPv4",
            {
                "vif_type": "user",
                "vif_details": {"port_forwards": [{"proto": "tcp", "start": 1, "address": "::1"}]},
            },
        ),
        (
            "vif_details.port_forwards",
            "65535 ports",
            {
                "vif_type": "user",
                "vif_details": {"port_forwards": [{"proto": "tcp", "start": 1, "end": 65535}]},
            },
        ),
        ("bandwidth", "shapes no", {"vif_type": "ethernet", "bandwidth": {"inbound": {"average": 1}}}),
        ("link_state", "set_link", {"vif_type": "ethernet", "link_state": "down"}),
        ("model", "QEMU has virtio", {"vif_type": "ethernet", "model": "netfront"}),
    ],
)
def test_what_qemu_alone_cannot_do_is_refused_with_the_reason(
    field: str, sentence: str, binding: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(sentence)) as caught:
        arguments(**binding)
    assert caught.value.context["field"] == field


@pytest.mark.parametrize("type_", ["vhostuser", "vdpa", "hostdev"])
def test_what_the_script_did_not_answer_either_is_named(type_: str) -> None:
    with pytest.raises(InvalidInput, match="is missing"):
        arguments(vif_type=type_, vif_details={"managed": False} if type_ == "hostdev" else {}, address=None)


# --- quoting --------------------------------------------------------------------------------------


def test_a_comma_in_a_value_is_doubled_and_an_equals_sign_stays() -> None:
    found = arguments(vif_type="vhostuser", vif_details={"path": "/run/a,b=c,,d"})
    assert found[1] == f"socket,id=chr-{ID},path=/run/a,,b=c,,,,d,server=on"
    assert ("path", "/run/a,b=c,,d") in parsed(found[1])


@given(text=texts())
def test_qemu_reads_any_path_back_as_it_was_and_nothing_beside_it(text: str) -> None:
    vif = Vif(id=ID, devname="tap0", shape=Vhostuser(path="/" + text[:50], mode="client"))
    chardev = qemu_arguments(vif)[1]
    assert parsed(chardev) == [("", "socket"), ("id", f"chr-{ID}"), ("path", "/" + text[:50])]


@given(binding=bindings())
def test_any_binding_gives_flags_with_well_formed_values_or_one_clear_error(binding: dict[str, Any]) -> None:
    try:
        found = arguments(**binding)
    except InvalidInput as error:
        assert error.message
        return
    assert len(found) % 2 == 0
    assert set(found[0::2]) <= {"-netdev", "-device", "-chardev"}
    for argument in found[1::2]:
        head, *options = parsed(argument)
        assert re.fullmatch(r"[a-z0-9_\-]+", head[1])
        assert all(re.fullmatch(r"[a-z_]+", key) and value for key, value in options)
