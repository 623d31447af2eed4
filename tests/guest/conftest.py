"""``pytest tests/guest --accept-golden`` writes what the code now gives into tests/golden; then read the diff."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-golden",
        action="store_true",
        help="write interface.xml (and a historic case's binding.json) in tests/golden anew",
    )


@pytest.fixture
def accept_golden(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--accept-golden", default=False))
