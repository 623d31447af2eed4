"""Fixtures that every test may use."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trusted import TrustedDir
from world import World

_CLONE_NEWNET = 0x40000000
_WITH_GUESTS = {"libvirtd", "qemu", "types", "plumbing"}
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failure when it happens, not only at the end: a run that is cut short should still tell."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        last = report.longreprtext.strip().splitlines()[-1:]
        sys.stderr.write(f"\n{report.nodeid} ({report.when}): {' '.join(last)}\n")
        sys.stderr.flush()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that boot guests are a suite of their own."""
    for item in items:
        if item.path.parent.name in _WITH_GUESTS and item.get_closest_marker("slow"):
            item.add_marker("guests")


@pytest.fixture
def netns() -> Iterator[None]:
    """A fresh network namespace for this test: its thread, and every thread and process it starts."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _check(_libc.setns(before, _CLONE_NEWNET))
        os.close(before)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory of this test's own."""
    return tmp_path / "state"


@pytest.fixture
def world(netns: None) -> Iterator[World]:
    # /run belongs to root alone; pytest's own folders lie under the world-writable /tmp, and no script there is trusted
    folder = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))
    yield World(folder)
    shutil.rmtree(folder, onerror=_but_for_what_is_gone)


def _but_for_what_is_gone(_: object, __: str, raised: tuple[object, BaseException, object]) -> None:
    """A ledger that is closed just now takes its shared memory along."""
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


@pytest.fixture
def trusted_dir() -> Iterator[TrustedDir]:
    """A fresh directory under a chain that belongs to root alone, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))
    folder.chmod(0o755)
    yield TrustedDir(folder)
    shutil.rmtree(folder)
