"""Open vSwitch and OVN for one test, gone with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.ovs.switch import DpdkSwitch, OvnHost, Switch
from world import World


@pytest.fixture
def switch(world: World) -> Iterator[Switch]:
    switch = Switch(world)
    yield switch
    switch.stop_all()


@pytest.fixture
def ovn(world: World) -> Iterator[OvnHost]:
    ovn = OvnHost(world)
    yield ovn
    ovn.stop_all()


@pytest.fixture
def dpdk(world: World) -> Iterator[DpdkSwitch]:
    switch = DpdkSwitch(world)
    yield switch
    switch.stop_all()
