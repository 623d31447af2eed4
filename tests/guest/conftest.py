"""``pytest tests/guest --accept-golden`` writes what the code now gives into tests/golden: read the diff."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-golden",
        action="store_true",
        help="write binding.json and interface.xml in tests/golden anew, from what the code gives",
    )


@pytest.fixture
def accept_golden(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--accept-golden", default=False))
