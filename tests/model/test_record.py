"""A Vif as the ledger keeps it, and what differs between two."""

from __future__ import annotations

from typing import Any

import pytest

from model.binding_samples import binding
from vifplug.errors import InvalidInput
from vifplug.model import changed_fields, fold_reply, from_json, read_binding, to_json


def test_equal_vifs_give_equal_bytes_whatever_the_order_of_keys() -> None:
    given = binding(vif_details={"bridge": "b", "x": {"p": 1, "q": 2}})
    turned = dict(reversed(given.items()))
    turned["vif_details"] = {"x": {"q": 2, "p": 1}, "bridge": "b"}
    assert to_json(read_binding(given)) == to_json(read_binding(turned))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"id": 7}', b"\xff", b"[" * 100_000, b"null", b'{"id": "\\ud800"}']
)
def test_a_damaged_record_is_an_error_and_no_traceback(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        from_json(data)


def test_a_record_with_a_wrong_value_names_it() -> None:
    data = to_json(read_binding(binding())).replace(b'"bridge":"br-int","type"', b'"bridge":"br/int","type"')
    with pytest.raises(InvalidInput, match=r'^shape\.bridge: "br/int"'):
        from_json(data)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        (binding(), binding(), set()),
        (binding(), binding(mtu=1400), {"mtu"}),
        (binding(), binding(vif_details={"bridge": "br-ex"}), {"shape.bridge"}),
        (binding(), binding(vif_details={"bridge_name": "br-int"}), set()),
        (binding(), binding(vif_details={"bridge_name": "br-ex"}), {"shape.bridge"}),
        (binding(), binding(vif_details={"bridge": "br-int", "mtu": 1400}), {"mtu"}),
        (binding(), binding(vif_details={"bridge": "br-int", "tag": 5}), {"details.tag"}),
        (
            binding(vif_details={"bridge": "b", "qos": {"a": 1, "b": 2}}),
            binding(vif_details={"bridge": "b", "qos": {"a": 1, "b": 3}}),
            {"details.qos"},
        ),
        (
            binding(vif_details={"bridge": "b", "vlan": 7}),
            binding(vif_details={"bridge": "b", "vlan": 8}),
            {"shape.vlan"},
        ),
        (
            binding(bandwidth={"inbound": {"average": 1}}),
            binding(bandwidth={"inbound": {"average": 2}, "outbound": {"average": 1}}),
            {"bandwidth.inbound", "bandwidth.outbound"},
        ),
        (binding(), binding(vif_details={"bridge": "br-int", "vif_plug_script": "x"}), {"plug_script"}),
        (binding("user"), binding("vdpa"), {"shape.type", "shape.device"}),
        (binding(network={"subnets": []}), binding(network={"subnets": [{}]}), {"network.subnets"}),
        (binding(), binding(bandwidth={"inbound": {"average": 1}}), {"bandwidth.inbound"}),
        (binding(), binding(bandwidth={}), {"bandwidth"}),
        (binding(queues=1), binding(queues=4), {"queues"}),
        (binding(), binding(profile={"migrating_to": "b"}), {"profile.migrating_to"}),
    ],
)
def test_what_changed_is_named(old: dict[str, Any], new: dict[str, Any], names: set[str]) -> None:
    before, after = read_binding(old), read_binding(new)
    assert changed_fields(before, after) == names
    assert changed_fields(after, before) == names


def test_what_a_script_answered_differs_from_what_was_asked() -> None:
    vif = read_binding(binding())
    assert changed_fields(vif, fold_reply(vif, {"mtu": 1400, "bridge": "b"})) == {"mtu", "shape.bridge"}
