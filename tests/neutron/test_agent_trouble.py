"""The host agent while all around it fails and comes back. Each test has what it breaks to itself, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent_side import Cloud, Host, ip, within
from neutron_server import eventually
from vifplug.neutron.testing import ApiError

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

RULES = """
[ml2_vifplug]
rules = strict, all
[vifplug_rule:all]
network_types = vlan
plug_script = recorder
[vifplug_rule:strict]
network_types = vxlan
plug_script = recorder
via_agent = true
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with Cloud(RULES) as cloud:
        cloud.hosts[0].start(resync_interval=3600)
        assert eventually(lambda: cloud.alive(cloud.hosts[0])), cloud.hosts[0].log()
        yield cloud


@pytest.fixture
def host(cloud: Cloud) -> Iterator[Host]:
    host = cloud.hosts[0]
    yield host
    for tap in host.taps():
        ip("-n", host.namespace, "link", "delete", tap)
    assert eventually(lambda: host.on_record() == set()), host.log()
    (host.backend / "log").unlink(missing_ok=True)


@pytest.fixture
def port(cloud: Cloud, host: Host) -> dict[str, Any]:
    """Plugged, and ACTIVE."""
    port = cloud.neutron.port(cloud.neutron.network(), host.name)
    host.plug_tap(port)
    assert cloud.becomes(port, "ACTIVE"), host.log()
    return port


def test_an_agent_that_is_started_anew_disturbs_nothing(
    cloud: Cloud, host: Host, port: dict[str, Any]
) -> None:
    before = cloud.neutron.read(port)
    asked = host.asked()
    host.restart_agent(resync_interval=3600)
    assert eventually(lambda: host.said_since(f"VIF {port['id']} is plugged, as it was")), host.log()
    assert within(1, lambda: cloud.neutron.read(port)["status"] == "ACTIVE")
    assert cloud.neutron.read(port)["revision_number"] == before["revision_number"], "its status flapped"
    assert host.asked() == asked


def test_what_came_and_went_while_the_agent_was_away_is_seen_to(
    cloud: Cloud, host: Host, port: dict[str, Any]
) -> None:
    late = cloud.neutron.port(cloud.neutron.network(), host.name)
    host.stop_agent()
    host.plug_tap(late)
    host.unplug_tap(port)
    host.start_agent(resync_interval=3600)
    assert cloud.becomes(late, "ACTIVE"), host.log()
    assert cloud.becomes(port, "DOWN"), host.log()
    assert eventually(lambda: host.ports() == {late["id"]})


def test_while_vifplugd_is_away_the_agent_waits_and_neutron_takes_it_for_dead(
    cloud: Cloud, host: Host, port: dict[str, Any]
) -> None:
    late = cloud.neutron.port(cloud.neutron.network(), host.name)
    host.stop_daemon()
    host.plug_tap(late)
    assert eventually(lambda: not cloud.alive(host))
    refused = cloud.neutron.port(cloud.neutron.network(), host.name)
    assert refused["binding:vif_type"] == "binding_failed"
    assert "has not been heard of" in refused["binding:vif_details"]["binding_failure"]
    host.start_daemon()
    assert cloud.becomes(late, "ACTIVE"), host.log()
    assert eventually(lambda: cloud.alive(host))
    assert port["id"] in host.ports()


def test_after_the_message_bus_was_away_what_was_missed_is_seen_to(
    cloud: Cloud, host: Host, port: dict[str, Any]
) -> None:
    late = cloud.neutron.port(cloud.neutron.network(), host.name)
    cloud.rabbit.stop()
    host.plug_tap(late)
    host.unplug_tap(port)
    assert eventually(lambda: port["id"] not in host.ports()), "that needs no message bus"
    assert eventually(lambda: host.said_since("is unreachable"))
    cloud.rabbit.start()
    assert cloud.becomes(late, "ACTIVE", 120), host.log()
    assert cloud.becomes(port, "DOWN"), host.log()


def test_neutrons_servers_may_be_started_anew(cloud: Cloud, host: Host, port: dict[str, Any]) -> None:
    late = cloud.neutron.port(cloud.neutron.network(), host.name)
    cloud.stop_rpc()
    host.plug_tap(late)
    cloud.start_rpc()
    assert cloud.becomes(late, "ACTIVE", 120), host.log()
    assert cloud.neutron.read(port)["status"] == "ACTIVE"


def test_a_status_that_neutron_lost_is_put_right_by_the_next_comparison(
    cloud: Cloud, host: Host, port: dict[str, Any]
) -> None:
    host.restart_agent(resync_interval=5)
    assert eventually(lambda: host.said_since(f"VIF {port['id']} is plugged, as it was")), host.log()
    cloud.neutron.agent_says(port, host.name, up=False)
    assert cloud.becomes(port, "ACTIVE"), host.log()


def test_a_rule_may_bind_for_agents_alone(cloud: Cloud, host: Host) -> None:
    network = cloud.neutron.network(**{"provider:network_type": "vxlan"})
    assert cloud.neutron.port(network, host.name)["binding:vif_type"] == "tap"
    bare = cloud.neutron.port(network, "no-agent-there")
    assert bare["binding:vif_type"] == "binding_failed"
    assert "via_agent asks for one" in bare["binding:vif_details"]["binding_failure"]
    with pytest.raises(ApiError, match="answers 500"):
        cloud.neutron.bind_to(cloud.neutron.port(network, host.name), "no-agent-there")


def test_elsewhere_ports_are_bound_for_the_os_vif_plugin(cloud: Cloud) -> None:
    port = cloud.neutron.port(cloud.neutron.network(), "no-agent-there")
    assert (port["binding:vif_type"], port["status"]) == ("ethernet", "ACTIVE")


def test_an_agent_that_only_reports_leaves_the_host_to_the_os_vif_plugin(cloud: Cloud, host: Host) -> None:
    host.restart_agent(plugs=False)
    assert eventually(
        lambda: cloud.agents()[host.name]["configurations"].get("reports_status", False) is False
    )
    port = cloud.neutron.port(cloud.neutron.network(), host.name)
    assert (port["binding:vif_type"], port["status"]) == ("ethernet", "ACTIVE")
    host.restart_agent()
    assert eventually(lambda: cloud.agents()[host.name]["configurations"].get("reports_status"))
    assert cloud.neutron.read(port)["status"] == "ACTIVE"
