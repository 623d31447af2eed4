"""The host agent plugs what Nova's tap tells it of. Real Neutron, RabbitMQ, vifplugd and kernel; ``ip tuntap`` in
Nova's place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent_side import Cloud, Host, ip, within
from neutron_server import NeutronServer, eventually

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

RULES = """
[ml2_vifplug]
rules = vhost, all
[vifplug_rule:all]
network_types = vlan
plug_script = recorder
detail = tag: {segment.segmentation_id}
detail = pairs: {port.allowed_address_pairs}
[vifplug_rule:vhost]
network_types = flat
vif_type = vhostuser
plug_script = recorder
detail = path: /run/vhost/{port.id}
detail = mode: server
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(RULES) as cloud:
        cloud.hosts[0].start()
        assert eventually(lambda: cloud.alive(cloud.hosts[0])), cloud.hosts[0].log()
        yield cloud


@pytest.fixture
def neutron(cloud: Cloud) -> NeutronServer:
    return cloud.neutron


@pytest.fixture
def host(cloud: Cloud) -> Iterator[Host]:
    host = cloud.hosts[0]
    yield host
    for verb in ("plug", "unplug"):
        host.on(verb)
    for tap in host.taps():
        ip("-n", host.namespace, "link", "delete", tap)
    for port in host.ports():
        cloud.neutron.call("DELETE", f"/v2.0/ports/{port}")
    assert eventually(lambda: host.on_record() == set()), host.log()
    (host.backend / "log").unlink(missing_ok=True)


def plugged(cloud: Cloud, host: Host, **fields: Any) -> dict[str, Any]:
    """A port whose tap Nova has made, and that came up."""
    port = cloud.neutron.port(cloud.neutron.network(), host.name, **fields)
    host.plug_tap(port)
    assert cloud.becomes(port, "ACTIVE"), host.log()
    return port


def request(host: Host, port: dict[str, Any]) -> dict[str, Any]:
    """What the script was asked last to plug."""
    found: dict[str, Any] = json.loads((host.backend / f"port-{port['id']}").read_text())
    return found


def test_a_tap_that_nova_makes_is_plugged_and_its_port_comes_up(cloud: Cloud, host: Host) -> None:
    port = cloud.neutron.port(cloud.neutron.network(), host.name)
    assert (port["binding:vif_type"], port["status"]) == ("tap", "DOWN")
    tap = host.plug_tap(port)
    assert cloud.becomes(port, "ACTIVE")
    assert port["id"] in host.ports()
    host.unplug_tap(port)
    assert cloud.becomes(port, "DOWN")
    assert eventually(lambda: port["id"] not in host.ports())
    assert host.on_record() == set()
    assert tap not in host.taps()


