"""A VIF changed while its guest runs in a QEMU without libvirt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_shell import Shell
from daemons import until
from guests import ip
from machines import Machine
from one_guest import bridge, pings
from vifplug.errors import InvalidInput, NotPlugged, UpdateRefused
from vifplug.host import Host
from vifplug.qemu import Qmp, attach, detach, update
from world import World, binding, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ONE, ADDRESS, TAP = binding(1), "10.9.0.1", "tap00000001-7d"


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    bridge("br-lab", 0)
    world.on("plug", do="ip link set $VIF_DEVNAME master br-lab")
    with world.host() as host:
        yield host
    ip("link delete br-lab")


def test_a_booted_guest_s_link_goes_down_and_up(host: Host, tmp_path: Path) -> None:
    with Machine(tmp_path, boots=True) as machine, Qmp(machine.socket) as qmp:
        attach(host, qmp, ONE)
        machine.wait_said(ADDRESS)
        until(lambda: pings(ADDRESS))
        updated = update(host, qmp, {**ONE, "link_state": "down", "mtu": 1400})
        assert updated.changed and updated.device == f"vif-{ONE['id']}"
        assert not pings(ADDRESS, "-W0.3")
        assert links()[TAP].mtu == 1400
        update(host, qmp, ONE)
        until(lambda: pings(ADDRESS))
        assert not update(host, qmp, ONE).changed
        # one that is down is taken away as any other, and comes as it went
        update(host, qmp, {**ONE, "link_state": "down"})
        assert detach(host, qmp, ONE["id"]).unplugged
        attach(host, qmp, {**ONE, "link_state": "down"})
        machine.wait_said("eth0 is gone")
        assert not pings(ADDRESS, "-W0.3")
        update(host, qmp, ONE)
        until(lambda: pings(ADDRESS))


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"model": "e1000"}, UpdateRefused, "model"),
        ({"queues": 2}, UpdateRefused, "queues"),
        ({"bandwidth": {"inbound": {"average": 9}}}, InvalidInput, "bandwidth"),
    ],
)
def test_what_cannot_be_changed_is_refused_by_name(
    host: Host, tmp_path: Path, fields: dict[str, Any], error: type[Exception], named: str
) -> None:
    with Machine(tmp_path) as machine, Qmp(machine.socket) as qmp:
        attach(host, qmp, ONE)
        before = host.show(ONE["id"]).request
        with pytest.raises(error, match=named):
            update(host, qmp, {**ONE, **fields})
        assert host.show(ONE["id"]).request == before


def test_a_vif_that_qemu_has_not_is_to_be_attached(
    host: Host,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vifplug = Shell(world, capsys, monkeypatch)
    with Machine(tmp_path) as machine, Qmp(machine.socket) as qmp:
        host.plug(ONE)
        with pytest.raises(NotPlugged, match="QEMU has no device vif-.*: attach it"):
            update(host, qmp, ONE)
        attach(host, qmp, ONE)
        qmp.close()
        down = vifplug.file({**ONE, "link_state": "down"})
        assert vifplug("update", down, "--qmp", machine.socket).out == f"{ONE['id']} updated in QEMU\n"
        assert vifplug("update", down, "--qmp", machine.socket).out.endswith("just so; nothing to do\n")
