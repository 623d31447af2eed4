"""Asking vifplugd again while it says that it is no more than busy, being restarted, or away."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import Busy, DaemonUnreachable, LedgerReplaced, Stopping, TooBusy, VifplugError

_LOG = logging.getLogger(__name__)

#: after each of these the same request may be sent again: nothing was begun, or the same answer comes
PASSING = (DaemonUnreachable, TooBusy, Stopping, Busy, LedgerReplaced)
#: seconds between two tries, from first to last
_FIRST, _LAST = 0.1, 5.0

Answer = TypeVar("Answer")


def persistently(ask: Callable[[], Answer], seconds: float) -> Answer:
    """What ``ask`` answers, tried for ``seconds`` where its error passes by itself; then that error is raised."""
    ends = time.monotonic() + seconds
    pause = _FIRST
    while True:
        try:
            return ask()
        except PASSING as error:
            wait = _until_again(error, pause)
            if time.monotonic() + wait > ends:
                raise
            _LOG.warning("%s — tried again in %.1f s", error.message, wait)
            time.sleep(wait)
            pause = min(pause * 2, _LAST)


def _until_again(error: VifplugError, pause: float) -> float:
    """Seconds; what the daemon says, else ever longer. Never all at once: many threads may wait."""
    told = error.context.get("retry_after")
    wait = min(float(told), _LAST) if isinstance(told, int | float) else pause
    return wait * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)
