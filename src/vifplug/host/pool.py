"""Side by side: a thread per busy VIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(
    work: Callable[[Item], Answer],
    items: Sequence[Item],
    workers: int,
    interrupted: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[Answer]:
    """Do it for all, at most ``workers`` at once; the answers in the order of the items.

    When an exception such as Ctrl-C comes, it begins no more, and waits for what is under way in the
    context ``interrupted``.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="vifplug") as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            with interrupted():
                pool.shutdown(cancel_futures=True)
            raise
