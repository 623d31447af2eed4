"""When the keeper tries again."""

from __future__ import annotations

import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.daemon.lanes import Lanes
from vifplug.daemon.patience import Trouble, back_off, debt_wait
from vifplug.host import Record, State
from vifplug.model.vif import Ethernet, Vif

VIF = Vif(id="4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01", shape=Ethernet(), devname="tap1")
DEBT = Record(
    id=VIF.id, state=State.DEBT, generation=1, vif=VIF, request=VIF, boot_id="boot", attempts=1,
    created=1000.0, changed=1000.0,
)  # fmt: skip


def test_attempts_are_ten_seconds_apart_then_twice_that_and_never_more_than_an_hour() -> None:
    assert [back_off(failures) for failures in (1, 2, 3, 9, 10, 10**9)] == [10, 20, 40, 2560, 3600, 3600]


@given(attempts=st.integers(0, 2**62), now=st.floats(0, 1e12))
def test_a_debt_is_due_within_the_hour_whatever_the_clock_says(attempts: int, now: float) -> None:
    debt = msgspec.structs.replace(DEBT, attempts=attempts)
    assert 0 <= debt_wait(debt, now) <= 3600
    assert debt_wait(debt, 1000.0 + 3600) == 0


def test_a_debt_is_due_when_its_wait_since_the_last_attempt_is_over() -> None:
    assert debt_wait(DEBT, 1004.0) == 6
    assert debt_wait(DEBT, 1010.0) == 0
    assert debt_wait(msgspec.structs.replace(DEBT, attempts=3), 1010.0) == 30
    assert debt_wait(DEBT, 500.0) == 0  # the clock was set back


def test_a_few_repairs_are_no_fight() -> None:
    trouble = Trouble()
    for now in range(4):
        trouble.repaired(now)
        assert trouble.wait(now) == 0


def test_many_repairs_in_a_minute_are_a_fight_from_which_we_withdraw_longer_each_time() -> None:
    trouble, now = Trouble(), 1000.0
    for _ in range(5):
        trouble.repaired(now)
    waits = []
    for _ in range(9):
        waits.append(trouble.wait(now))
        now += waits[-1] + 1
        assert trouble.wait(now) == 0
        trouble.repaired(now)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_fight_that_is_over_is_forgotten() -> None:
    trouble = Trouble()
    for _ in range(5):
        trouble.repaired(0)
    assert not trouble.is_over(100)
    assert trouble.is_over(121)
    trouble.repaired(200)
    assert trouble.wait(200) == 0


def test_a_repair_that_fails_is_tried_again_later_and_later_until_it_succeeds() -> None:
    trouble, now, waits = Trouble(), 0.0, []
    for _ in range(3):
        waits.append(trouble.failed(now))
        now += waits[-1]
        assert trouble.wait(now) == 0
    assert waits == [10, 20, 40]
    trouble.repaired(now)
    assert trouble.failed(now) == 10


# --- lanes ---------------------------------------------------------------------------------------


class Hang:
    """Work that hangs until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.let_go.wait()


def test_a_lane_that_hangs_delays_no_other_lane() -> None:
    lanes, hang, done = Lanes("test", 4, 2), Hang(), threading.Semaphore(0)
    for number in range(10):
        lanes.submit("stuck", number, hang)
    assert hang.begun.wait(5)
    for number in range(10, 20):
        assert lanes.submit("well", number, done.release)
    for _ in range(10):
        assert done.acquire(timeout=5)
    assert not lanes.stop(0)
    hang.let_go.set()
    assert lanes.stop(5)


def test_never_more_at_once_than_in_all_and_in_one_lane() -> None:
    lanes, guard, go_on, done = (
        Lanes("test", 5, 2),
        threading.Lock(),
        threading.Event(),
        threading.Semaphore(0),
    )
    at_work: dict[str, int] = {}
    most: dict[str, int] = {}
    full = threading.Event()

    def work(lane: str) -> None:
        with guard:
            for name in (lane, "all"):
                at_work[name] = at_work.get(name, 0) + 1
                most[name] = max(most.get(name, 0), at_work[name])
            if at_work["all"] == 5:
                full.set()
        go_on.wait()
        with guard:
            for name in (lane, "all"):
                at_work[name] -= 1
        done.release()

    for number in range(30):
        lane = "abc"[number % 3]
        lanes.submit(lane, number, lambda lane=lane: work(lane))  # type: ignore[misc]
    assert full.wait(5)
    go_on.set()
    for _ in range(30):
        assert done.acquire(timeout=5)
    assert most.pop("all") == 5
    assert max(most.values()) == 2
    assert lanes.stop(5)


def test_the_same_work_waits_once() -> None:
    lanes, hang = Lanes("test", 1, 1), Hang()
    assert lanes.submit("", "key", hang)
    assert not lanes.submit("", "key", lambda: None)
    assert lanes.submit("", "other", lambda: None)
    assert not lanes.submit("", "other", lambda: None)
    hang.let_go.set()
    assert lanes.stop(5)
    assert not lanes.submit("", "key", lambda: None)


def test_what_waits_when_it_is_stopped_is_not_begun() -> None:
    lanes, hang, begun = Lanes("test", 1, 1), Hang(), threading.Event()
    lanes.submit("", 1, hang)
    lanes.submit("", 2, begun.set)
    assert hang.begun.wait(5)
    assert not lanes.stop(0)
    hang.let_go.set()
    assert lanes.stop(5)
    assert not begun.is_set()


def test_work_that_raises_takes_no_thread_with_it(caplog: pytest.LogCaptureFixture) -> None:
    lanes, done = Lanes("test", 1, 1), threading.Event()
    lanes.submit("", "bad", lambda: 1 // 0)
    lanes.submit("", "good", done.set)
    assert done.wait(5)
    assert lanes.stop(5)
    assert "ZeroDivisionError" in caplog.text


def test_without_a_thread_to_do_it_the_work_is_refused_and_may_be_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lanes, done = Lanes("test", 1, 1), threading.Event()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            lanes.submit("", "key", done.set)
    other = threading.Event()
    assert lanes.submit("other", "other", other.set)
    assert lanes.submit("", "key", done.set)
    assert other.wait(5)
    assert done.wait(5)
    assert lanes.stop(5)
