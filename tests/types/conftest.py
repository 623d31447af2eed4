"""One guest for all tests of a test process, in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from one_guest import OneGuest, running


@pytest.fixture(scope="session")
def _guest() -> Iterator[OneGuest]:
    with running() as guest:
        yield guest


@pytest.fixture
def guest(_guest: OneGuest) -> Iterator[OneGuest]:
    """It runs, with no VIF but its own; the test is in its network namespace."""
    with _guest.entered():
        yield _guest
        _guest.clear()
