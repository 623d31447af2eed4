"""Fixtures for tests of scripts."""

from __future__ import annotations

import pytest

from callers import Caller
from trusted import TrustedDir


@pytest.fixture
def call(trusted_dir: TrustedDir) -> Caller:
    """Writes a script into a trusted place and calls it."""
    return Caller(trusted_dir)
