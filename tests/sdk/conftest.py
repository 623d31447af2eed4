"""Scripts written with the SDK, and what came of calling them."""

from __future__ import annotations

import pytest

from sdk_author import Author
from trusted import TrustedDir


@pytest.fixture
def author(trusted_dir: TrustedDir) -> Author:
    """Somebody who writes plug scripts, into a place that the host trusts."""
    return Author(trusted_dir)
