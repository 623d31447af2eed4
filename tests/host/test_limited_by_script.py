"""A bandwidth that libvirt cannot keep, and a plug script can."""

from __future__ import annotations

from typing import Any

import pytest

from vifplug.errors import InvalidInput
from vifplug.guest import interface_xml, qemu_arguments
from vifplug.model import read_binding
from world import World, binding

LIMITS = {"outbound": {"average": 100}}


def socket(**fields: Any) -> dict[str, Any]:
    return binding(vif_type="vhostuser", vif_details={"path": "/run/switch/socket"}, **fields)


def test_a_script_that_offers_to_limit_is_told_the_limits_and_changes_them(world: World) -> None:
    world.info(verbs=["plug", "unplug", "check", "update"], update_fields=["bandwidth"])
    with world.host() as host:
        plugged = host.plug(socket(bandwidth=LIMITS))
        assert "bandwidth" not in plugged.xml
        host.update(socket(bandwidth={"outbound": {"average": 50}}))
        host.update(socket())
    assert world.asked() == ["plug", "update", "update"]
    told = [request["vif"].get("bandwidth") for request in world.requests()]
    assert told[:2] == [LIMITS, {"outbound": {"average": 50}}] and not told[2]


@pytest.mark.parametrize("info", [{}, {"verbs": ["plug", "unplug", "update"], "update_fields": ["mtu"]}])
def test_one_that_does_not_offer_it_is_not_asked_to_plug(world: World, info: dict[str, Any]) -> None:
    if info:
        world.info(**info)
    with (
        world.host() as host,
        pytest.raises(InvalidInput, match="bandwidth: .* the plug script recorder does not offer to"),
    ):
        host.plug(socket(bandwidth=LIMITS))
    assert world.asked() == []


def test_without_a_script_nobody_keeps_it() -> None:
    one = read_binding(
        binding(script=None, vif_type="vhostuser", vif_details={"path": "/run/s"}, bandwidth=LIMITS)
    )
    for shown in (interface_xml, qemu_arguments):
        with pytest.raises(InvalidInput, match="no device to shape; leave it out"):
            shown(one)


def test_qemu_gets_a_socket_that_the_script_limits() -> None:
    assert qemu_arguments(read_binding(socket(bandwidth=LIMITS))) == qemu_arguments(read_binding(socket()))
