"""``vifplug migrate``: the command, between two hosts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from two_hosts import PORT, Movers, TwoHosts, two_hosts, wait
from vifplug.libvirt import Phase
from world import binding

pytestmark = [pytest.mark.slow, pytest.mark.real_root]


@pytest.fixture(scope="module")
def pair() -> Iterator[TwoHosts]:
    with two_hosts() as pair:
        for one in pair.both:
            one.start()
        yield pair


@pytest.fixture
def movers(pair: TwoHosts) -> Iterator[Movers]:
    with Movers.between(pair) as movers:
        yield movers


def command(movers: Movers, *more: str, **settings: object) -> subprocess.Popen[str]:
    here, there = movers.here.served, movers.there.served
    assert here is not None and there is not None
    named = ["--connect", movers.here.hypervisor.uri, "--socket", here.socket, "--there", there.socket]
    return subprocess.Popen(
        [sys.executable, "-m", "vifplug", "migrate", "guest", movers.there.hypervisor.uri, *named, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ran(movers: Movers, *more: str) -> tuple[int, str, str]:
    process = command(movers, *more)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def test_a_guest_moves_and_a_second_time_there_is_nothing_left_to_do(movers: Movers) -> None:
    movers.guest()
    status, out, err = ran(movers, "-v")
    assert (status, "with its VIF; moved in" in out) == (0, True), err
    assert "its VIFs are plugged there, and wait" in err
    assert movers.is_there()
    status, out, err = ran(movers, "--json")
    assert (status, json.loads(out)["vifs"]) == (0, [PORT]), err


def test_what_a_migration_left_that_died_is_done(movers: Movers) -> None:
    class Dead(Exception):
        pass

    def die(phase: Phase) -> None:
        if phase is Phase.MOVED:
            raise Dead

    domain = movers.guest()
    with pytest.raises(Dead):
        movers.move(domain, on_phase=die)
    assert ran(movers)[0] == 0
    assert movers.is_there()


def test_a_destination_that_cannot_take_it_says_why_in_one_line(movers: Movers) -> None:
    movers.guest()
    file = movers.here.world.folder / "bindings.json"
    file.write_text(json.dumps([binding(1, script="nowhere")]))
    status, _, err = ran(movers, str(file))
    assert status == 69
    assert err.startswith(f"vifplug: the destination cannot take VIF {PORT}: ") and "nowhere" in err
    assert len(err.splitlines()) == 1
    assert movers.is_still_here()


def test_a_domain_that_is_nowhere_is_named(movers: Movers) -> None:
    status, _, err = ran(movers)
    assert (status, "has no domain guest" in err) == (66, True)


def test_a_daemon_that_is_not_there_is_named(movers: Movers) -> None:
    movers.guest()
    status, _, err = ran(movers, "--there", "/nowhere/vifplugd.sock")
    assert (status, "/nowhere/vifplugd.sock" in err) == (69, True)
    assert movers.is_still_here()


def test_ctrl_c_leaves_the_guest_where_it_is(movers: Movers) -> None:
    domain = movers.guest(boots=True)
    process = command(movers, "--bandwidth", "1")
    wait(lambda: domain.jobStats().get("memory_processed", 0))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert movers.is_still_here()


def test_one_that_takes_too_long_is_cancelled_and_says_so(movers: Movers) -> None:
    movers.guest(boots=True)
    status, _, err = ran(movers, "--bandwidth", "1", "--cancel-after", "1", "--peer-to-peer")
    assert status == 71
    assert "was cancelled; its guest runs at the source as before" in err
    assert movers.is_still_here()
