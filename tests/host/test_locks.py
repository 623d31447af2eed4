"""Locks across threads and processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vifplug.errors import Busy
from vifplug.host.locks import Locks

HOLDER = """
import sys
from pathlib import Path
from vifplug.host.locks import Locks
with Locks(Path(sys.argv[1])).vif("one", 0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_thread_waits_for_another(tmp_path: Path) -> None:
    locks, order = Locks(tmp_path), []
    held, waiting = threading.Event(), threading.Event()

    def first() -> None:
        with locks.vif("one", 0):
            held.set()
            waiting.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(10)
    with locks.try_vif("one") as free:
        assert not free
    with locks.vif("two", 0):  # another VIF waits for nobody
        pass
    waiting.set()
    with locks.vif("one", 10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_another_process_holds_until_it_dies(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match="VIF one is busy"), locks.vif("one", 0.05):
            pass
        holder.kill()
    with locks.vif("one", 0):
        pass


def test_named_locks_are_taken_together_and_say_which_was_held(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.named(["iptables"], 0):
        with pytest.raises(Busy, match="'iptables'"), locks.named(["ovsdb", "iptables"], 0.01):
            pass
        with locks.named(["ovsdb"], 0):  # what was taken before the one that failed is free again
            pass


def test_two_scripts_that_want_the_same_locks_never_wait_in_a_circle(tmp_path: Path) -> None:
    locks, done = Locks(tmp_path), []

    def work(names: list[str]) -> None:
        for _ in range(30):
            with locks.named(names, 30):
                done.append(names)

    threads = [threading.Thread(target=work, args=(names,)) for names in (["a", "b"], ["b", "a"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 60


def test_nothing_is_left_per_vif(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    for number in range(10):
        with locks.vif(f"vif {number}", 0):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
