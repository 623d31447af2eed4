"""A real guest's frames through each VIF type, as libvirt gives it to the guest.

Of the eight, hostdev and vdpa need a card that this host has not: libvirt's validation says what it thinks of them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from daemons import until
from guests import ip
from one_guest import OneGuest, address_of, bridge, pings, vif
from vifplug.errors import LibvirtRefused
from vifplug.libvirt import attach, detach
from vifplug.libvirt.definition import Definition, Scope
from world import links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]


def carries(guest: OneGuest, binding: dict[str, Any], *options: str) -> None:
    """Attach it: the guest is pinged, with a frame as big as the network has them; detach it: nothing is left."""
    before = links().keys()
    guest.attach(binding)
    until(lambda: pings(address_of(binding), *options))
    assert pings(address_of(binding), "-s", "1472", "-M", "do", *options)
    guest.detach(binding)
    assert not pings(address_of(binding), "-W0.2", *options)
    assert binding["id"] not in [record.id for record in guest.host.list()]
    assert links().keys() == before


@pytest.fixture
def on_bridge(guest: OneGuest) -> Any:
    """A bridge, on which the test's network is; gone afterwards."""
    made = []

    def make(network: int) -> str:
        bridge(f"br-{network}", network)
        made.append(f"br-{network}")
        return made[-1]

    yield make
    guest.clear()
    for name in made:
        ip(f"link delete {name}")


@pytest.fixture
def on_switch(guest: OneGuest) -> Any:
    """The host's own port in a VLAN of Open vSwitch, on which the test's network is; gone afterwards."""
    made = []

    def make(network: int, tag: int) -> None:
        name = f"vlan{tag}"
        guest.switch.vsctl(
            "add-port", "br-int", name, f"tag={tag}", "--", "set", "interface", name, "type=internal"
        )
        made.append(name)
        ip(f"address add 10.9.{network}.100/24 dev {name}")
        ip(f"link set {name} up")

    yield make
    guest.clear()
    for name in made:
        guest.switch.vsctl("del-port", name)


# --- ethernet --------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [1, 2])
def test_ethernet_whose_tap_vifplug_makes(guest: OneGuest, on_bridge: Any, queues: int) -> None:
    one = vif(0x1001, script="linux-bridge", queues=queues, vif_details={"bridge": on_bridge(0x10)})
    carries(guest, one)


def test_a_guest_with_two_processors_uses_both_queues_of_its_tap(guest: OneGuest, on_bridge: Any) -> None:
    one = vif(0x1101, script="linux-bridge", queues=2, vif_details={"bridge": on_bridge(0x11)})
    guest.attach(one)
    assert guest.tell(f"cd /sys/class/net/{guest.card(one)}/queues; echo tx-*") == "tx-0 tx-1\n"


def test_ethernet_whose_tap_the_script_makes(guest: OneGuest, on_bridge: Any) -> None:
    world, name = guest.world, on_bridge(0x12)
    world.on(
        "plug", do=f"ip tuntap add $VIF_DEVNAME mode tap; ip link set $VIF_DEVNAME master {name} mtu 1500 up"
    )
    world.on("unplug", do="ip link delete $VIF_DEVNAME")
    carries(guest, vif(0x1201, vif_details={"made_by": "script"}))


def test_ethernet_whose_tap_libvirt_makes(guest: OneGuest, on_switch: Any) -> None:
    """The switch has the port before there is a device, and takes that when it comes."""
    on_switch(0x13, 19)
    details = {"bridge": "br-int", "tag": 19, "made_by": "libvirt"}
    carries(guest, vif(0x1301, script="openvswitch", vif_details=details))


# --- bridge and network: libvirt makes the tap, and says where it belongs ---------------------------


def test_a_linux_bridge(guest: OneGuest, on_bridge: Any) -> None:
    one = vif(0x1401, script="linux-bridge", vif_type="bridge", vif_details={"bridge": on_bridge(0x14)})
    carries(guest, one)


def test_a_bridge_of_open_vswitch(guest: OneGuest, on_switch: Any) -> None:
    on_switch(0x15, 21)
    details = {"bridge": "br-int", "virtualport": {"type": "openvswitch"}, "vlan": 21}
    carries(guest, vif(0x1501, script="openvswitch", vif_type="bridge", vif_details=details))


def test_a_network_of_libvirt_s_own(guest: OneGuest) -> None:
    network = guest.connection.networkCreateXML(
        """<network><name>guests</name><forward mode='open'/><bridge name='br-guests' stp='off' delay='0'/>
        <dns enable='no'/><ip address='10.9.22.100' netmask='255.255.255.0'/></network>"""
    )
    carries(guest, vif(0x1601, script=None, vif_type="network", vif_details={"network": "guests"}))
    network.destroy()


