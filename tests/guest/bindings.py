"""Bindings for tests: a base to vary, and strategies that hold everything a hostile caller would try."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vifplug.model import Vif, read_binding

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
ADDRESS = "fa:16:3e:4c:1b:1b"
BASE = {"id": ID, "address": ADDRESS}


def read(**binding: Any) -> Vif:
    return read_binding(BASE | binding)


def texts() -> st.SearchStrategy[str]:
    """Any text, with what XML, shells and QEMU give a meaning to oftener than chance would."""
    markup = ["<", ">", "&", '"', "'", "]]>", "<!--", "&amp;", "&#0;", ",", "=", ",,", " "]
    beyond = ["\n", "\t", "\r", "\0", "é", "網", "\u2028", "\ufffe", "\U0001f701"]
    pieces = st.sampled_from(markup + beyond)
    return st.lists(pieces | st.text(max_size=3), max_size=6).map("".join)


def _names() -> st.SearchStrategy[str]:
    return st.from_regex(r"\A[A-Za-z0-9_.\-]{1,15}\Z") | st.sampled_from(["vnet0", "a@b", "tap0"]) | texts()


def _virtualports() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.fixed_dictionaries({"type": st.just("openvswitch")}, optional={"profile_id": texts()}),
        st.just({"type": "midonet"}),
        st.fixed_dictionaries(
            {
                "type": st.just("802.1Qbg"),
                "manager_id": st.integers(0, 255),
                "type_id": st.integers(0, 2**24 - 1),
                "type_id_version": st.integers(0, 255),
            },
            optional={"instance_id": st.uuids().map(str)},
        ),
        st.fixed_dictionaries({"type": st.just("802.1Qbh"), "profile_id": texts()}),
    )


def _vlans() -> st.SearchStrategy[Any]:
    tags = st.lists(st.integers(0, 4095), min_size=1, max_size=3, unique=True)
    trunks = tags.map(lambda found: {"tags": found, "trunk": True})
    natives = tags.map(lambda found: {"tags": found, "trunk": True, "native": found[0]})
    return st.integers(0, 4095) | trunks | natives


_DETAILS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "ethernet": {"made_by": st.sampled_from(["vifplug", "script", "libvirt"])},
    "bridge": {"bridge": _names(), "virtualport": _virtualports(), "vlan": _vlans()},
    "network": {"network": texts(), "portgroup": _names(), "virtualport": _virtualports(), "vlan": _vlans()},
    "direct": {
        "source_dev": _names(),
        "mode": st.sampled_from(["vepa", "bridge", "private", "passthrough"]),
        "virtualport": _virtualports(),
        "vlan": _vlans(),
    },
    "hostdev": {
        "pci_slot": st.from_regex(r"\A[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\Z"),
        "managed": st.booleans(),
        "vlan": _vlans(),
        "virtualport": _virtualports(),
    },
    "vhostuser": {
        "path": texts().map(lambda text: "/" + text),
        "mode": st.sampled_from(["client", "server"]),
        "reconnect": st.integers(0, 86400),
    },
    "vdpa": {"device": st.integers(0, 99).map("/dev/vhost-vdpa-{}".format)},
    "user": {
        "backend": st.sampled_from(["slirp", "passt"]),
        "source_dev": _names(),
        "log_file": texts().map(lambda text: "/" + text),
        "port_forwards": st.lists(
            st.fixed_dictionaries(
                {"proto": st.sampled_from(["tcp", "udp"]), "start": st.integers(1, 65535)},
                optional={
                    "end": st.integers(1, 65535),
                    "to": st.integers(1, 65535),
                    "address": st.ip_addresses().map(str),
                    "dev": _names(),
                },
            ),
            max_size=3,
        ),
    },
}
_REQUIRED = ("bridge", "network", "source_dev", "pci_slot", "path", "device")
_RATES = st.fixed_dictionaries(
    {"average": st.integers(1, 2**32 - 1)},
    optional={name: st.integers(1, 2**32 - 1) for name in ("peak", "burst", "floor")},
)
_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "devname": _names(),
    "mtu": st.integers(68, 65521),
    "queues": st.integers(1, 256),
    "model": st.sampled_from(["virtio", "virtio-transitional", "e1000e", "rtl8139"]) | texts(),
    "driver": st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["vhost", "qemu"]),
            "rx_queue_size": st.sampled_from([256, 512, 1024]),
            "tx_queue_size": st.sampled_from([256, 512, 1024]),
            "txmode": st.sampled_from(["iothread", "timer"]),
            **{name: st.booleans() for name in ("ioeventfd", "event_idx", "packed", "iommu", "ats")},
        },
    ),
    "bandwidth": st.fixed_dictionaries({}, optional={"inbound": _RATES, "outbound": _RATES}),
    "boot_order": st.integers(1, 65535),
    "alias": st.from_regex(r"\Aua-[A-Za-z0-9_\-]{1,20}\Z") | texts(),
    "link_state": st.sampled_from(["up", "down"]),
}


@st.composite
def bindings(draw: st.DrawFn) -> dict[str, Any]:
    """A binding of any type with few options, so that many are accepted; strings may be anything."""
    type_ = draw(st.sampled_from(sorted(_DETAILS)))
    known = _DETAILS[type_]
    needed = [name for name in _REQUIRED if name in known and not (type_ == "user" and name == "source_dev")]
    chosen = draw(st.sets(st.sampled_from(sorted(known)), max_size=2)) | set(needed)
    details = {name: draw(known[name]) for name in sorted(chosen)}
    options = draw(st.sets(st.sampled_from(sorted(_OPTIONS)), max_size=2))
    return {"vif_type": type_, "vif_details": details} | {
        name: draw(_OPTIONS[name]) for name in sorted(options)
    }