def test_the_script_is_told_what_the_rule_says_and_what_neutron_knows(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network(name="blue")
    port = cloud.neutron.port(network, host.name, device_id="0b6f0f0e-2f0b-4a0e-9d0c-7a3f5b1c2d3e")
    host.plug_tap(port)
    assert cloud.becomes(port, "ACTIVE")
    asked = request(host, port)
    assert asked["vif"]["type"] == "ethernet"
    assert asked["vif"]["devname"] == f"tap{port['id'][:11]}"
    assert asked["vif"]["address"] == port["mac_address"]
    assert asked["vif"]["details"]["tag"] == network["provider:segmentation_id"]
    assert asked["network"]["label"] == "blue"
    (subnet,) = asked["network"]["subnets"]
    assert (subnet["cidr"], subnet["gateway"]) == ("192.0.2.0/24", "192.0.2.1")
    assert subnet["addresses"] == [port["fixed_ips"][0]["ip_address"]]
    assert asked["instance"]["id"] == "0b6f0f0e-2f0b-4a0e-9d0c-7a3f5b1c2d3e"


def test_a_tap_of_a_port_that_is_not_bound_here_is_left_alone(cloud: Cloud, host: Host) -> None:
    elsewhere = cloud.neutron.port(cloud.neutron.network())
    host.plug_tap(elsewhere)
    plugged(cloud, host)  # a later one
    link = ip("-n", host.namespace, "link", "show", f"tap{elsewhere['id'][:11]}")
    assert "alias" not in link
    assert host.asked() == ["plug"]


def test_a_tap_made_anew_at_once_is_plugged_anew_and_its_port_is_up(cloud: Cloud, host: Host) -> None:
    port = plugged(cloud, host)
    for _ in range(3):  # as a hard reboot does
        host.unplug_tap(port)
        host.plug_tap(port)
        assert eventually(
            lambda: "alias" in ip("-n", host.namespace, "link", "show", f"tap{port['id'][:11]}")
        )
    assert eventually(lambda: within(1, lambda: cloud.neutron.read(port)["status"] == "ACTIVE")), host.log()
    assert port["id"] in host.ports()


def test_many_at_once(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network()
    ports = [cloud.neutron.port(network, host.name) for _ in range(12)]
    for port in ports:
        host.plug_tap(port)
    for port in ports:
        assert cloud.becomes(port, "ACTIVE"), host.log()
    assert host.ports() == {port["id"] for port in ports}


def test_a_script_that_fails_leaves_the_port_down_with_the_reason_and_is_tried_again(
    cloud: Cloud, host: Host
) -> None:
    host.on("plug", status=3)
    port = cloud.neutron.port(cloud.neutron.network(), host.name)
    tap = host.plug_tap(port)
    assert eventually(lambda: host.said(f"Port {port['id']}: ") and host.said("the backend said no"))
    assert cloud.becomes(port, "DOWN")
    assert tap in host.taps(), "it is Nova's"
    host.on("plug")
    assert cloud.becomes(port, "ACTIVE")


def test_a_slow_script_delays_its_own_vif_alone(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network()
    slow, quick = (cloud.neutron.port(network, host.name) for _ in range(2))
    host.on("plug", do=f"[ $VIF_ID != {slow['id']} ] || while [ ! -e $backend/go ]; do sleep 0.05; done")
    host.plug_tap(slow)
    assert eventually(lambda: "plug" in host.asked())
    host.plug_tap(quick)
    assert cloud.becomes(quick, "ACTIVE")
    assert cloud.neutron.read(slow)["status"] != "ACTIVE"
    (host.backend / "go").touch()
    assert cloud.becomes(slow, "ACTIVE")


def test_a_new_mtu_and_new_details_reach_the_live_vif(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network()
    port = cloud.neutron.port(network, host.name)
    tap = host.plug_tap(port)
    assert cloud.becomes(port, "ACTIVE")
    cloud.neutron.update("network", network["id"], mtu=1280)
    assert eventually(lambda: "mtu 1280" in ip("-n", host.namespace, "link", "show", tap)), host.log()
    pair = {"ip_address": "192.0.2.77", "mac_address": port["mac_address"]}
    cloud.neutron.update("port", port["id"], allowed_address_pairs=[pair])
    assert eventually(lambda: request(host, port)["vif"]["details"]["pairs"] == [pair]), host.log()
    assert cloud.neutron.read(port)["status"] == "ACTIVE"


def test_a_disabled_port_is_down_and_comes_up_again(cloud: Cloud, host: Host) -> None:
    port = plugged(cloud, host)
    cloud.neutron.update("port", port["id"], admin_state_up=False)
    assert cloud.becomes(port, "DOWN")
    cloud.neutron.update("port", port["id"], admin_state_up=True)
    assert cloud.becomes(port, "ACTIVE")


def test_a_port_deleted_under_its_guest_keeps_its_tap_until_the_guest_lets_go(
    cloud: Cloud, host: Host
) -> None:
    port = plugged(cloud, host)
    with host.guest(port):
        cloud.neutron.call("DELETE", f"/v2.0/ports/{port['id']}")
        assert within(2, lambda: host.taps() != set())
    assert eventually(lambda: host.taps() == set()), host.log()
    assert host.on_record() == set()
    assert host.said(f"Port {port['id']} is bound here no more, and nobody holds its tap")


# --- vhost-user: there is no tap ------------------------------------------------------------------


def test_a_socket_is_there_once_its_port_is_bound_and_goes_with_the_port(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network(**{"provider:network_type": "flat", "provider:physical_network": "flat1"})
    port = cloud.neutron.port(network, host.name)
    details = port["binding:vif_details"]
    assert port["binding:vif_type"] == "vhostuser"
    assert (details["vhostuser_socket"], details["vhostuser_mode"]) == (f"/run/vhost/{port['id']}", "server")
    assert cloud.becomes(port, "ACTIVE"), host.log()
    assert request(host, port)["vif"]["details"]["path"] == f"/run/vhost/{port['id']}"
    cloud.neutron.call("DELETE", f"/v2.0/ports/{port['id']}")
    assert eventually(lambda: port["id"] not in host.ports())


def test_a_socket_goes_when_its_port_leaves_the_host(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network(**{"provider:network_type": "flat", "provider:physical_network": "flat2"})
    port = cloud.neutron.port(network, host.name)
    assert cloud.becomes(port, "ACTIVE")
    cloud.neutron.update("port", port["id"], **{"binding:host_id": ""})
    assert eventually(lambda: port["id"] not in host.ports()), host.log()
    assert host.on_record() == set()
