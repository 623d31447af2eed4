"""Work that is done for all who wait."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vifplug.host.together import Together


def test_those_who_come_meanwhile_share_the_next_round() -> None:
    rounds: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int | BaseException]:
        rounds.append(items)
        if len(rounds) == 1:
            begun.set()
            assert go_on.wait(10)
        return [item * 2 for item in items]

    together = Together(work)
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(together.do, 0)
        assert begun.wait(10)
        others = [pool.submit(together.do, number) for number in range(1, 21)]
        while len(together._waiting) < 20:
            threading.Event().wait(0.001)
        go_on.set()
        assert first.result() == 0
        assert [other.result() for other in others] == [number * 2 for number in range(1, 21)]
    assert [len(items) for items in rounds] == [1, 20]


def test_an_error_among_the_answers_is_its_own_callers_alone() -> None:
    def work(items: list[int]) -> list[int | BaseException]:
        return [ValueError(item) if item == 1 else item for item in items]

    together = Together(work)
    assert together.do(2) == 2
    with pytest.raises(ValueError, match="1"):
        together.do(1)


def test_what_the_work_raises_all_of_the_round_get() -> None:
    def work(items: list[int]) -> list[int | BaseException]:
        raise OSError("no")

    together = Together(work)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            together.do(1)
