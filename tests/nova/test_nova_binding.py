"""What Nova knows of a VIF becomes a binding that vifplug takes, whatever Nova's configuration says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.errors import InvalidInput
from vifplug.guest import interface_xml
from vifplug.model import read_binding
from vifplug.nova.binding import add_guest, add_instance, binding_of, is_ours

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
DETAILS: dict[str, dict[str, Any]] = {
    "ethernet": {},
    "bridge": {"bridge": "br0"},
    "network": {"network": "default"},
    "direct": {"source_dev": "eth1"},
    "hostdev": {"pci_slot": "0000:05:00.1"},
    "vhostuser": {"path": "/run/s"},
    "vdpa": {"device": "/dev/vhost-vdpa-0"},
    "user": {},
}


def a_vif(vif_type: str = "ethernet", **fields: Any) -> dict[str, Any]:
    details = {"vif_plug_script": "s", **DETAILS.get(vif_type, {}), **fields.pop("details", {})}
    return {
        "id": ID,
        "address": "fa:16:3e:00:00:01",
        "type": vif_type,
        "vnic_type": "normal",
        "devname": "tap4c1b1b0a-7d",
        "network": {"id": "n", "label": "blue", "bridge": None, "subnets": [], "meta": {"mtu": 1450}},
        **fields,
        "details": details,
    }


rates = st.one_of(st.none(), st.integers(1, 10**6), st.integers(1, 10**6).map(str))
confs = st.builds(
    SimpleNamespace,
    model=st.sampled_from([None, "virtio", "e1000", "vmxnet3"]),
    driver_name=st.sampled_from([None, "vhost", "qemu"]),
    vhost_queues=st.one_of(st.none(), st.integers(1, 500)),
    vhost_rx_queue_size=st.sampled_from([None, 256, 512, 1024]),
    driver_packed=st.sampled_from([None, False, True]),
    vif_inbound_average=rates,
    vif_inbound_peak=rates,
    vif_inbound_burst=rates,
    vif_outbound_average=rates,
    vif_outbound_peak=rates,
    vif_outbound_burst=rates,
)
qos = st.dictionaries(
    st.sampled_from(["inbound", "outbound"]), st.fixed_dictionaries({"average": st.integers(1, 10**6)})
)


@given(st.sampled_from(sorted(DETAILS)), confs, st.sampled_from([None, 256, 512, 1024]), qos)
def test_no_setting_of_nova_s_makes_a_binding_that_its_type_refuses(
    vif_type: str, conf: SimpleNamespace, tx_queue_size: int | None, bandwidth: dict[str, Any]
) -> None:
    found = binding_of(a_vif(vif_type, details={"bandwidth": bandwidth}))
    add_guest(found, conf, tx_queue_size)
    if vif_type in ("vhostuser", "vdpa") and conf.model not in (None, "virtio"):
        with pytest.raises(InvalidInput, match="model"):  # the image's, and QEMU has no such device
            read_binding(found)
        return
    vif = read_binding(found)
    assert interface_xml(vif)
    assert vif.devname == "tap4c1b1b0a-7d"
    assert vif.network.mtu == 1450 and vif.mtu == 1450


def test_of_flavor_and_qos_the_lower_limit_holds() -> None:
    conf = SimpleNamespace(
        model=None, driver_name=None, vhost_queues=None, vhost_rx_queue_size=None, driver_packed=None,
        vif_inbound_average="100", vif_inbound_peak=None, vif_inbound_burst=None,
        vif_outbound_average=None, vif_outbound_peak="5", vif_outbound_burst=None,
    )  # fmt: skip
    found = binding_of(a_vif(details={"bandwidth": {"inbound": {"average": 99}}}))
    add_guest(found, conf, None)
    assert found["bandwidth"] == {
        "inbound": {"average": 99}
    }  # a peak without an average is no limit, as in Nova


def test_which_vifs_are_ours() -> None:
    for vif_type in DETAILS:
        assert is_ours(a_vif(vif_type))
    assert not is_ours(a_vif("bridge", details={"vif_plug_script": None}))
    assert not is_ours(a_vif("vhostuser", details={"vif_plug_script": ""}))
    assert is_ours(a_vif("ethernet", details={"vif_plug_script": None}))
    for other in ("ovs", "tap", "hostdev_physical", "macvtap", "binding_failed", "unbound", None, "nonsense"):
        assert not is_ours({**a_vif(), "type": other})
    assert not is_ours({"type": "bridge", "details": None})


def test_what_passes_is_left_out() -> None:
    found = binding_of(a_vif(profile={"migrating_to": "there", "trusted": "true"}, active=True))
    assert found["profile"] == {"trusted": "true"}
    assert "active" not in found


def test_the_instance_is_known_by_its_domain_s_name() -> None:
    class Info(SimpleNamespace):
        def __contains__(self, name: str) -> bool:
            return hasattr(self, name)

    found = binding_of(a_vif())
    add_instance(found, Info(uuid=ID, name="instance-00000001"))
    assert found["instance"] == {"id": ID, "name": "instance-00000001"}
