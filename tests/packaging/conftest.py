"""What the tests of the packages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from debian import build


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The Debian packages: vifplug, and what Debian lacks for it."""
    into = tmp_path_factory.mktemp("packages")
    return [build("build-msgspec-deb", into), build("build-deb", into)]
