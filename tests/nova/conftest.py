"""The tests of the os-vif plugin against the real Nova, which ./dev nova-test installs.

The ordinary run has no Nova, and leaves out what needs it: ./dev nova-test runs them all.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

#: they need no Nova, and the ordinary run has them
_WITHOUT = {"test_nova_binding.py", "test_nova_patience.py"}
# this directory is called nova too; it is no package, so it has no origin
_spec = find_spec("nova")
_has_nova = _spec is not None and _spec.origin is not None
collect_ignore = [
    file.name
    for file in Path(__file__).parent.glob("test_*.py")
    if not _has_nova and file.name not in _WITHOUT
]


@pytest.fixture(scope="session")
def nova() -> None:
    """A process that has done what nova-compute does as it starts."""
    import nova_side

    nova_side.start()
