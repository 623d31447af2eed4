"""What the drivers bind on a host whose agent plugs (its reports and RPC calls made by hand: no message bus here)."""

from __future__ import annotations

import pytest

from neutron_server import NeutronServer
from vifplug.neutron import report

SCRIPTS = [
    {"name": name, "trusted": True, "digest": None, "reason": None, "info": {"version": "2"}}
    for name in ("linux-bridge", "openvswitch")
]


@pytest.fixture(scope="module", autouse=True)
def agent(neutron: NeutronServer) -> None:
    neutron.report("plugs", report.write(SCRIPTS, reports_status=True))
    neutron.report("reports", report.write(SCRIPTS))


def test_a_port_is_a_plain_tap_and_what_is_to_be_plugged_stands_beside(neutron: NeutronServer) -> None:
    network = neutron.network()
    port = neutron.port(network, "plugs")
    details = port["binding:vif_details"]
    assert (port["binding:vif_type"], port["status"]) == ("tap", "DOWN")
    assert "vif_plug_script" not in details
    meant = details["vifplug"]
    assert meant["vif_type"] == "ethernet"
    assert meant["vif_details"]["vif_plug_script"] == "linux-bridge"
    assert meant["vif_details"]["vlan"] == network["provider:segmentation_id"]
    assert details["connectivity"] == "l2"


def test_where_an_agent_only_reports_the_binding_is_for_the_os_vif_plugin(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "reports")
    assert (port["binding:vif_type"], port["status"]) == ("ethernet", "ACTIVE")


def test_a_socket_is_bound_in_neutrons_own_words(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "flat", "provider:physical_network": "flat1"})
    port = neutron.port(network, "plugs")
    details = port["binding:vif_details"]
    assert port["binding:vif_type"] == "vhostuser"
    assert (details["vhostuser_socket"], details["vhostuser_mode"]) == (f"/run/vhost/{port['id']}", "server")


def test_a_type_that_only_the_plugin_knows_is_not_bound_there(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "flat", "provider:physical_network": "flat2"})
    port = neutron.port(network, "plugs", **{"binding:vnic_type": "macvtap"})
    assert port["binding:vif_type"] == "binding_failed"
    assert "direct needs the os-vif plugin" in port["binding:vif_details"]["binding_failure"]


def test_a_new_mtu_reaches_what_is_to_be_plugged(neutron: NeutronServer) -> None:
    network = neutron.network()
    port = neutron.port(network, "plugs")
    neutron.update("network", network["id"], mtu=1280)
    now = neutron.read(port)
    assert (now["binding:vif_type"], now["binding:vif_details"]["vifplug"]["vif_details"]["mtu"]) == (
        "tap",
        1280,
    )


def test_a_port_moves_between_hosts_of_either_kind(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "reports")
    assert neutron.bind_to(port, "plugs")["vif_type"] == "tap"
    neutron.activate(port, "plugs")
    now = neutron.read(port)
    assert (now["binding:vif_type"], now["status"]) == ("tap", "DOWN"), "nobody has plugged it yet"
    neutron.agent_says(port, "plugs", up=True)
    assert neutron.read(port)["status"] == "ACTIVE"
    neutron.call("DELETE", f"/v2.0/ports/{port['id']}/bindings/reports")
    assert neutron.bind_to(port, "reports")["vif_type"] == "ethernet"
    neutron.activate(port, "reports")
    now = neutron.read(port)
    assert (now["binding:vif_type"], now["status"]) == ("ethernet", "ACTIVE")


def test_what_was_bound_before_the_agent_came_is_still_the_drivers_to_bring_up(
    neutron: NeutronServer,
) -> None:
    port = neutron.port(neutron.network(), "later")
    assert (port["binding:vif_type"], port["status"]) == ("ethernet", "ACTIVE")
    neutron.report("later", report.write(SCRIPTS, reports_status=True))
    assert neutron.update("port", port["id"], admin_state_up=False)["status"] == "DOWN"
    assert neutron.update("port", port["id"], admin_state_up=True)["status"] == "ACTIVE"
