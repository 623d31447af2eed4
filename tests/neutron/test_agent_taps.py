"""Nova's taps, as the agent hears of them from the kernel."""

from __future__ import annotations

import queue
import subprocess
from collections.abc import Iterator

import pytest

from vifplug.neutron.agent.later import Later
from vifplug.neutron.agent.taps import Taps, name_of, start_of_id

TAP = "tap4c1b1b0a-7d"
PATIENCE = 20.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def heard() -> queue.Queue[set[str] | None]:
    """What it was told: names, or None where all is to be looked at."""
    return queue.Queue()


@pytest.fixture
def taps(netns: None, heard: queue.Queue[set[str] | None]) -> Iterator[Taps]:
    taps = Taps(heard.put, lambda: heard.put(None))
    taps.start()
    assert heard.get(timeout=PATIENCE) is None
    yield taps
    taps.stop()
    taps.join()


def test_a_port_and_its_tap_know_each_other() -> None:
    assert name_of("4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01") == TAP
    assert start_of_id(TAP) == "4c1b1b0a-7d"
    assert [start_of_id(name) for name in ("tap0", "eth0", "tap4c1b1b0a_7d", "qbr4c1b1b0a-7d")] == [None] * 4


def test_taps_that_come_and_go_are_heard_of_and_no_other_device(
    taps: Taps, heard: queue.Queue[set[str] | None]
) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("tuntap", "add", "tap0", "mode", "tap")
    ip("tuntap", "add", TAP, "mode", "tap")
    assert heard.get(timeout=PATIENCE) == {TAP}
    assert taps.link(TAP) is not None
    assert taps.names() == {TAP}
    ip("link", "delete", TAP)
    assert heard.get(timeout=PATIENCE) == {TAP}
    assert taps.link(TAP) is None


def test_one_made_anew_under_its_name_is_heard_of(taps: Taps, heard: queue.Queue[set[str] | None]) -> None:
    ip("tuntap", "add", TAP, "mode", "tap")
    assert heard.get(timeout=PATIENCE) == {TAP}
    before = taps.link(TAP)
    ip("link", "delete", TAP)
    ip("tuntap", "add", TAP, "mode", "tap")
    assert heard.get(timeout=PATIENCE) == {TAP}
    while (now := taps.link(TAP)) is None or now == before:
        assert heard.get(timeout=PATIENCE) == {TAP}


def test_taps_are_heard_of_whatever_became_of_the_last(
    netns: None, heard: queue.Queue[set[str] | None]
) -> None:
    bugs = [ValueError("a bug")]

    def fail_once(names: set[str]) -> None:
        heard.put(names)
        if bugs:
            raise bugs.pop()

    taps = Taps(fail_once, lambda: heard.put(None))
    taps.start()
    try:
        assert heard.get(timeout=PATIENCE) is None
        ip("tuntap", "add", TAP, "mode", "tap")
        assert heard.get(timeout=PATIENCE) == {TAP}
        assert heard.get(timeout=PATIENCE) is None, "what came meanwhile nobody told of: all is looked at"
        ip("link", "delete", TAP)
        assert heard.get(timeout=PATIENCE) == {TAP}
    finally:
        taps.stop()
        taps.join()


def test_what_is_to_be_done_later_is_done_once_at_the_soonest_time_asked_for() -> None:
    done: queue.Queue[str] = queue.Queue()
    later = Later()
    later.start()
    later.call(3600.0, "one", lambda: done.put("late"))
    later.call(0.01, "one", lambda: done.put("soon"))
    later.call(0.0, "bad", lambda: 1 / 0)
    later.call(0.02, "two", lambda: done.put("after"))
    assert [done.get(timeout=PATIENCE) for _ in range(2)] == ["soon", "after"]
    later.stop()
