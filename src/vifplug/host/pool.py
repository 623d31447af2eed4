"""Side by side: a thread per busy VIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from threading import Condition
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


#: descriptors that one at work may hold: its lock, a script's input and output, a netlink socket, a step of a path
_EACH = 10
#: and those of the rest of the process
_OURS = 64


def affordable(workers: int) -> int:
    """``workers``, or as many as this process may open files for (RLIMIT_NOFILE, getrlimit(2))."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return workers if soft == RLIM_INFINITY else max(1, min(workers, (soft - _OURS) // _EACH))


def side_by_side(
    work: Callable[[Item], Answer],
    items: Sequence[Item],
    workers: int,
    interrupted: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[Answer]:
    """Do it for all, at most ``workers`` at once, as far as affordable; the answers in the order of the items.

    When an exception such as Ctrl-C comes, it begins no more, and waits for what is under way in the
    context ``interrupted``.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor, wait

    at_work = _AtWork()

    def one(item: Item) -> Answer:
        with at_work:
            return work(item)

    with ThreadPoolExecutor(min(affordable(workers), len(items)), thread_name_prefix="vifplug") as pool:
        try:
            futures = [pool.submit(one, item) for item in items]
            waiting = set(futures)
            while waiting:  # never long: a wait without end may miss the signal that should end it
                waiting = wait(waiting, timeout=0.5).not_done
            return [future.result() for future in futures]
        except BaseException:
            at_work.stop()
            with interrupted():
                pool.shutdown(cancel_futures=True)
                at_work.wait()
            raise


class _AtWork:
    """How many are under way. The pool forgets a thread in whose start an interrupt came; this does not."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._count = 0
        self._stopped = False

    def __enter__(self) -> None:
        with self._changed:
            if self._stopped:
                raise InterruptedError("begun after an interrupt")
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """From now on none begins."""
        with self._changed:
            self._stopped = True

    def wait(self) -> None:
        """Until none is under way."""
        with self._changed:
            while self._count:
                self._changed.wait(0.5)
