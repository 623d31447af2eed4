"""What happens, told while it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal

from .results import Step

OnStep = Callable[[Step], None]


class Steps:
    """Tells a listener of each step of one VIF's way: when it begins, when it ends, or that it failed."""

    def __init__(self, vif_id: str, listener: OnStep | None) -> None:
        self._vif_id = vif_id
        self._listener = listener

    @contextlib.contextmanager
    def step(self, name: str, text: str = "") -> Iterator[None]:
        listener = self._listener
        if listener is None:
            yield
            return

        def tell(phase: Literal["begin", "end", "failed"], seconds: float, text: str) -> None:
            listener(Step(vif_id=self._vif_id, name=name, phase=phase, seconds=seconds, text=text))

        tell("begin", 0.0, text)
        started = time.monotonic()
        try:
            yield
        except BaseException as error:
            tell("failed", time.monotonic() - started, str(error))
            raise
        tell("end", time.monotonic() - started, text)
