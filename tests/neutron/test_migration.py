"""Two hosts, one port: live migration as Nova asks Neutron for it, and the port's status through it."""

from __future__ import annotations

import pytest

from neutron_server import NeutronServer
from vifplug.neutron import report
from vifplug.neutron.testing import ApiError

LINUX_BRIDGE = {
    "name": "linux-bridge",
    "trusted": True,
    "digest": None,
    "reason": None,
    "info": {"version": "2"},
}


def test_the_second_binding_is_ready_and_inactive(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    second = neutron.bind_to(port, "cmp2")
    assert (second["vif_type"], second["status"]) == ("ethernet", "INACTIVE")
    assert second["vif_details"]["vif_plug_script"] == "linux-bridge"
    now = neutron.read(port)
    assert (now["binding:host_id"], now["status"]) == ("cmp1", "ACTIVE")


def test_a_port_is_active_after_its_second_binding_was_activated(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    neutron.bind_to(port, "cmp2")
    neutron.activate(port, "cmp2")
    now = neutron.read(port)
    assert (now["binding:host_id"], now["binding:vif_type"], now["status"]) == ("cmp2", "ethernet", "ACTIVE")
    bindings = neutron.bindings(port)
    assert bindings["cmp2"]["status"] == "ACTIVE"
    assert (bindings["cmp1"]["status"], bindings["cmp1"]["vif_type"]) == ("INACTIVE", "unbound")


def test_there_and_back_and_the_old_binding_goes(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    for source, destination in (("cmp1", "cmp2"), ("cmp2", "cmp1"), ("cmp1", "cmp2")):
        neutron.bind_to(port, destination)
        neutron.activate(port, destination)
        neutron.call("DELETE", f"/v2.0/ports/{port['id']}/bindings/{source}")
        now = neutron.read(port)
        assert (now["binding:host_id"], now["status"]) == (destination, "ACTIVE")
        assert list(neutron.bindings(port)) == [destination]


def test_a_migration_that_failed_leaves_the_port_as_it_was(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    before = neutron.read(port)
    neutron.bind_to(port, "cmp2")
    neutron.call("DELETE", f"/v2.0/ports/{port['id']}/bindings/cmp2")
    after = neutron.read(port)
    for changing in ("updated_at", "revision_number"):
        before.pop(changing), after.pop(changing)
    assert after == before


def test_a_destination_without_the_script_is_refused_before_the_guest_moves(neutron: NeutronServer) -> None:
    neutron.report("bare", report.write([]))
    port = neutron.port(neutron.network(), "cmp1")
    with pytest.raises(ApiError, match="answers 500"):
        neutron.bind_to(port, "bare")
    assert list(neutron.bindings(port)) == ["cmp1"]


def test_a_port_that_is_deleted_takes_its_bindings_with_it(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    neutron.bind_to(port, "cmp2")
    neutron.call("DELETE", f"/v2.0/ports/{port['id']}")
    for table in ("ml2_port_bindings", "ml2_port_binding_levels"):
        assert neutron.sql(f"SELECT * FROM {table} WHERE port_id = ?", port["id"]) == []  # noqa: S608


def test_a_disabled_port_is_down_and_comes_up_again(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    assert neutron.update("port", port["id"], admin_state_up=False)["status"] == "DOWN"
    assert neutron.read(port)["status"] == "DOWN"
    assert neutron.update("port", port["id"], admin_state_up=True)["status"] == "ACTIVE"
    assert neutron.read(port)["status"] == "ACTIVE"


def test_a_port_that_waits_for_its_dhcp_entry_comes_up_with_it_and_not_before(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network())
    ((attribute,),) = neutron.sql("SELECT standard_attr_id FROM ports WHERE id = ?", port["id"])
    neutron.sql("INSERT INTO provisioningblocks (standard_attr_id, entity) VALUES (?, 'DHCP')", attribute)
    bound = neutron.update("port", port["id"], **{"binding:host_id": "cmp1"})
    assert (bound["binding:vif_type"], bound["status"]) == ("ethernet", "DOWN")
    neutron.dhcp_agent_is_ready(port)
    assert neutron.read(port)["status"] == "ACTIVE"


# --- a host whose agent plugs and reports ports itself --------------------------------------------


def test_where_an_agent_reports_the_port_it_is_the_agent_who_brings_it_up(neutron: NeutronServer) -> None:
    neutron.report("plugs", report.write([LINUX_BRIDGE], reports_status=True))
    port = neutron.port(neutron.network(), "plugs")
    assert (port["binding:vif_type"], port["status"]) == ("tap", "DOWN")
    neutron.agent_says(port, "plugs", up=True)
    assert neutron.read(port)["status"] == "ACTIVE"
    neutron.agent_says(port, "plugs", up=False)
    assert neutron.read(port)["status"] == "DOWN"
