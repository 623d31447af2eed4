"""One libvirtd for all tests of a test process, in a network namespace of its own; and a host in that."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import libvirt
import pytest

from hypervisor import Hypervisor, devices
from vifplug.host import Host
from vifplug.libvirt import connect
from world import World

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _entered(namespace: int) -> Iterator[None]:
    before = _namespace()
    try:
        assert _libc.setns(namespace, _CLONE_NEWNET) == 0
        yield
    finally:
        assert _libc.setns(before, _CLONE_NEWNET) == 0
        os.close(before)


@pytest.fixture(scope="session")
def _libvirtd() -> Iterator[tuple[Hypervisor, int]]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    folder = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))
    folder.chmod(0o755)
    before = _namespace()
    assert _libc.unshare(_CLONE_NEWNET) == 0
    namespace = _namespace()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hypervisor = Hypervisor(folder)
    hypervisor.start()
    assert _libc.setns(before, _CLONE_NEWNET) == 0
    os.close(before)
    yield hypervisor, namespace
    with _entered(namespace):
        hypervisor.stop()
    os.close(namespace)
    shutil.rmtree(folder)


@pytest.fixture
def hypervisor(_libvirtd: tuple[Hypervisor, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hypervisor]:
    """libvirtd, without guests; the test is in its network namespace, and what it makes there is gone afterwards."""
    found, namespace = _libvirtd
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", found.uri)
    with _entered(namespace):
        yield found
        found.clear()
        for name in devices():
            subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.fixture
def netns(hypervisor: Hypervisor) -> None:
    """The tests here are where libvirtd is."""


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    with world.host() as host:
        yield host


@pytest.fixture
def connection(hypervisor: Hypervisor) -> Iterator[Any]:
    with closing(connect()) as connection:
        yield connection


@pytest.fixture
def still(hypervisor: Hypervisor, connection: Any) -> Any:
    """A persistent domain whose guest runs, and never gets beyond its firmware."""
    domain = connection.defineXML(hypervisor.guest())
    domain.create()
    return domain
