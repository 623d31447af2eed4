"""What a changed request asks of a VIF that is plugged."""

from __future__ import annotations

from typing import Any

import pytest

from vifplug.host.changes import How, plan
from vifplug.model import read_binding
from vifplug.script.contract import Info
from world import binding


def info(*fields: str) -> Info:
    return Info(name="s", verbs=["plug", "unplug", "update"], update_fields=list(fields))


def ovs(tag: int, **fields: Any) -> dict[str, Any]:
    details = {"bridge": "br0", "virtualport": {"type": "openvswitch"}, "vlan": tag}
    return binding(vif_type="bridge", vif_details=details, **fields)


@pytest.mark.parametrize(
    ("old", "new", "offers", "how", "refused"),
    [
        (binding(), binding(), info(), How.SAME, []),
        (binding(), binding(mtu=1400), None, How.RECORD, []),
        (binding(), binding(mtu=1400), info("mtu"), How.UPDATE, []),
        (binding(), binding(link_state="down"), info(), How.RECORD, []),
        (binding(), binding(bandwidth={"inbound": {"average": 9}}), info("bandwidth"), How.UPDATE, []),
        (binding(), binding(instance={"name": "vm"}), info(), How.RECORD, []),
        (binding(), binding(vif_details={"tag": 1}), info("details.tag"), How.UPDATE, []),
        (binding(), binding(vif_details={"tag": 1}), info("tag"), How.UPDATE, []),
        (binding(), binding(vif_details={"tag": 1}), info("details"), How.UPDATE, []),
        (binding(), binding(vif_details={"tag": 1}), info("other"), How.REPLUG, ["details.tag"]),
        (binding(), binding(vif_details={"tag": 1}), None, How.REPLUG, ["details.tag"]),
        (binding(script=None), binding(script=None, vif_details={"tag": 1}), None, How.RECORD, []),
        (binding(), binding(queues=4), info("details"), How.REPLACE, ["queues"]),
        (binding(), binding(devname="tapx"), info(), How.REPLACE, ["devname"]),
        (binding(), binding(script="other"), info(), How.REPLACE, ["plug_script"]),
        (ovs(1), ovs(2), info("vlan"), How.UPDATE, []),
        (ovs(1), ovs(2), info("details.mtu"), How.REPLACE, ["shape.vlan"]),
        (ovs(1), ovs(1, mtu=1400), info(), How.REPLACE, ["mtu"]),
        (ovs(1), ovs(1, mtu=1400), info("mtu"), How.UPDATE, []),
    ],
)
def test_a_change_is_carried_out_in_the_gentlest_way(
    old: dict[str, Any], new: dict[str, Any], offers: Info | None, how: How, refused: list[str]
) -> None:
    change = plan(read_binding(old), read_binding(new), offers)
    assert (change.how, change.refused) == (how, refused)


def test_fields_offered_without_the_verb_are_not_offered() -> None:
    offers = Info(name="s", verbs=["plug", "unplug"], update_fields=["details"])
    assert (
        plan(read_binding(binding()), read_binding(binding(vif_details={"tag": 1})), offers).how is How.REPLUG
    )
