"""Open vSwitch and OVN for one test, gone with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.ovs.switch import DpdkSwitch, OvnHost, Switch
from world import World


def _running(switch: Switch) -> Iterator[Switch]:
    try:
        switch.up()
        yield switch
    finally:
        switch.stop_all()


@pytest.fixture
def switch(world: World) -> Iterator[Switch]:
    yield from _running(Switch(world))


@pytest.fixture
def dpdk(world: World) -> Iterator[Switch]:
    yield from _running(DpdkSwitch(world))


@pytest.fixture
def ovn(world: World) -> Iterator[Switch]:
    yield from _running(OvnHost(world))
