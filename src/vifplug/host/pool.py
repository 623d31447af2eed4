"""Side by side: a thread per busy VIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(work: Callable[[Item], Answer], items: Sequence[Item], workers: int) -> list[Answer]:
    """Do it for all, at most ``workers`` at once; the answers in the order of the items."""
    if len(items) <= 1:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="vifplug") as pool:
        return list(pool.map(work, items))
