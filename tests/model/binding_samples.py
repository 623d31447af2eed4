"""Good bindings of each type, by hand and by hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

PORT = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
MAC = "fa:16:3e:00:00:01"

DETAILS: dict[str, dict[str, Any]] = {
    "ethernet": {},
    "bridge": {"bridge": "br-int"},
    "network": {"network": "default"},
    "direct": {"source_dev": "eth1"},
    "hostdev": {"pci_slot": "0000:3b:00.1"},
    "vhostuser": {"path": "/run/vhost/vhu1"},
    "vdpa": {"device": "/dev/vhost-vdpa-0"},
    "user": {},
}


def binding(vif_type: str = "bridge", /, **changes: Any) -> dict[str, Any]:
    """A good binding of ``vif_type`` with some top-level keys changed."""
    return {
        "id": PORT,
        "vif_type": vif_type,
        "vif_details": dict(DETAILS.get(vif_type, {})),
        "address": MAC,
    } | changes


def port(vif_type: str = "bridge", /, **changes: Any) -> dict[str, Any]:
    """A port as Neutron's REST API shows it to an administrator (the attributes of its api-ref)."""
    return {
        "admin_state_up": True,
        "allowed_address_pairs": [],
        "binding:host_id": "compute-1",
        "binding:profile": {},
        "binding:vif_details": dict(DETAILS.get(vif_type, {}))
        | {
            "port_filter": True,
            "connectivity": "l2",
            "ovs_hybrid_plug": False,
            "datapath_type": "system",
            "bound_drivers": {"0": "openvswitch"},
        },
        "binding:vif_type": vif_type,
        "binding:vnic_type": "normal",
        "created_at": "2026-03-08T20:19:41Z",
        "data_plane_status": None,
        "description": "",
        "device_id": "5e3898d7-11be-483e-9732-b2f5eccd2b2e",
        "device_owner": "compute:nova",
        "dns_assignment": [{"hostname": "web", "ip_address": "10.0.0.7", "fqdn": "web.example.org."}],
        "dns_domain": "example.org.",
        "dns_name": "web",
        "extra_dhcp_opts": [{"opt_value": "pxelinux.0", "ip_version": 4, "opt_name": "bootfile-name"}],
        "fixed_ips": [
            {"subnet_id": "a0304c3a-4f08-4c43-88af-d796509c97d2", "ip_address": "10.0.0.7"},
            {"subnet_id": "008ba151-0b8c-4a67-98b5-0d2b87666062", "ip_address": "2001:db8::7"},
        ],
        "hardware_offload_type": "",
        "id": PORT,
        "ip_allocation": "immediate",
        "mac_address": MAC,
        "mac_learning_enabled": False,
        "name": "",
        "network_id": "a87cc70a-3e15-4acf-8205-9b711a3531b7",
        "port_security_enabled": True,
        "project_id": "7e02058126cc4950b75f9970368ba177",
        "propagate_uplink_status": False,
        "qos_network_policy_id": None,
        "qos_policy_id": None,
        "resource_request": None,
        "revision_number": 4,
        "security_groups": ["f0ac4394-7e4a-4409-9701-ba8be283dbc3"],
        "status": "DOWN",
        "tags": [],
        "tenant_id": "7e02058126cc4950b75f9970368ba177",
        "trusted": None,
        "updated_at": "2026-03-08T20:19:41Z",
    } | changes


# --- by hypothesis --------------------------------------------------------------------------

#: any text that a JSON file can hold, with the characters that make trouble drawn often
texts = st.text(max_size=40) | st.text(alphabet="\0\n\t\x1b\x7f<>&\"'/%.:\ud800\ufffea", max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
uuids = st.uuids().map(str)
macs = st.integers(0, 2**40 - 1).map(lambda n: "fa:" + ":".join(f"{b:02x}" for b in n.to_bytes(5, "big")))
device_names = st.from_regex(r"\A[A-Za-z0-9_.@][A-Za-z0-9_.\-@]{0,14}\Z").filter(
    lambda name: name not in (".", "..", "all", "default")
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30)
tags = st.integers(0, 4095)
vlans = (
    tags
    | tags.map(str)
    | st.builds(
        lambda found, native: (
            {"tags": found, "trunk": True}
            | ({"native": found[0], "native_mode": "untagged"} if native else {})
        ),
        st.lists(tags, min_size=1, max_size=4, unique=True),
        st.booleans(),
    )
)
ports = st.integers(1, 65535)


def _openvswitch() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just("openvswitch")}, optional={"interface_id": uuids, "profile_id": words}
    )


