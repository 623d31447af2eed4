"""One guest that runs for all tests of a test process, into which VIFs are plugged; and the networks around it.

Its libvirtd, an Open vSwitch with DPDK, and bridges are in a network namespace of their own, with the host's end of
each network.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import libvirt
from msgspec import structs

from daemons import until
from guests import ip
from hypervisor import Hypervisor
from scripts.ovs.switch import DpdkSwitch
from vifplug.config import ScriptSettings, Trust
from vifplug.host import Host
from vifplug.libvirt import attach, connect, detach
from vifplug.libvirt.attach import Attached
from world import World, binding

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

#: the VIF over which the guest is told what to do, its address, and the guest's port that has a shell
_OWN, _ADDRESS, _SHELL = 1, "10.9.0.1", 23
#: vhost-user needs memory that others can map, and under emulation interrupts of the old kind; two processors
#: make two queues be used
_MORE = (
    (
        "<os>",
        "<vcpu>2</vcpu><memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking><os>",
    ),
    ("no_timer_check", "no_timer_check pci=nomsi"),
)


class OneGuest:
    """Made in a namespace of its own by ``running``; a test is in there with ``entered``."""

    def __init__(self, folder: Path, resources: ExitStack) -> None:
        self.namespace = _namespace()
        self.world = World(folder)
        self.switch = DpdkSwitch(self.world)
        resources.callback(self.switch.stop_all)
        self.switch.up()
        os.environ["OVS_RUNDIR"] = str(self.switch.folder)  # where libvirtd's ovs-vsctl finds the switch
        libvirtd = folder / "libvirt"
        libvirtd.mkdir()
        self.hypervisor = Hypervisor(libvirtd)
        (libvirtd / "lib" / "dnsmasq").mkdir()  # of libvirt's networks
        try:
            self.hypervisor.start()
        finally:
            del os.environ["OVS_RUNDIR"]
        resources.callback(self.hypervisor.stop)
        self.config = structs.replace(
            self.world.config,
            trust=Trust(directories=[str(self.world.scripts)], allow=[], packaged=True),
            script={
                "recorder": ScriptSettings(),
                "openvswitch": ScriptSettings(environment={"OVS_RUNDIR": str(self.switch.folder)}),
            },
        )
        self._telling = resources.enter_context(ThreadPoolExecutor(1))
        self.host = resources.enter_context(Host(self.config))
        self.connection: Any = connect(self.hypervisor.uri)
        resources.callback(self.connection.close)
        self.domain = self._boot()

    def _boot(self) -> Any:
        xml = self.hypervisor.guest(boots=True)
        for old, new in _MORE:
            xml = xml.replace(old, new)
        domain = self.connection.defineXML(xml)
        domain.create()
        bridge("br-own", 0)
        attach(self.host, domain, vif(_OWN, script="linux-bridge", vif_details={"bridge": "br-own"}))
        self.hypervisor.wait_said("guest", _ADDRESS)
        until(lambda: pings(_ADDRESS))
        return domain

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the guest's network namespace."""
        before = _namespace()
        try:
            assert _libc.setns(self.namespace, _CLONE_NEWNET) == 0
            yield
        finally:
            assert _libc.setns(before, _CLONE_NEWNET) == 0
            os.close(before)

    def attach(self, binding: dict[str, Any], **options: Any) -> Attached:
        """Plug a VIF and attach it; the guest has met it when this returns."""
        attached = attach(self.host, self.domain, binding, **options)
        mac = binding["address"]
        until(lambda: mac in self.tell("cat /sys/class/net/*/address"))
        until(lambda: address_of(binding) in self.tell("ip -4 address"))
        return attached

    def detach(self, binding: dict[str, Any]) -> None:
        detach(self.host, self.domain, binding["id"])

    def tell(self, command: str) -> str:
        """What the command prints in the guest, whose shell it is given to."""
        with socket.create_connection((_ADDRESS, _SHELL), 10) as connection:
            connection.sendall(f"exec 2>&1; {command}\nexit\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def told(self, command: str) -> Future[str]:
        """The same, while the test goes on."""
        return self._telling.submit(self._tell_inside, command)

    def _tell_inside(self, command: str) -> str:
        with self.entered():
            return self.tell(command)

    def card(self, binding: dict[str, Any]) -> str:
        """What the guest calls it."""
        found = self.tell(
            f"cd /sys/class/net; for one in *; do echo $one $(cat $one/address); done; # {binding['id']}"
        )
        return next(line.split()[0] for line in found.splitlines() if line.endswith(binding["address"]))

    def clear(self) -> None:
        """Take away every VIF but that of its own."""
        for record in self.host.list():
            if record.id != binding(_OWN)["id"]:
                detach(self.host, self.domain, record.id)


def vif(number: int, **fields: Any) -> dict[str, Any]:
    """A binding whose guest gets the address 10.9.N.1, N being the number over 256: each test has its own network."""
    return binding(number, **fields)


def address_of(binding: dict[str, Any]) -> str:
    """What the guest calls itself there (guest_image)."""
    network, own = (int(part, 16) for part in binding["address"].split(":")[4:])
    return f"10.9.{network}.{own}"


def bridge(name: str, network: int) -> None:
    """A bridge of the host, which is 10.9.N.100 there."""
    ip(f"link add {name} type bridge forward_delay 0")
    ip(f"address add 10.9.{network}.100/24 dev {name}")
    ip(f"link set {name} up")


def pings(address: str, *options: str) -> bool:
    command = ["ping", "-n", "-c1", "-W1", *options, address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def running() -> Iterator[OneGuest]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    folder = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))
    folder.chmod(0o755)
    before = _namespace()
    try:
        assert _libc.unshare(_CLONE_NEWNET) == 0
        ip("link set lo up")
        _count_on()
        with ExitStack() as resources:
            guest = OneGuest(folder, resources)
            resources.callback(_back_in, guest.namespace)
            _back_in(before)
            yield guest
    finally:
        _back_in(before)
        os.close(before)
        shutil.rmtree(folder)


def _count_on() -> None:
    """Let devices get other numbers than those of the next test process: /dev/tapN, which libvirt opens for a macvtap,
    is named by it, and in one /dev for all network namespaces."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lines = "".join(f"link add count{number} group 9 type bridge\n" for number in range(200 * worker))
    if lines:
        subprocess.run(["ip", "-batch", "-"], input=lines.encode(), check=True)
        ip("link delete group 9")


def _namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _back_in(namespace: int) -> None:
    assert _libc.setns(namespace, _CLONE_NEWNET) == 0
