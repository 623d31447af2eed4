"""What changes on a bound port: its network's MTU, its QoS policy, its own attributes. Its binding follows."""

from __future__ import annotations

from typing import Any

import pytest

from neutron_server import NeutronServer
from vifplug.model import read_binding


def details(neutron: NeutronServer, port: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = neutron.read(port)["binding:vif_details"]
    return found


@pytest.fixture
def policy(neutron: NeutronServer) -> dict[str, Any]:
    """1,000 kbit/s out of the guest, bursts of 800 kbit; 8,000 kbit/s into it."""
    made: dict[str, Any] = neutron.call("POST", "/v2.0/qos/policies", {"policy": {"name": "p"}})["policy"]
    for rule in (
        {"max_kbps": 1000, "max_burst_kbps": 800, "direction": "egress"},
        {"max_kbps": 8192, "direction": "ingress"},
    ):
        path = f"/v2.0/qos/policies/{made['id']}/bandwidth_limit_rules"
        neutron.call("POST", path, {"bandwidth_limit_rule": rule})
    return made


LIMITS = {"outbound": {"average": 122, "burst": 98}, "inbound": {"average": 1000}}


def test_the_mtu_of_a_bound_port_follows_its_network(neutron: NeutronServer) -> None:
    network = neutron.network()
    port = neutron.port(network, "cmp1")
    neutron.bind_to(port, "cmp2")
    neutron.update("network", network["id"], mtu=1280)
    assert details(neutron, port)["mtu"] == 1280
    bindings = neutron.bindings(port)
    assert {host: binding["vif_details"]["mtu"] for host, binding in bindings.items()} == {
        "cmp1": 1280,
        "cmp2": 1280,
    }
    assert read_binding(neutron.read(port)).mtu == 1280
    assert neutron.read(port)["status"] == "ACTIVE"


def test_a_policy_is_a_bandwidth_of_the_binding(neutron: NeutronServer, policy: dict[str, Any]) -> None:
    port = neutron.port(neutron.network(), "cmp1", qos_policy_id=policy["id"])
    assert port["binding:vif_details"]["bandwidth"] == LIMITS


def test_a_policy_comes_and_goes_on_a_bound_port(neutron: NeutronServer, policy: dict[str, Any]) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    assert "bandwidth" not in port["binding:vif_details"]
    changed = neutron.update("port", port["id"], qos_policy_id=policy["id"])
    assert changed["binding:vif_details"]["bandwidth"] == LIMITS
    assert details(neutron, port)["bandwidth"] == LIMITS
    assert "bandwidth" not in neutron.update("port", port["id"], qos_policy_id=None)["binding:vif_details"]
    assert neutron.read(port)["status"] == "ACTIVE"


def test_a_networks_policy_holds_for_its_ports(neutron: NeutronServer, policy: dict[str, Any]) -> None:
    network = neutron.network(qos_policy_id=policy["id"])
    port = neutron.port(network, "cmp1")
    assert port["binding:vif_details"]["bandwidth"] == LIMITS
    neutron.update("network", network["id"], qos_policy_id=None)
    assert "bandwidth" not in details(neutron, port)
    neutron.update("network", network["id"], qos_policy_id=policy["id"])
    assert details(neutron, port)["bandwidth"] == LIMITS


def test_a_changed_rule_reaches_every_port_that_it_holds_for(
    neutron: NeutronServer, policy: dict[str, Any]
) -> None:
    own = neutron.port(neutron.network(), "cmp1", qos_policy_id=policy["id"])
    by_network = neutron.port(neutron.network(qos_policy_id=policy["id"]), "cmp1")
    rules = f"/v2.0/qos/policies/{policy['id']}/bandwidth_limit_rules"
    egress = next(
        rule for rule in neutron.call("GET", rules)["bandwidth_limit_rules"] if rule["direction"] == "egress"
    )
    neutron.call(
        "PUT", f"{rules}/{egress['id']}", {"bandwidth_limit_rule": {"max_kbps": 4096, "max_burst_kbps": 0}}
    )
    for port in (own, by_network):
        assert details(neutron, port)["bandwidth"]["outbound"] == {"average": 500}
    neutron.call("DELETE", f"{rules}/{egress['id']}")
    for port in (own, by_network):
        assert details(neutron, port)["bandwidth"] == {"inbound": {"average": 1000}}


def test_an_attribute_that_a_detail_stands_for_is_followed(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    changed = neutron.update("port", port["id"], port_security_enabled=False, security_groups=[])
    assert changed["binding:vif_details"]["anti_spoofing"] is False
    assert details(neutron, port)["anti_spoofing"] is False


def test_a_port_is_not_touched_by_what_says_nothing_of_it(neutron: NeutronServer) -> None:
    network = neutron.network()
    port = neutron.port(network, "cmp1")
    revision = neutron.read(port)["revision_number"]
    neutron.update("network", network["id"], name="another")
    assert neutron.read(port)["revision_number"] == revision
