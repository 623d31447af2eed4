"""The host agent plugs what Nova's tap tells it of. Real Neutron, RabbitMQ, vifplugd and kernel; ``ip tuntap`` in
Nova's place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_side import Cloud, Host, within
from neutron_server import NeutronServer, eventually

RULES = """
[ml2_vifplug]
rules = vhost, all
[vifplug_rule:all]
network_types = vlan
plug_script = recorder
detail = tag: {segment.segmentation_id}
[vifplug_rule:vhost]
network_types = flat
vif_type = vhostuser
plug_script = recorder
detail = path: /run/vhost/{port.id}
detail = mode: server
"""


@pytest.fixture(scope="module")
def cloud(empty_database: Path) -> Iterator[Cloud]:
    with Cloud(empty_database, RULES) as cloud:
        cloud.hosts[0].start()
        assert eventually(lambda: cloud.alive(cloud.hosts[0])), cloud.hosts[0].folder
        yield cloud


@pytest.fixture
def neutron(cloud: Cloud) -> NeutronServer:
    return cloud.neutron


@pytest.fixture
def host(cloud: Cloud) -> Host:
    return cloud.hosts[0]


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