def test_a_port_group_of_a_network_on_open_vswitch(guest: OneGuest, on_switch: Any) -> None:
    on_switch(0x17, 23)
    network = guest.connection.networkCreateXML(
        """<network><name>switched</name><forward mode='bridge'/><bridge name='br-int'/>
        <virtualport type='openvswitch'/><portgroup name='engineering'><vlan><tag id='23'/></vlan></portgroup>
        </network>"""
    )
    details = {"network": "switched", "portgroup": "engineering"}
    carries(guest, vif(0x1701, script=None, vif_type="network", vif_details=details))
    network.destroy()


# --- direct ----------------------------------------------------------------------------------------


@pytest.fixture
def uplink(guest: OneGuest) -> Iterator[str]:
    """A device of the host whose other end is "beyond"."""
    ip("link add up0 type veth peer name beyond")
    for name in ("up0", "beyond"):
        ip(f"link set {name} up")
    yield "up0"
    guest.clear()
    ip("link delete up0")


@pytest.mark.parametrize(
    ("mode", "network"), [("bridge", 24), ("vepa", 25), ("private", 26), ("passthrough", 27)]
)
def test_direct(uplink: str, guest: OneGuest, mode: str, network: int) -> None:
    ip(f"address add 10.9.{network}.100/24 dev beyond")
    carries(guest, direct(network, uplink, mode))


@pytest.mark.parametrize(("mode", "reached"), [("bridge", True), ("vepa", False), ("private", False)])
def test_who_is_on_the_same_device_reaches_it_in_mode_bridge_alone(
    uplink: str, guest: OneGuest, mode: str, reached: bool
) -> None:
    ip("address add 10.9.28.100/24 dev beyond")
    ip(f"link add beside link {uplink} type macvlan mode {mode}")
    ip("address add 10.9.28.101/24 dev beside")
    ip("link set beside up")
    one = direct(28, uplink, mode)
    guest.attach(one)
    until(lambda: pings(address_of(one), "-I", "beyond"))
    assert pings(address_of(one), "-I", "beside", "-W0.5") == reached


def direct(network: int, device: str, mode: str) -> dict[str, Any]:
    details = {"source_dev": device, "mode": mode}
    return vif(network << 8 | 1, script=None, vif_type="direct", vif_details=details)


# --- vhostuser -------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [1, 2])
@pytest.mark.parametrize("mode", ["client", "server"])
def test_vhostuser(guest: OneGuest, on_switch: Any, mode: str, queues: int) -> None:
    on_switch(0x1E, 30)
    details = {"bridge": "br-int", "tag": 30, "mode": mode}
    one = vif(0x1E01, script="openvswitch", vif_type="vhostuser", queues=queues, vif_details=details)
    carries(guest, one)


# --- user ------------------------------------------------------------------------------------------


def test_user_with_slirp(guest: OneGuest) -> None:
    """The guest reaches the host's own loopback device by slirp's gateway, and what is sent there comes back."""
    one = vif(0x1F01, script=None, vif_type="user")
    guest.attach(one)
    guest.tell(f"ip address add 10.0.2.15/24 dev {guest.card(one)}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        told = guest.told(f"echo from the guest | nc -w 10 10.0.2.2 {port}")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"from the guest\n"
            connection.sendall(b"from the host\n")
        assert told.result(30) == "from the host\n"
    guest.detach(one)
    assert "10.0.2.15" not in guest.tell("ip address")


def test_user_with_passt_is_what_libvirt_9_0_cannot(guest: OneGuest) -> None:
    """Its schema and its documents have it, and its parser takes no backend at all."""
    version = guest.connection.getLibVersion()
    assert 9000000 <= version < 9001000, "this libvirt may take passt: let the guest's frames through it"
    before = Definition.of(guest.domain, Scope.LIVE).kept.keys()
    with pytest.raises(LibvirtRefused, match="'passt'.*the VIF was unplugged again"):
        guest.attach(vif(0x1F02, vif_type="user", vif_details={"backend": "passt"}))
    assert Definition.of(guest.domain, Scope.LIVE).kept.keys() == before
    assert len(guest.host.list()) == 1


# --- hostdev and vdpa: what libvirt says without a card ---------------------------------------------


CARDS = {"hostdev": {"pci_slot": "0000:3b:00.1", "vlan": 7}, "vdpa": {"device": "/dev/vhost-vdpa-0"}}


@pytest.mark.parametrize("type_", CARDS)
def test_a_card_s_type_is_valid_in_a_definition_and_a_running_guest_cannot_get_it(
    guest: OneGuest, type_: str
) -> None:
    one = vif(0x2001, vif_type=type_, vif_details=CARDS[type_])
    attach(guest.host, guest.domain, one, config=True)
    stored = Definition.of(guest.domain, Scope.CONFIG)
    assert [found.type for found in stored.interfaces][-1] == type_
    detach(guest.host, guest.domain, one["id"], config=True)
    with pytest.raises(LibvirtRefused, match="the VIF was unplugged again"):
        attach(guest.host, guest.domain, one, live=True)
    assert len(guest.host.list()) == 1
