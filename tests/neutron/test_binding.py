"""Ports of a real Neutron, bound by configuration alone: what they are given, and why they are refused."""

from __future__ import annotations

from typing import Any

import pytest

from neutron_server import NeutronServer
from vifplug.neutron import report
from vifplug.neutron.testing import ApiError

DIGEST = "sha256:" + "3646a11b617a297e" * 4
INFO = {"version": "2", "protocols": [1], "vif_types": ["ethernet", "bridge"]}
SCHEMA = {
    "type": "object",
    "properties": {"vlan": {"type": ["integer", "null"], "minimum": 1, "maximum": 4094}, "bridge": {}},
}


def published(**changes: Any) -> dict[str, Any]:
    """What a host with linux-bridge tells, with changes to what the script says of itself."""
    info = INFO | {"details_schema": SCHEMA} | changes
    entry = {"name": "linux-bridge", "trusted": True, "digest": DIGEST, "reason": None, "info": info}
    return report.write([entry])


def failure(port: dict[str, Any]) -> str:
    """Why a port was not bound, as Neutron shows it."""
    assert port["binding:vif_type"] == "binding_failed"
    assert port["status"] == "DOWN"
    reason: str = port["binding:vif_details"]["binding_failure"]
    return reason


# --- what a port is given -------------------------------------------------------------------------


def test_a_port_is_bound_by_the_rule_of_its_segment(neutron: NeutronServer) -> None:
    network = neutron.network()
    port = neutron.port(network, "cmp1")
    assert port["binding:vif_type"] == "ethernet"
    assert neutron.read(port)["binding:vif_details"] == {
        "vif_plug_script": "linux-bridge",
        "bridge": "br-physnet1",
        "vlan": network["provider:segmentation_id"],
        "anti_spoofing": True,
        "create_bridge": True,
        "mtu": network["mtu"],
        "port_filter": False,
        "connectivity": "l2",
        "bound_drivers": {"0": "vifplug"},
    }


def test_what_is_answered_at_once_is_what_is_kept(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    kept = neutron.read(port)
    assert port["status"] == kept["status"] == "ACTIVE"
    for details in (port["binding:vif_details"], kept["binding:vif_details"]):
        details.pop("bound_drivers", None)  # Neutron's own, which older releases do not answer at once
    assert port["binding:vif_details"] == kept["binding:vif_details"]


def test_each_kind_of_network_has_its_own_script(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "vxlan"})
    details = neutron.port(network, "cmp1")["binding:vif_details"]
    assert details["vif_plug_script"] == "vxlan-bridge"
    assert details["vni"] == network["provider:segmentation_id"]


def test_the_vnic_type_chooses_a_rule_too(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "flat", "provider:physical_network": "physnet1"})
    macvtap = neutron.port(network, "cmp1", **{"binding:vnic_type": "macvtap"})
    assert macvtap["binding:vif_type"] == "direct"
    assert "vif_plug_script" not in macvtap["binding:vif_details"]
    normal = neutron.port(network, "cmp1")
    assert normal["binding:vif_type"] == "vhostuser"
    assert normal["binding:vif_details"]["path"] == f"/run/vhost/{normal['id']}"


def test_a_port_without_addresses_is_bound(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1", fixed_ips=[])
    assert port["fixed_ips"] == []
    assert port["binding:vif_type"] == "ethernet"


def test_a_port_without_a_host_waits(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network())
    assert (port["binding:vif_type"], port["status"]) == ("unbound", "DOWN")
    port = neutron.update("port", port["id"], **{"binding:host_id": "cmp1"})
    assert (port["binding:vif_type"], port["status"]) == ("ethernet", "ACTIVE")


def test_a_port_that_loses_its_host_is_down_and_unbound(neutron: NeutronServer) -> None:
    port = neutron.port(neutron.network(), "cmp1")
    port = neutron.update("port", port["id"], **{"binding:host_id": ""})
    assert (port["binding:vif_type"], port["status"]) == ("unbound", "DOWN")


def test_a_network_that_no_rule_is_for_is_left_to_other_drivers(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "vlan", "provider:physical_network": "physnet2"})
    port = neutron.port(network, "cmp1")
    assert port["binding:vif_type"] == "binding_failed"
    assert port["binding:vif_details"] == {}


# --- what a host has published --------------------------------------------------------------------


def test_a_host_that_has_the_script_is_bound(neutron: NeutronServer) -> None:
    neutron.report("good", published())
    assert neutron.port(neutron.network(), "good")["binding:vif_type"] == "ethernet"


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "lacks-it": (report.write([]), 'host lacks-it has no plug script "linux-bridge"'),
    "too-old": (published(version="1.9"), "has version 1.9, and at least 2 is needed"),
    "no-version": (published(version="newest"), "has version newest, and at least 2 is needed"),
    "other-types": (published(vif_types=["bridge"]), "serves VIF type bridge, not ethernet"),
    "other-contract": (published(protocols=[7]), "speaks version 7 of the plug-script contract"),
    "untrusted": (
        report.write(
            [
                {
                    "name": "linux-bridge",
                    "trusted": False,
                    "digest": None,
                    "reason": "it belongs to user 1000",
                    "info": None,
                }
            ]
        ),
        'would not run plug script "linux-bridge": it belongs to user 1000',
    ),
    "other-schema": (
        published(details_schema={"properties": {"bridge": {"enum": ["br0"]}}}),
        "does not take vif_details.bridge: 'br-physnet1' is not one of ['br0']",
    ),
    "elsewhere": (
        report.write([], physical_networks=["physnet7"]),
        'host elsewhere does not reach physical network "physnet1"; it reports physnet7',
    ),
    "unreadable": ({"scripts": []}, "what host unreadable reported cannot be read"),
}


