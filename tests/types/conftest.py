"""One guest for all tests of a test process, in a network namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from guests import ip
from one_guest import OneGuest, bridge, running


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


_NETWORKS = itertools.count(0x30)


@pytest.fixture
def network() -> int:
    """A network of the test's own: 10.9.N.0/24."""
    return next(_NETWORKS)


@pytest.fixture
def lab(guest: OneGuest, network: int) -> Iterator[int]:
    """The test's network, on the bridge br-lab, where the host is 10.9.N.100."""
    bridge("br-lab", network)
    yield network
    guest.clear()
    ip("link delete br-lab")
