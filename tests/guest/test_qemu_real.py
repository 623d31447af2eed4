"""A real QEMU starts with the arguments and shows the NIC as it was bound. No guest runs in it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guest.bindings import ADDRESS, ID, read
from vifplug.guest import qemu_arguments

pytestmark = pytest.mark.slow

QEMU = "qemu-system-x86_64"
INSTALL = "install it with: apt-get install --no-install-recommends qemu-system-x86"
# memory shared, as vhost-user needs it; the boot ROM of the cards is in a package of its own
MACHINE = [
    "-nodefaults", "-machine", "q35,accel=tcg,memory-backend=ram", "-m", "64",
    "-object", "memory-backend-memfd,id=ram,size=64M,share=on",
    "-global", "virtio-net-pci.romfile=", "-global", "e1000e.romfile=",
    "-S", "-display", "none", "-monitor", "none", "-qmp", "stdio",
]  # fmt: skip


class Qmp:
    """QEMU's monitor on its stdin and stdout."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"QEMU ended: {self.process.communicate()[1]}"
        found: dict[str, Any] = json.loads(line)
        return found

    def greet(self) -> None:
        assert "QMP" in self._read()
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        while "event" in (answer := self._read()):
            pass
        assert "return" in answer, answer
        return answer["return"]


@contextmanager
def qemu(arguments: list[str]) -> Iterator[Qmp]:
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            [QEMU, *MACHINE, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
    except FileNotFoundError:
        raise AssertionError(f"{QEMU} is not here; {INSTALL}") from None
    with process:
        try:
            yield Qmp(process)
        finally:
            process.kill()


def tap(name: str, *options: str) -> None:
    subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tap", *options], check=True)


def test_qemu_opens_the_tap_and_shows_the_nic_with_its_address_and_mtu(netns: None) -> None:
    tap("tap4c1b1b0a-7d")
    vif = read(
        vif_type="ethernet", mtu=1450, alias="ua-uplink", driver={"packed": True, "rx_queue_size": 512}
    )
    with qemu(qemu_arguments(vif)) as qmp:
        qmp.greet()
        (nic,) = qmp("query-rx-filter", name="ua-uplink")
        assert nic["main-mac"] == ADDRESS
        path = "/machine/peripheral/ua-uplink"
        assert qmp("qom-get", path=path, property="host_mtu") == 1450
        assert qmp("qom-get", path=path, property="rx_queue_size") == 512
        assert qmp("qom-get", path=path, property="packed") is True
        shown = qmp("human-monitor-command", **{"command-line": "info network"})
        assert f"host-{ID}: index=0,type=tap,ifname=tap4c1b1b0a-7d,script=no,downscript=no" in shown


def test_qemu_opens_each_queue_of_a_multiqueue_tap(netns: None) -> None:
    tap("tap4c1b1b0a-7d", "multi_queue")
    with qemu(qemu_arguments(read(vif_type="ethernet", queues=4))) as qmp:
        qmp.greet()
        assert len(qmp("query-rx-filter", name=f"vif-{ID}")) == 1
        shown = qmp("human-monitor-command", **{"command-line": "info network"})
        assert shown.count("type=tap,ifname=tap4c1b1b0a-7d") == 4
        assert qmp("qom-get", path=f"/machine/peripheral/vif-{ID}", property="vectors") == 10


def test_qemu_will_not_start_on_a_tap_with_another_number_of_queues(netns: None) -> None:
    tap("tap4c1b1b0a-7d")
    with (
        qemu(qemu_arguments(read(vif_type="ethernet", queues=4))) as qmp,
        pytest.raises(AssertionError, match="tap"),
    ):
        qmp.greet()


def test_qemu_has_another_model_too(netns: None) -> None:
    tap("tap4c1b1b0a-7d")
    with qemu(qemu_arguments(read(vif_type="ethernet", model="e1000e"))) as qmp:
        qmp.greet()
        assert f"macaddr={ADDRESS}" in qmp("human-monitor-command", **{"command-line": "info network"})


def test_qemus_user_network_listens_on_the_forwarded_port(netns: None) -> None:
    forwards = [{"proto": "tcp", "start": 2022, "to": 22, "address": "127.0.0.1"}]
    with qemu(qemu_arguments(read(vif_type="user", vif_details={"port_forwards": forwards}))) as qmp:
        qmp.greet()
        with socket.create_connection(("127.0.0.1", 2022)):
            shown = qmp("human-monitor-command", **{"command-line": "info usernet"})
        assert "127.0.0.1" in shown
        assert "2022" in shown


@pytest.mark.parametrize("mode", ["server", "client"])
def test_qemu_meets_its_switch_at_a_socket_whose_path_holds_commas_and_equals_signs(
    mode: str, tmp_path: Path
) -> None:
    """A listener or a caller stands in for the switch, up to QEMU's first vhost-user message."""
    path = tmp_path / "vhu,a=b,,c"
    vif = read(vif_type="vhostuser", vif_details={"path": str(path), "mode": mode})
    get_features = (1).to_bytes(4, "little")
    switch = socket.socket(socket.AF_UNIX)
    if mode == "client":
        switch.bind(str(path))
        switch.listen()
        with switch, qemu(qemu_arguments(vif)):
            connection, _ = switch.accept()
            with connection:
                assert connection.recv(4) == get_features
        return
    with switch, qemu(qemu_arguments(vif)) as qmp:
        # it says where it waits, and waits until the switch has come
        assert qmp.process.stderr is not None
        assert str(path) in qmp.process.stderr.readline()
        switch.connect(str(path))
        assert switch.recv(4) == get_features
