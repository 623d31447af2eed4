"""vifplug's own binding JSON becomes a Vif."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.binding_samples import DETAILS, MAC, PORT, binding
from vifplug.errors import InvalidInput, UnsupportedVifType
from vifplug.model import Vif, VifType, read_binding
from vifplug.model.historic import TABLE
from vifplug.model.vif import (
    Bridge,
    Direct,
    Ethernet,
    Hostdev,
    MidonetPort,
    OpenvswitchPort,
    Port8021Qbg,
    PortForward,
    User,
    Vhostuser,
    Vlan,
)


@pytest.mark.parametrize("vif_type", DETAILS)
def test_each_type_is_read_from_its_smallest_binding(vif_type: str) -> None:
    vif = read_binding(json.dumps(binding(vif_type)).encode())
    assert vif.type is VifType(vif_type)
    assert vif.id == PORT
    assert vif.address == MAC
    assert vif.devname == "tap4c1b1b0a-7d"
    assert vif.plug_script is None
    for name, value in DETAILS[vif_type].items():
        assert getattr(vif.shape, name) == value


@pytest.mark.parametrize("form", [json.dumps, lambda b: json.dumps(b).encode(), lambda b: b])
def test_text_bytes_and_objects_give_the_same_vif(form: Any) -> None:
    assert read_binding(form(binding())) == read_binding(binding())


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read_binding(b"\xef\xbb\xbf" + json.dumps(binding()).encode()).id == PORT


def test_details_reach_the_script_whole_but_for_its_own_name() -> None:
    details = {"bridge": "br0", "vif_plug_script": "linux-bridge", "tag": 5, "nested": {"a": [1, None]}}
    vif = read_binding(binding(vif_details=details))
    assert vif.plug_script == "linux-bridge"
    assert vif.details == {"bridge": "br0", "tag": 5, "nested": {"a": [1, None]}}


def test_reading_does_not_change_what_was_given() -> None:
    given = binding(id=PORT.upper(), vif_details={"bridge": "br0", "vif_plug_script": "x"})
    before = json.dumps(given)
    read_binding(given)
    assert json.dumps(given) == before


@pytest.mark.parametrize(
    ("vif_type", "details", "shape"),
    [
        ("bridge", {"bridge_name": "br0"}, Bridge(bridge="br0")),
        ("bridge", {"bridge": "br0", "bridge_name": "br0"}, Bridge(bridge="br0")),
        ("bridge", {"bridge": "br0", "vlan": 7}, Bridge(bridge="br0", vlan=Vlan(tags=[7]))),
        ("bridge", {"bridge": "br0", "vlan": "7"}, Bridge(bridge="br0", vlan=Vlan(tags=[7]))),
        ("hostdev", {"vlan": "0"}, Hostdev()),
        ("hostdev", {"pci_slot": "0000:3B:00.1"}, Hostdev(pci_slot="0000:3b:00.1")),
        ("hostdev", {"pci_slot": None}, Hostdev()),
        (
            "vhostuser",
            {"vhostuser_socket": "/run/s", "vhostuser_mode": "client"},
            Vhostuser(path="/run/s", mode="client"),
        ),
        (
            "direct",
            {"macvtap_source": "eth1.7", "macvtap_mode": "bridge", "vlan": 7, "physical_interface": "eth1"},
            Direct(source_dev="eth1.7"),
        ),
        (
            "direct",
            {
                "source_dev": "eth1",
                "virtualport": {
                    "type": "802.1Qbg",
                    "manager_id": 11,
                    "type_id": 1193047,
                    "type_id_version": 2,
                },
            },
            Direct(
                source_dev="eth1",
                virtualport=Port8021Qbg(manager_id=11, type_id=1193047, type_id_version=2),
            ),
        ),
        (
            "bridge",
            {"bridge": "br-int", "virtualport": {"type": "openvswitch"}},
            Bridge(bridge="br-int", virtualport=OpenvswitchPort(interface_id=PORT)),
        ),
        (
            "bridge",
            {"bridge": "br-int", "virtualport": {"type": "midonet"}},
            Bridge(bridge="br-int", virtualport=MidonetPort(interface_id=PORT)),
        ),
        (
            "user",
            {"backend": "passt", "port_forwards": [{"proto": "tcp", "start": 80, "to": 8080}]},
            User(backend="passt", port_forwards=[PortForward(proto="tcp", start=80, to=8080)]),
        ),
        ("ethernet", {"made_by": "libvirt"}, Ethernet(made_by="libvirt")),
        ("ethernet", {"vlan": "anything", "path": 3}, Ethernet()),
    ],
)
def test_details_shape_the_vif(vif_type: str, details: dict[str, Any], shape: Any) -> None:
    assert read_binding(binding(vif_type, vif_details=details)).shape == shape


@pytest.mark.parametrize(
    ("top", "details", "network", "mtu"),
    [(1500, 1400, 1300, 1500), (None, 1400, 1300, 1400), (None, None, 1300, 1300), (None, None, None, None)],
)
def test_the_bindings_own_mtu_wins_over_that_of_its_details_and_that_over_the_networks(
    top: int | None, details: int | None, network: int | None, mtu: int | None
) -> None:
    given = binding("ethernet", mtu=top, vif_details={"mtu": details}, network={"mtu": network})
    assert read_binding(given).mtu == mtu


@pytest.mark.parametrize("mac", ["FA:16:3E:AB:CD:EF", "fa-16-3e-ab-cd-ef", "fa:16:3e:ab:cd:ef"])
def test_a_mac_address_is_written_in_one_way(mac: str) -> None:
    assert read_binding(binding(address=mac)).address == "fa:16:3e:ab:cd:ef"


def test_an_upper_case_id_is_written_in_lower_case_and_names_the_device_so() -> None:
    vif = read_binding(binding(id=PORT.upper()))
    assert (vif.id, vif.devname) == (PORT, "tap4c1b1b0a-7d")


def test_text_with_xml_metacharacters_is_welcome() -> None:
    label = '<net> & "it\'s" ]]> ü 🦊'
    assert read_binding(binding(network={"label": label})).network.label == label


def test_a_binding_may_say_that_the_script_makes_the_device() -> None:
    details = {"made_by": "script", "vif_plug_script": "mine"}
    assert read_binding(binding("ethernet", vif_details=details)).shape == Ethernet(made_by="script")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    # what is changed; the field that the error names; a part of what it allows
    ({"id": "4c1b1b0a7d5e4f0a9c552f7a3c1d9e01"}, "id", "a UUID"),
    ({"id": 7}, "id", "a UUID"),
    ({"address": "01:00:5e:00:00:01"}, "address", "unicast"),
    ({"address": "00:00:00:00:00:00"}, "address", "unicast"),
    ({"address": "fa:16:3e-00:00:01"}, "address", "six hexadecimal pairs"),
    ({"address": "fe:16:3e:00:00:01"}, "address", "does not begin with fe"),
    ({"devname": "a" * 16}, "devname", "1 to 15"),
    ({"devname": ""}, "devname", "1 to 15"),
    ({"devname": "a/b"}, "devname", "1 to 15"),
    ({"devname": "tap0\n"}, "devname", "1 to 15"),
    ({"devname": "."}, "devname", "1 to 15"),
    ({"devname": ".."}, "devname", "1 to 15"),
    ({"devname": "tap%d"}, "devname", "1 to 15"),
    ({"devname": "default"}, "devname", "1 to 15"),
    ({"mtu": 0}, "mtu", "68 to 65521"),
    ({"mtu": 10**9}, "mtu", "68 to 65521"),
    ({"mtu": True}, "mtu", "68 to 65521"),
    ({"mtu": "1500"}, "mtu", "68 to 65521"),
    ({"mtu": 1500.0}, "mtu", "68 to 65521"),
    ({"mtu": 10**40}, "mtu", "64 bits"),
    ({"queues": 0}, "queues", "1 to 256"),
    ({"queues": 257}, "queues", "1 to 256"),
    ({"queues": 2, "model": "e1000"}, "queues", "only virtio"),
    ({"model": "e1000", "driver": {"name": "vhost"}}, "model", "virtio"),
    ({"model": "virtio net"}, "model", "a NIC model"),
    ({"driver": {"rx_queue_size": 300}}, "driver.rx_queue_size", "256, 512, 1024"),
    ({"driver": {"tx_queue_size": 256}}, "driver.tx_queue_size", "vhostuser or vdpa"),
    ({"driver": {"txmode": "thread"}}, "driver.txmode", '"iothread"'),
    ({"bandwidth": {"inbound": {"average": 0}}}, "bandwidth.inbound.average", "1 to 4294967295"),
    ({"bandwidth": {"outbound": {"average": 1, "floor": 1}}}, "bandwidth.outbound.floor", "inbound alone"),
    ({"bandwidth": {"inbound": {"average": 1, "brust": 1}}}, "bandwidth.inbound.brust", "burst"),
    ({"boot_order": 0}, "boot_order", "1 to 65535"),
    ({"alias": "net0"}, "alias", "ua-"),
    ({"link_state": "UP"}, "link_state", '"up"'),
    ({"network": []}, "network", "an object"),
    ({"network": {"id": ""}}, "network.id", "1 to 255"),
    ({"network": {"subnets": [{"cidr": "10.0.0.1/24"}]}}, "network.subnets[0].cidr", "192.0.2.0/24"),
    ({"network": {"subnets": [{}, {"gateway": "fe80::1%eth0"}]}}, "network.subnets[1].gateway", "an IPv4 or"),
    ({"network": {"subnets": [{"dns": ["1.1.1.1", "one"]}]}}, "network.subnets[0].dns[1]", "an IPv4 or"),
    (
        {"network": {"subnets": [{"routes": [{"destination": "0.0.0.0/0", "nexthop": "x"}]}]}},
        "network.subnets[0].routes[0].nexthop",
        "an IPv4 or",
    ),
    ({"instance": {"name": "a\nb"}}, "instance.name", "without control characters"),
    ({"migration": {"role": "source"}}, "migration.phase", '"prepare"'),
    ({"vif_details": []}, "vif_details", "an object"),
    ({"vif_details": {}}, "vif_details.bridge", "a network device name"),
    ({"vif_details": {"bridge": None}}, "vif_details.bridge", "a network device name"),
    ({"vif_details": {"bridge": "br/0"}}, "vif_details.bridge", "a network device name"),
    ({"vif_details": {"bridge_name": "br/0"}}, "vif_details.bridge_name", "a network device name"),
    ({"vif_details": {"bridge": "a", "bridge_name": "b"}}, "vif_details.bridge_name", "vif_details.bridge"),
    ({"vif_details": {"bridge": "a", "made_by": "script"}}, "vif_details.made_by", "ethernet"),
    ({"vif_details": {"bridge": "a", "mtu": 1}}, "vif_details.mtu", "68 to 65521"),
    ({"vif_details": {"bridge": "a", "vlan": 4096}}, "vif_details.vlan.tags[0]", "0 to 4095"),
    ({"vif_details": {"bridge": "a", "vlan": True}}, "vif_details.vlan", "a VLAN tag"),
    ({"vif_details": {"bridge": "a", "vlan": {"tags": []}}}, "vif_details.vlan.tags", "1 to 4096"),
    ({"vif_details": {"bridge": "a", "vlan": {"tags": [1, 2]}}}, "vif_details.vlan.trunk", "true"),
    (
        {"vif_details": {"bridge": "a", "vlan": {"tags": [1, 1], "trunk": True}}},
        "vif_details.vlan.tags",
        "each VLAN once",
    ),
    (
        {"vif_details": {"bridge": "a", "vlan": {"tags": [1], "trunk": True, "native": 2}}},
        "vif_details.vlan.native",
        "one of the tags",
    ),
    (
        {"vif_details": {"bridge": "a", "virtualport": {"type": "802.1Qbg"}}},
        "vif_details.virtualport.type",
        '"openvswitch", "midonet"',
    ),
    ({"vif_details": {"bridge": "a", "virtualport": {}}}, "vif_details.virtualport.type", '"openvswitch"'),
    ({"vif_details": {"bridge": "a", "virtualport": "ovs"}}, "vif_details.virtualport", '"openvswitch"'),
    ({"vif_details": {"bridge": "a", "vif_plug_script": ""}}, "vif_details.vif_plug_script", "bare name"),
    ({"vif_details": {"bridge": "a", "vif_plug_script": "../x"}}, "vif_details.vif_plug_script", "bare name"),
    ({"vif_details": {"bridge": "a", "vif_plug_script": "a/b"}}, "vif_details.vif_plug_script", "bare name"),
    ({"vif_details": {"bridge": "a", "x": ["ok", {"y": "a\0b"}]}}, "vif_details.x[1].y", "without NUL"),
    ({"vif_details": {"bridge": "a", "x": "\x1b[31m"}}, "vif_details.x", "without NUL"),
    ({"vif_details": {"bridge": "a", "x": "\ud800"}}, "vif_details.x", "lone surrogates"),
    ({"vif_details": {"bridge": "a", "x": "\uffff"}}, "vif_details.x", "U+FFFF"),
    ({"vif_details": {"bridge": "a", "k" * 129: 1}}, "vif_details", "at most 128 characters"),
    ({"vif_details": {"bridge": "a", "a\0": 1}}, "vif_details", "without NUL"),
    ({"vif_details": {"bridge": "a", "x": float("nan")}}, "vif_details.x", "a finite number"),
    ({"vif_details": {"bridge": "a", "x": {1, 2}}}, "vif_details.x", "a value that JSON has"),
    ({"profile": {"x": "\0"}}, "profile.x", "without NUL"),
    ({"qeues": 2}, "qeues", "queues"),
    ({"mac_address": MAC}, "mac_address", "address"),
    ({"vif_plug_script": "x"}, "vif_plug_script", "vif_details.vif_plug_script"),
    ({"vif_type": "brdige"}, "vif_type", '"ethernet", "bridge", "network", "direct", "hostdev", "vhostuser"'),
    ({"vif_type": None}, "vif_type", '"ethernet", "bridge"'),
    ({"vif_type": ["bridge"]}, "vif_type", '"ethernet", "bridge"'),
]
WRONG_OF_TYPE: list[tuple[str, dict[str, Any], str, str]] = [
    ("network", {}, "vif_details.network", "a libvirt network's name"),
    ("network", {"network": "a/b"}, "vif_details.network", 'without "/"'),
    ("network", {"network": "a", "portgroup": 7}, "vif_details.portgroup", "text"),
    ("direct", {"source_dev": "eth1", "mode": "vpea"}, "vif_details.mode", '"vepa"'),
    ("direct", {"macvtap_source": "eth1", "macvtap_mode": "x"}, "vif_details.macvtap_mode", '"vepa"'),
    ("direct", {"source_dev": "eth1", "vlan": 7}, "vif_details.vlan", '"passthrough"'),
    ("hostdev", {"pci_slot": "3b:00.1"}, "vif_details.pci_slot", "0000:3b:00.1"),
    ("hostdev", {"managed": "yes"}, "vif_details.managed", "true or false"),
    (
        "hostdev",
        {"vlan": 7, "virtualport": {"type": "802.1Qbh", "profile_id": "p"}},
        "vif_details.vlan",
        "left out",
    ),
    ("vhostuser", {"path": "run/s"}, "vif_details.path", "an absolute path"),
    ("vhostuser", {"path": "/" + "ü" * 54}, "vif_details.path", "at most 107 bytes"),
    ("vhostuser", {"vhostuser_socket": "/a\nb"}, "vif_details.vhostuser_socket", "an absolute path"),
    ("vhostuser", {"reconnect": 5}, "vif_details.reconnect", "client"),
    ("vdpa", {"device": "/dev/null"}, "vif_details.device", "/dev/vhost-vdpa-N"),
    ("user", {"log_file": "/tmp/x"}, "vif_details.log_file", "passt"),
    (
        "user",
        {"backend": "passt", "port_forwards": [{"proto": "tcp", "start": 9, "end": 8}]},
        "vif_details.port_forwards[0].end",
        "at least start",
    ),
    (
        "user",
        {"backend": "passt", "port_forwards": [{"proto": "tcp", "start": 1, "end": 9, "to": 65530}]},
        "vif_details.port_forwards[0].to",
        "at most 65527",
    ),
    (
        "user",
        {"backend": "passt", "port_forwards": [{"proto": "tcp", "start": 1, "address": "localhost"}]},
        "vif_details.port_forwards[0].address",
        "an IPv4 or IPv6 address",
    ),
    ("ethernet", {"made_by": "me"}, "vif_details.made_by", '"vifplug"'),
    ("ethernet", {"made_by": "script"}, "vif_details.made_by", "no vif_plug_script"),
]


def assert_refused(given: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_binding(given)
    error = caught.value
    assert error.context["field"] == field
    assert error.message.startswith(field)
    assert allowed in error.message
    assert "allowed" in error.context
    assert "value" in error.context
    assert error.message.isprintable()
    assert len(error.message) < 600
    json.dumps(error.as_dict(), allow_nan=False).encode()


@pytest.mark.parametrize(("changes", "field", "allowed"), WRONG, ids=[str(case[1]) for case in WRONG])
def test_a_wrong_value_is_named_with_its_field_and_what_is_allowed(
    changes: dict[str, Any], field: str, allowed: str
) -> None:
    assert_refused(binding(**changes), field, allowed)


@pytest.mark.parametrize(("vif_type", "details", "field", "allowed"), WRONG_OF_TYPE)
def test_a_wrong_detail_of_a_type_is_named_with_its_field_and_what_is_allowed(
    vif_type: str, details: dict[str, Any], field: str, allowed: str
) -> None:
    assert_refused(binding(vif_type, vif_details=details), field, allowed)


@pytest.mark.parametrize("vif_type", ["hostdev", "user"])
def test_a_type_without_queues_refuses_several(vif_type: str) -> None:
    assert_refused(binding(vif_type, queues=2), "queues", f"1 for VIF type {vif_type}")


@pytest.mark.parametrize("vif_type", ["vhostuser", "vdpa"])
def test_a_type_that_is_virtio_alone_refuses_another_model(vif_type: str) -> None:
    assert_refused(binding(vif_type, model="e1000"), "model", "virtio")


def test_a_missing_key_says_that_it_is_missing() -> None:
    given = binding()
    del given["id"]
    with pytest.raises(InvalidInput, match=r"^id is missing; it must be a UUID"):
        read_binding(given)


def test_a_value_is_shown_short_and_on_one_line() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_binding(binding(devname="x\n" * 1000))
    assert '"x\\nx\\n' in caught.value.message
    assert "…" in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"vif_type": "vhost-user"}, "vhostuser"),
        ({"qeues": 2}, "queues"),
        ({"network": {"lable": "x"}}, "label"),
        ({"link_state": "donw"}, "down"),
    ],
)
def test_a_near_miss_is_pointed_out(changes: dict[str, Any], meant: str) -> None:
    with pytest.raises(InvalidInput, match=f'did you mean "{meant}"'):
        read_binding(binding(**changes))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("ovs", '"bridge" without a script'),
        ("tap", 'bind "ethernet" without a script'),
        ("iovisor", 'bind "ethernet" with vif_plug_script "iovisor"'),
        ("midonet", 'bind "ethernet" with vif_plug_script "midonet"'),
        ("vhostuser_fp", '"vhostuser"'),
        ("hw_veb", '"hostdev"'),
        ("macvtap", 'bind "direct" without a script'),
        ("802.1qbh", '"direct"'),
        ("agilio_ovs", '"hostdev"'),
        ("hyperv", "Hyper-V"),
        ("dvs", "VMware vSphere"),
        ("unbound", "not bound to a host yet"),
        ("binding_failed", "the Neutron server's log"),
        ("distributed", "distributed router"),
        ("BRIDGE", 'write "bridge" in lower case'),
    ],
)
def test_a_known_type_that_is_not_one_of_the_eight_says_what_to_do(name: str, advice: str) -> None:
    with pytest.raises(UnsupportedVifType) as caught:
        read_binding(binding(name))
    assert advice in caught.value.message
    assert caught.value.context["field"] == "vif_type"
    assert caught.value.context["value"] == name
    assert caught.value.code == "unsupported_vif_type"


def test_every_historic_type_is_one_of_the_eight_or_says_what_to_do() -> None:
    for row in TABLE:
        if row.nova_type not in list(VifType):
            with pytest.raises(UnsupportedVifType):
                read_binding(binding(row.nova_type))


def test_a_vif_made_in_python_keeps_the_same_rules() -> None:
    with pytest.raises(InvalidInput, match=r"^queues: 2"):
        Vif(id=PORT, devname="tap0", shape=User(), queues=2)