_SHAPES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ethernet": st.fixed_dictionaries({}, optional={"made_by": st.sampled_from(["vifplug", "libvirt"])}),
    "bridge": st.sampled_from(["bridge", "bridge_name"]).flatmap(
        lambda key: st.fixed_dictionaries(
            {key: device_names}, optional={"virtualport": _openvswitch(), "vlan": vlans}
        )
    ),
    "network": st.fixed_dictionaries(
        {"network": words.filter(lambda word: "/" not in word)},
        optional={"portgroup": words, "virtualport": _openvswitch(), "vlan": vlans},
    ),
    "direct": st.fixed_dictionaries(
        {"source_dev": device_names, "mode": st.just("passthrough")}, optional={"vlan": vlans}
    ),
    "hostdev": st.fixed_dictionaries(
        {}, optional={"pci_slot": st.just("0000:3B:00.1"), "managed": st.booleans(), "vlan": vlans}
    ),
    "vhostuser": st.fixed_dictionaries(
        {},
        optional={
            "path": st.just("/run/vhu 1"),
            "vhostuser_mode": st.sampled_from(["client", "server"]),
            "vhostuser_ovs_plug": st.booleans(),
        },
    ),
    "vdpa": st.fixed_dictionaries({}, optional={"device": st.just("/dev/vhost-vdpa-7")}),
    "user": st.fixed_dictionaries(
        {"backend": st.just("passt")},
        optional={
            "source_dev": device_names,
            "port_forwards": st.lists(
                st.fixed_dictionaries({"proto": st.sampled_from(["tcp", "udp"]), "start": ports}), max_size=3
            ),
        },
    ),
}
_EXTRA_DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "vif_plug_script": st.sampled_from(["linux-bridge", "/usr/bin/neutron-iovisor-vif-plug"]),
        "mtu": st.integers(68, 65521),
        "connectivity": st.just("l2"),
        "bound_drivers": st.just({"0": "ovn"}),
        "netlabel": words,
    },
)
_rates = st.fixed_dictionaries({"average": st.integers(1, 10**6)}, optional={"burst": st.integers(1, 10**6)})
_OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "address": macs | macs.map(str.upper),
    "devname": device_names,
    "mtu": st.integers(68, 65521),
    "driver": st.fixed_dictionaries({"name": st.sampled_from(["vhost", "qemu"]), "packed": st.booleans()}),
    "bandwidth": st.fixed_dictionaries({}, optional={"inbound": _rates, "outbound": _rates}),
    "boot_order": st.integers(1, 65535),
    "alias": st.just("ua-net0"),
    "link_state": st.sampled_from(["up", "down"]),
    "network": st.fixed_dictionaries(
        {},
        optional={
            "id": uuids,
            "label": words,
            "mtu": st.integers(68, 65521),
            "subnets": st.just(
                [{"cidr": "192.0.2.0/24", "gateway": "192.0.2.1", "addresses": ["192.0.2.7"]}]
            ),
        },
    ),
    "instance": st.fixed_dictionaries({}, optional={"id": uuids, "name": words}),
    "migration": st.just({"role": "source", "phase": "running"}),
    "vnic_type": st.just("normal"),
    "profile": st.just({"os_vif_delegation": True}),
}


@st.composite
def bindings(draw: st.DrawFn) -> dict[str, Any]:
    """A binding that must be accepted."""
    vif_type = draw(st.sampled_from(sorted(_SHAPES)))
    details = draw(_EXTRA_DETAILS) | draw(_SHAPES[vif_type])
    return {
        "id": draw(uuids | uuids.map(str.upper)),
        "vif_type": vif_type,
        "vif_details": details,
        **draw(st.fixed_dictionaries({}, optional=_OPTIONAL)),
    }
