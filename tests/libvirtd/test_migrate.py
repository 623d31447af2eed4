"""A guest moved between two hosts while it runs: the network follows it, and a failure leaves both hosts as they were."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from two_hosts import Pinging, TwoHosts, wait
from vifplug.libvirt import define, migrate, start
from world import binding

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ONE = binding(1)["id"]
ADDRESS = "10.9.0.1"


@pytest.fixture(scope="module")
def pair() -> Iterator[TwoHosts]:
    folder = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))
    folder.chmod(0o755)
    with TwoHosts(folder) as pair:
        for one in pair.both:
            one.start()
        yield pair
    shutil.rmtree(folder)


@pytest.fixture
def hosts(pair: TwoHosts) -> Iterator[TwoHosts]:
    """Without guests and VIFs."""
    yield pair
    for one in pair.both:
        one.hypervisor.clear()
        with one.host as host:
            host.unplug_all()
        one.world.on("plug", do="ip link set $VIF_DEVNAME master br-data")
        one.world.on("activate")
        (one.world.backend / "log").unlink(missing_ok=True)


def test_a_pinging_guest_moves_and_its_network_with_it(hosts: TwoHosts) -> None:
    with hosts.here.connected() as here, hosts.there.connected() as there, hosts.here.host as host, hosts.there.host as destination:
        domain = here.defineXML(hosts.here.hypervisor.guest(boots=True))
        define(host, domain, [binding(1)])
        start(host, domain)
        hosts.here.hypervisor.wait_said("guest", ADDRESS)
        pinging = Pinging(hosts.here, ADDRESS)
        import time
        time.sleep(2)
        moved = migrate(host, domain, destination, there)
        time.sleep(2)
        print(moved, pinging.end())
    assert hosts.there.is_home(ONE)
    assert hosts.here.is_clean()