@pytest.mark.parametrize("host", REFUSALS)
def test_a_host_that_could_not_plug_it_is_not_bound_and_the_reason_is_shown(
    neutron: NeutronServer, host: str
) -> None:
    configurations, reason = REFUSALS[host]
    neutron.report(host, configurations)
    port = neutron.port(neutron.network(), host)
    assert reason in failure(port)
    assert neutron.said(f"Port {port['id']} is not bound on host {host}: ")


def test_a_host_whose_agent_fell_silent_is_not_bound(neutron: NeutronServer) -> None:
    neutron.report("silent", published())
    neutron.sql("UPDATE agents SET heartbeat_timestamp = '2020-01-01 00:00:00.000000' WHERE host = 'silent'")
    assert "has not been heard of" in failure(neutron.port(neutron.network(), "silent"))


def test_a_host_that_is_disabled_is_not_bound(neutron: NeutronServer) -> None:
    neutron.report("disabled", published())
    (agent,) = neutron.call("GET", "/v2.0/agents?host=disabled")["agents"]
    neutron.update("agent", agent["id"], admin_state_up=False)
    assert "is disabled" in failure(neutron.port(neutron.network(), "disabled"))


def test_a_port_that_was_refused_is_bound_once_the_host_has_what_it_needs(neutron: NeutronServer) -> None:
    neutron.report("mended", report.write([]))
    port = neutron.port(neutron.network(), "mended")
    assert failure(port)
    neutron.report("mended", published())
    port = neutron.update("port", port["id"], name="again")  # Nova would bind it anew
    assert (port["binding:vif_type"], port["status"]) == ("ethernet", "ACTIVE")
    assert "binding_failure" not in port["binding:vif_details"]


def test_a_port_in_use_stays_bound_on_a_host_that_has_fallen_ill(neutron: NeutronServer) -> None:
    """Neutron binds it anew when its profile changes, as it does when Nova begins a live migration."""
    neutron.report("ill", published())
    port = neutron.port(neutron.network(), "ill")
    neutron.report("ill", report.write([]))
    for profile in ({"pci_vendor_info": "1137:0043"}, {}):
        neutron.update("port", port["id"], **{"binding:profile": profile})
        after = neutron.read(port)
        for key in ("binding:vif_type", "binding:vif_details", "status"):
            assert after[key] == port[key]
    assert neutron.said(f"Port {port['id']} stays bound on host ill as it was")
    moved = neutron.update("port", port["id"], **{"binding:host_id": "lacks-it-too"})
    assert moved["binding:vif_type"] == "ethernet"  # a host that has not reported
    back = neutron.update("port", port["id"], **{"binding:host_id": "ill"})
    assert 'host ill has no plug script "linux-bridge"' in failure(back)


def test_one_refusal_is_one_line_in_the_log(neutron: NeutronServer) -> None:
    neutron.report("once", report.write([]))
    port = neutron.port(neutron.network(), "once")
    assert neutron.log.count(f"Port {port['id']} is not bound on host once") == 1


def test_a_schema_that_is_none_binds_all_the_same(neutron: NeutronServer) -> None:
    neutron.report(
        "odd", published(details_schema={"type": 7, "properties": {"vlan": {"$ref": "http://192.0.2.1/"}}})
    )
    assert neutron.port(neutron.network(), "odd")["binding:vif_type"] == "ethernet"
    assert neutron.said('The schema of plug script "linux-bridge" on host odd is not usable')


# --- what Neutron itself could not keep -----------------------------------------------------------


def pairs(count: int) -> list[dict[str, str]]:
    return [{"ip_address": f"198.51.{n // 250}.{n % 250}"} for n in range(count)]


def test_details_that_neutron_could_not_keep_are_refused_with_their_size(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "vxlan"})
    kept = neutron.port(network, "cmp1", allowed_address_pairs=pairs(50))
    assert len(kept["binding:vif_details"]["allowed_address_pairs"]) == 50
    reason = failure(neutron.port(network, "cmp1", allowed_address_pairs=pairs(100)))
    assert "bytes as JSON, and Neutron keeps at most 4095" in reason
    assert 'the largest of them is "allowed_address_pairs"' in reason


def test_a_bound_port_keeps_its_details_where_new_ones_would_be_too_long(neutron: NeutronServer) -> None:
    network = neutron.network(**{"provider:network_type": "vxlan"})
    port = neutron.port(network, "cmp1", allowed_address_pairs=pairs(2))
    before = neutron.read(port)["binding:vif_details"]
    neutron.update("port", port["id"], allowed_address_pairs=pairs(100))
    assert neutron.read(port)["binding:vif_details"] == before
    assert neutron.said(f"Port {port['id']} keeps its details: what they would be now is refused")


def test_binding_on_a_host_that_cannot_is_an_error_of_the_second_binding(neutron: NeutronServer) -> None:
    neutron.report("cannot", report.write([]))
    port = neutron.port(neutron.network(), "cmp1")
    with pytest.raises(ApiError) as answer:
        neutron.bind_to(port, "cannot")
    assert answer.value.status == 500
    assert neutron.said(
        f'Port {port["id"]} is not bound on host cannot: host cannot has no plug script "linux-bridge"'
    )
    assert neutron.read(port)["status"] == "ACTIVE"
