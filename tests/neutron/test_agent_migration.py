"""Live migration where host agents plug: as Nova asks Neutron for it, with ``ip tuntap`` in Nova's place on both
hosts, and everything else as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from agent_side import Cloud, Host, ip, within
from neutron_server import eventually

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

RULES = """
[ml2_vifplug]
rules = vhost, all
[vifplug_rule:all]
network_types = vlan
plug_script = recorder
[vifplug_rule:vhost]
network_types = flat
vif_type = vhostuser
plug_script = recorder
detail = path: /run/vhost/{port.id}
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(RULES, hosts=2) as cloud:
        for host in cloud.hosts:
            host.start()
        assert eventually(lambda: all(cloud.alive(host) for host in cloud.hosts))
        yield cloud


@pytest.fixture
def source(cloud: Cloud) -> Host:
    return cloud.hosts[0]


@pytest.fixture
def destination(cloud: Cloud) -> Host:
    return cloud.hosts[1]


@pytest.fixture
def port(cloud: Cloud, source: Host) -> dict[str, Any]:
    """On the source, and ACTIVE."""
    port = cloud.neutron.port(cloud.neutron.network(), source.name)
    source.plug_tap(port)
    assert cloud.becomes(port, "ACTIVE"), source.log()
    return port


def has(host: Host, port: dict[str, Any]) -> bool:
    return port["id"] in host.ports()


def asked_of(host: Host, port: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((host.backend / f"port-{port['id']}").read_text())
    return found


def test_the_destination_is_plugged_before_and_active_after_and_the_source_lets_go(
    cloud: Cloud, source: Host, destination: Host, port: dict[str, Any]
) -> None:
    neutron = cloud.neutron
    assert neutron.bind_to(port, destination.name)["vif_type"] == "tap"
    destination.plug_tap(port)
    assert eventually(lambda: port["id"] in destination.ports()), destination.log()
    assert asked_of(destination, port)["migration"] == {"role": "destination", "phase": "prepare"}
    assert neutron.read(port)["status"] == "ACTIVE", "it still lives on the source"
    with destination.guest(port):
        with source.guest(port):
            neutron.activate(port, destination.name)
            assert eventually(lambda: within(1, lambda: neutron.read(port)["status"] == "ACTIVE")), (
                destination.log()
            )
            assert port["id"] in source.ports(), "a guest has the tap open"
        source.unplug_tap(port)
        assert eventually(lambda: port["id"] not in source.ports()), source.log()
        assert within(1, lambda: neutron.read(port)["status"] == "ACTIVE"), "the source reported it down"
        assert neutron.read(port)["binding:host_id"] == destination.name
        assert port["id"] in destination.ports()
        assert eventually(lambda: destination.client.show(port["id"]).request.migration is None)
        destination.unplug_tap(port)
    assert cloud.becomes(port, "DOWN")


def test_what_a_failed_migration_left_on_the_destination_goes(
    cloud: Cloud, source: Host, destination: Host, port: dict[str, Any]
) -> None:
    cloud.neutron.bind_to(port, destination.name)
    tap = destination.plug_tap(port)
    assert eventually(lambda: port["id"] in destination.ports())
    with destination.guest(port):
        cloud.neutron.call("DELETE", f"/v2.0/ports/{port['id']}/bindings/{destination.name}")
        destination.restart_agent()  # it sees what it missed
        assert within(2, lambda: tap in destination.taps()), "a process holds it"
    assert eventually(lambda: tap not in destination.taps()), destination.log()
    assert port["id"] not in destination.ports()
    assert destination.on_record() == set()
    assert cloud.neutron.read(port)["status"] == "ACTIVE"
    assert port["id"] in source.ports()
    source.unplug_tap(port)


def test_a_failed_migration_is_noticed_without_any_word_from_neutron(
    cloud: Cloud, source: Host, destination: Host, port: dict[str, Any]
) -> None:
    cloud.neutron.bind_to(port, destination.name)
    tap = destination.plug_tap(port)
    assert eventually(lambda: port["id"] in destination.ports())
    cloud.neutron.call("DELETE", f"/v2.0/ports/{port['id']}/bindings/{destination.name}")
    assert eventually(lambda: tap not in destination.taps()), destination.log()
    assert destination.on_record() == set()
    source.unplug_tap(port)


def test_a_socket_is_there_before_the_guest_comes_and_goes_where_it_came_from(
    cloud: Cloud, source: Host, destination: Host
) -> None:
    network = cloud.neutron.network(**{"provider:network_type": "flat", "provider:physical_network": "flat1"})
    port = cloud.neutron.port(network, source.name)
    assert cloud.becomes(port, "ACTIVE")
    assert cloud.neutron.bind_to(port, destination.name)["vif_type"] == "vhostuser"
    assert eventually(lambda: port["id"] in destination.ports()), destination.log()
    cloud.neutron.activate(port, destination.name)
    assert eventually(lambda: port["id"] not in source.ports()), source.log()
    assert eventually(lambda: within(1, lambda: cloud.neutron.read(port)["status"] == "ACTIVE"))
    cloud.neutron.call("DELETE", f"/v2.0/ports/{port['id']}")
    assert eventually(lambda: port["id"] not in destination.ports()), destination.log()


def test_there_and_back(cloud: Cloud, source: Host, destination: Host, port: dict[str, Any]) -> None:
    for here, there in ((source, destination), (destination, source)):
        cloud.neutron.bind_to(port, there.name)
        there.plug_tap(port)
        assert eventually(partial(has, there, port)), there.log()
        cloud.neutron.activate(port, there.name)
        here.unplug_tap(port)
        assert eventually(lambda: not has(source, port) or not has(destination, port)), here.log()
        cloud.neutron.call("DELETE", f"/v2.0/ports/{port['id']}/bindings/{here.name}")
        assert eventually(lambda: within(1, lambda: cloud.neutron.read(port)["status"] == "ACTIVE")), (
            there.log()
        )
    ip("-n", source.namespace, "link", "delete", f"tap{port['id'][:11]}")
