"""Whoever moves a guest is killed, at every phase: afterwards it is at one of the two hosts, and both know that."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from two_hosts import Movers, TwoHosts, two_hosts, wait
from vifplug.libvirt import finish

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

#: where the guest is afterwards. Through libvirt's own connection, from host to host, a migration goes on without us
PHASES = {
    ("asked", False): "here",
    ("plugged", False): "here",
    ("moving", False): "here",
    ("moving", True): "there",
    ("moved", False): "there",
    ("moved", True): "there",
    ("activated", False): "there",
    ("done", False): "there",
}
each_phase = pytest.mark.parametrize(
    ("phase", "peer_to_peer"), PHASES, ids=[f"{phase}{' p2p' if p2p else ''}" for phase, p2p in PHASES]
)


@pytest.fixture(scope="module")
def pair() -> Iterator[TwoHosts]:
    with two_hosts() as pair:
        for one in pair.both:
            one.start(arrival_patience=3.0)
        yield pair


@pytest.fixture(scope="module")
def watched(pair: TwoHosts) -> TwoHosts:
    """With a Watcher at each host."""
    for one in pair.both:
        one.watch()
    return pair


@pytest.fixture
def movers(pair: TwoHosts) -> Iterator[Movers]:
    with Movers.between(pair) as movers:
        yield movers


def move_and_die(movers: Movers, phase: str, *, peer_to_peer: bool) -> None:
    assert movers.here.served is not None and movers.there.served is not None
    told = {
        "source": movers.here.hypervisor.uri,
        "destination": movers.there.hypervisor.uri,
        "here": movers.here.served.socket,
        "there": movers.there.served.socket,
        "die": phase,
        "peer_to_peer": peer_to_peer,
    }
    command = [sys.executable, "-m", "mover", json.dumps(told)]
    died = subprocess.run(command, cwd=Path(__file__).parents[1], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL


# the order matters: a Watcher stays once it is there


@pytest.mark.parametrize("phase", ["moved", "activated"])
def test_without_watchers_finish_does_what_was_left(movers: Movers, phase: str) -> None:
    movers.guest()
    move_and_die(movers, phase, peer_to_peer=False)
    assert movers.there.runs() and not movers.is_there()
    domain = movers.there.domain(movers.connections[2])
    finish(movers.hosts[1], movers.connections[1], movers.hosts[2], domain)
    assert movers.is_there()


@pytest.mark.parametrize("phase", ["plugged", "moving"])
def test_the_same_again_after_a_migration_that_died(movers: Movers, phase: str) -> None:
    domain = movers.guest(boots=phase == "moving")
    move_and_die(movers, phase, peer_to_peer=False)
    wait(lambda: not movers.there.has())
    movers.move(domain)
    assert movers.is_there()


@each_phase
def test_both_hosts_agree_after_a_while(
    watched: TwoHosts, movers: Movers, phase: str, peer_to_peer: bool
) -> None:
    movers.guest(boots=phase == "moving")
    move_and_die(movers, phase, peer_to_peer=peer_to_peer)
    agreed = movers.is_still_here if PHASES[phase, peer_to_peer] == "here" else movers.is_there
    wait(agreed, 60)
    movers.here.world.asked()  # nothing more is to come
    assert agreed()
