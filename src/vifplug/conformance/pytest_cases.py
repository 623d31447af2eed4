"""The kit as test cases: each asserts for itself, in one shared place."""

from __future__ import annotations

import atexit
from collections.abc import Sequence

from .case import Result
from .cases import CASES
from .report import explained
from .session import Session, chosen
from .subject import Subject


class BoundCase:
    """One case over one subject. Call it to check it."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.name = name
        self.title = CASES[name].title

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    def result(self) -> Result:
        """Run it."""
        return self._session.run(self.name)

    def __call__(self) -> None:
        """Raises AssertionError with what was asked, what came and the contract's sentence."""
        result = self.result()
        if result.verdict == "not applicable":
            import pytest

            pytest.skip(result.reason)
        if result.verdict == "failed":
            raise AssertionError(explained(result))


def cases(subject: Subject, *, only: Sequence[str] = ()) -> list[BoundCase]:
    """Every case (or those of ``only``: names or topics) over ``subject``, for ``pytest.mark.parametrize(…, ids=str)``.

    They share one place, which is made for the first of them and gone with the process.
    """
    session = Session(subject)
    atexit.register(session.close)
    return [BoundCase(session, name) for name in chosen(only)]
