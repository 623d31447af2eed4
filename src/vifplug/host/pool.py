"""Side by side: a thread per busy VIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
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
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(affordable(workers), len(items)), thread_name_prefix="vifplug") as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            with interrupted():
                pool.shutdown(cancel_futures=True)
            raise
