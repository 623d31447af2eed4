"""vifplug attach, detach and domain as commands, with a real libvirtd, with vifplugd and without."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cli_shell import COMMAND, Shell, both_ways
from daemons import until
from hypervisor import Hypervisor, in_guest
from served import Served
from world import ID, TAP, World, binding, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ONE = binding(1)["id"]


@pytest.fixture
def through(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "library"))


@pytest.fixture
def vifplug(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, through: str
) -> Iterator[Shell]:
    shell = Shell(world, capsys, monkeypatch)
    if through == "library":
        yield shell
        return
    with Served(shell.config, shell.socket):
        yield shell


@pytest.fixture
def domain(hypervisor: Hypervisor, connection: Any) -> Any:
    return connection.defineXML(hypervisor.guest())


@both_ways
def test_from_a_binding_to_a_guest_and_back(vifplug: Shell, domain: Any) -> None:
    domain.create()
    file = vifplug.file(binding())
    ended = vifplug("attach", "guest", file)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"{ID} attached to guest: the running guest and the definition\n"
    assert vifplug("attach", "guest", file).out == f"{ID} is attached to guest just so; nothing to do\n"
    assert vifplug("attach", "guest", file, "--json").json["changed"] is False
    assert vifplug("domain", "guest", "--json").json == [
        {
            "id": ID,
            "devname": TAP,
            "type": "ethernet",
            "address": binding()["address"],
            "state": "plugged",
            "ready": False,
        }
    ]
    ended = vifplug("detach", "guest", "4c1b1b0a", "--wait", "0.2")
    assert ended.status == 75
    assert "the guest has not let go of it within 0.2 s" in ended.err and "--force" in ended.err
    assert links()[TAP].carrier
    ended = vifplug("detach", "guest", TAP, "--wait", "0.2", "--force")
    assert ended.status == 0
    assert "was unplugged though the guest holds its device" in ended.err
    assert "detached from the running guest and the definition" in ended.out and ended.out.endswith(
        "unplugged\n"
    )
    assert links() == {}


@both_ways
def test_a_definition_is_filled_started_shown_and_emptied(
    vifplug: Shell, domain: Any, hypervisor: Hypervisor
) -> None:
    file = vifplug.file([binding(1), binding(2)])
    ended = vifplug("domain", "guest", file, "--start")
    assert ended.status == 0
    assert [line.split() for line in ended.out.splitlines()] == [
        ["ID", "NOW"],
        [ONE, "added"],
        [binding(2)["id"], "added"],
        ["guest", "started"],
    ]
    assert len(in_guest(domain)) == 2
    assert vifplug("domain", "guest", "--start").out == "guest runs already; nothing to do\n"
    assert "plugged" in vifplug("domain", "guest").out
    hypervisor.crash("guest")
    until(lambda: not domain.isActive())
    assert vifplug("domain", "guest", vifplug.file([])).status == 0
    assert vifplug("domain", "guest").err == "domain guest has no VIF of vifplug's\n"
    assert links() == {}


@both_ways
def test_guests_are_watched_by_a_process_that_ends_when_told(
    vifplug: Shell, domain: Any, hypervisor: Hypervisor
) -> None:
    watcher = subprocess.Popen(
        [*COMMAND, "domain", "--watch"], stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    try:
        assert watcher.stderr is not None
        assert "watching the guests of qemu" in watcher.stderr.readline()
        assert vifplug("domain", "guest", vifplug.file([binding(1)]), "--start").status == 0
        hypervisor.crash("guest")
        assert f"VIF {ONE} unplugged" in watcher.stderr.readline()
        assert links() == {}
        watcher.send_signal(signal.SIGTERM)
        said = watcher.communicate(timeout=30)[1]
        assert (watcher.returncode, said) == (0, "")
    finally:
        watcher.kill()
        watcher.communicate()


def test_a_killed_libvirtd_is_told_as_such(vifplug: Shell, hypervisor: Hypervisor, domain: Any) -> None:
    hypervisor.kill()
    try:
        ended = vifplug("attach", "guest", vifplug.file(binding()))
    finally:
        hypervisor.start()
    assert ended.status == 69 and "libvirt does not answer" in ended.err
    assert links() == {}


def test_libvirts_own_words_come_once(vifplug: Shell, domain: Any) -> None:
    domain.create()
    refused = vifplug.file(binding(vif_type="bridge", vif_details={"bridge": "no-bridge"}))
    ended = subprocess.run(
        [*COMMAND, "attach", "guest", refused], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 71
    assert ended.stderr.count("no-bridge") == 1 and len(ended.stderr.splitlines()) == 1, sys.stderr
