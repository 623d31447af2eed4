"""What the kernel tells of its devices, as it happens."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vifplug.host.netlink import Link, Netlink
from vifplug.host.watch import LinkChange, LinkWatch

pytestmark = pytest.mark.usefixtures("netns")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def watch(netns: None) -> Iterator[LinkWatch]:
    with LinkWatch() as watch:
        yield watch


def until(watch: LinkWatch, told: Callable[[LinkChange], bool], seconds: float = 5) -> LinkChange:
    """The first change for which that holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for change in watch.next(end - time.monotonic()):
            if told(change):
                return change
    raise AssertionError("nothing was told")


def now() -> dict[int, Link]:
    with Netlink() as netlink:
        return {link.index: link for link in netlink.links()}


def caught_up(watch: LinkWatch) -> bool:
    """Whether what was told comes to what is."""
    while watch.next(0.05):
        pass
    return watch.links == now()


def test_what_is_there_is_known_from_the_start(watch: LinkWatch) -> None:
    assert [link.name for link in watch.links.values()] == ["lo"]
    assert watch.next(0) == []


def test_a_new_device_a_change_of_it_and_its_end_are_told(watch: LinkWatch) -> None:
    ip("link", "add", "br0", "type", "bridge")
    new = until(watch, lambda change: change.before is None).after
    assert new is not None
    assert (new.name, new.kind) == ("br0", "bridge")
    ip("link", "set", "br0", "mtu", "1400")
    changed = until(watch, lambda change: change.after is not None and change.after.mtu == 1400)
    assert changed.before is not None
    assert (changed.before.index, changed.before.mtu) == (new.index, 1500)
    ip("link", "set", "br0", "name", "br1")
    renamed = until(watch, lambda change: change.after is not None and change.after.name == "br1")
    assert renamed.before is not None
    assert renamed.before.name == "br0"
    ip("link", "delete", "br1")
    gone = until(watch, lambda change: change.after is None).before
    assert gone is not None
    assert (gone.index, gone.name) == (new.index, "br1")


def test_a_device_that_leaves_its_bridge_is_not_gone(watch: LinkWatch) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("tuntap", "add", "tap0", "mode", "tap")
    ip("link", "set", "tap0", "master", "br0")
    assert caught_up(watch)
    ip("link", "set", "tap0", "nomaster")
    change = until(watch, bool)
    assert change.before is not None
    assert change.after is not None
    assert (change.before.name, change.after.master) == ("tap0", None)


def test_a_bridge_that_goes_is_told_of_its_ports_too(watch: LinkWatch) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("tuntap", "add", "tap0", "mode", "tap")
    ip("link", "set", "tap0", "master", "br0")
    assert caught_up(watch)
    ip("link", "delete", "br0")
    until(
        watch,
        lambda change: change.after is not None and change.after.name == "tap0" and not change.after.master,
    )


def test_several_changes_that_wait_are_one(watch: LinkWatch) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "br0", "mtu", "1400")
    ip("link", "set", "br0", "mtu", "1300")
    [change] = watch.next(5)
    assert change.before is None
    assert change.after is not None
    assert change.after.mtu == 1300
    ip("link", "set", "br0", "mtu", "1400")
    ip("link", "set", "br0", "mtu", "1300")
    [change] = watch.next(5)  # who looked at it between the two found it otherwise
    assert change.before == change.after
    assert caught_up(watch)


def test_the_end_of_a_device_is_told_though_it_came_since_the_last_look(watch: LinkWatch) -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "br0", "alias", "somebody's")
    ip("link", "delete", "br0")
    gone = until(watch, lambda change: change.after is None).before
    assert gone is not None
    assert (gone.name, gone.alias) == ("br0", "somebody's")
    assert caught_up(watch)


def test_another_thread_can_wake_it(watch: LinkWatch) -> None:
    waker = threading.Thread(target=watch.wake)
    waker.start()
    started = time.monotonic()
    assert watch.next(60) == []
    assert time.monotonic() - started < 30
    waker.join()
    watch.wake()
    watch.wake()
    assert watch.next(60) == []


def test_what_the_kernel_had_to_drop_is_made_up_for() -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "add", "br1", "type", "bridge")
    with LinkWatch(buffer=1) as watch, Netlink() as netlink:
        for number in range(2000):
            netlink.set("br0", mtu=1280 + number % 100)
        netlink.delete([link.index for link in now().values() if link.name == "br1"])
        netlink.set("br0", mtu=1234)
        found = {change.before.name: change for change in watch.next(5) if change.before is not None}
        assert watch.overruns == 1
        assert found["br1"].after is None
        assert found["br0"].after is not None
        assert found["br0"].after.mtu == 1234
        assert caught_up(watch)
        netlink.set("br0", mtu=1400)  # and it goes on to hear
        until(watch, lambda change: change.after is not None and change.after.mtu == 1400)


def test_without_the_right_to_a_big_buffer_it_takes_what_it_may() -> None:
    code = """
import ctypes
libc = ctypes.CDLL(None)
class Header(ctypes.Structure): _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
assert libc.capset(ctypes.byref(Header(0x20080522, 0)), (ctypes.c_uint32 * 6)()) == 0
from vifplug.host.watch import LinkWatch
with LinkWatch() as watch:
    print([link.name for link in watch.links.values()])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['lo']\n"


Step = tuple[str, int, int]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    buffer=st.sampled_from([1, 8 << 20]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["add", "delete", "mtu", "up", "rename", "read"]),
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        max_size=40,
    ),
)
def test_whatever_happens_what_was_told_comes_to_what_is(buffer: int, steps: list[Step]) -> None:
    told: dict[int, Link] = now()
    with LinkWatch(buffer) as watch:

        def hear(timeout: float) -> bool:
            changes = watch.next(timeout)
            for change in changes:
                index = (change.before or change.after or told[-1]).index
                if change.after is None:  # that may be the first word of it
                    assert told.pop(index, change.before) == change.before
                else:
                    assert told.get(index) == change.before
                    told[index] = change.after
            return bool(changes)

        for what, one, other in steps:
            if what == "read":
                hear(0)
            else:
                _do(what, f"br{one}", f"br{other}", 1300 + other)
        while hear(0.02):
            pass
        assert told == watch.links == now()
    with Netlink() as netlink:
        netlink.delete([index for index, link in told.items() if link.name != "lo"])


def _do(what: str, one: str, other: str, mtu: int) -> None:
    words = {
        "add": ["add", one, "type", "bridge"],
        "delete": ["delete", one],
        "mtu": ["set", one, "mtu", str(mtu)],
        "up": ["set", one, "up"],
        "rename": ["set", one, "name", other],
    }
    subprocess.run(["ip", "link", *words[what]], check=False, capture_output=True)  # may be refused
