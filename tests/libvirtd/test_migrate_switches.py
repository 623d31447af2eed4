"""A guest that moves between networks of different kinds: Linux bridges here, Open vSwitch there, or on both hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from scripts.ovs.switch import Switch
from two_hosts import PORT, Movers, OneHost, Pinging, TwoHosts, two_hosts
from vifplug.libvirt import Phase
from world import binding

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

BRIDGED = binding(1, script="linux-bridge", vif_details={"bridge": "br-data"})
SWITCHED = binding(1, script="openvswitch", vif_details={"bridge": "br-int", "tag": 7})
TAP = f"tap{PORT[:11]}"


class Switches(Movers):
    """Movers between hosts with an Open vSwitch each; its VLAN 7 is joined to br-data."""

    switches: dict[int, Switch]

    def ports(self, one: OneHost) -> set[str]:
        return {name for name in self.switches[one.number].ports() if name.startswith("tap")}


def switch_on(one: OneHost) -> Switch:
    switch = Switch(one.world)
    one.place.do(switch.up)
    one.ip("link add join0 type veth peer name join1")
    one.ip("link set join0 master br-data up")
    one.ip("link set join1 up")
    switch.vsctl("add-port", "br-int", "join1", "tag=7")
    return switch


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[TwoHosts, dict[int, Switch]]]:
    with two_hosts() as pair, ExitStack() as running:
        switches = {}
        for one in pair.both:
            switches[one.number] = switch_on(one)
            running.callback(switches[one.number].stop_all)
            environment = f'{{ OVS_RUNDIR = "{switches[one.number].folder}" }}'
            one.start(f"[script.openvswitch]\nenvironment = {environment}\n", packaged=True)
        yield pair, switches


@pytest.fixture
def movers(pair: tuple[TwoHosts, dict[int, Switch]]) -> Iterator[Switches]:
    hosts, switches = pair
    with Switches.between(hosts) as movers:
        assert isinstance(movers, Switches)
        movers.switches = switches
        yield movers


def test_from_a_linux_bridge_to_open_vswitch_and_back(movers: Switches, record_property: Any) -> None:
    domain = movers.guest(BRIDGED, boots=True)
    pinging = Pinging(movers.pair)
    movers.move(domain, bindings=[SWITCHED])
    pinging.wait()
    assert movers.ports(movers.there) == {TAP}
    assert movers.is_there()
    domain = movers.there.domain(movers.connections[2])
    movers.move(domain, back=True, bindings=[BRIDGED])
    pinging.wait()
    record_property("pings", str(pinging.end()))
    assert movers.is_still_here()
    assert movers.ports(movers.there) == set()


def test_with_open_vswitch_both_ends_are_there_at_once_and_one_is_left(
    movers: Switches, record_property: Any
) -> None:
    domain = movers.guest(SWITCHED, boots=True)
    pinging = Pinging(movers.pair)
    both = []

    def on_phase(phase: Phase) -> None:
        both.append(all(movers.ports(one) == {TAP} for one in (movers.here, movers.there)))

    movers.move(domain, on_phase=on_phase)
    pinging.wait()
    record_property("pings", str(pinging.end()))
    assert dict(zip(Phase, both, strict=True)) == {
        Phase.ASKED: False,
        Phase.PLUGGED: True,
        Phase.MOVED: True,
        Phase.ACTIVATED: True,
        Phase.DONE: False,
    }
    assert movers.ports(movers.here) == set()
    row = movers.switches[2].row("Interface", TAP)
    assert row is not None and row["external_ids"]["iface-id"] == PORT
    assert movers.is_there()


def test_a_destination_whose_switch_does_not_run_leaves_the_guest_where_it_is(movers: Switches) -> None:
    domain = movers.guest(BRIDGED)
    switch = movers.switches[2]
    switch.stop("conf")
    try:
        with pytest.raises(Exception, match="destination"):
            movers.move(domain, bindings=[SWITCHED])
    finally:
        movers.there.place.do(switch.start_database)
    assert movers.is_still_here()
