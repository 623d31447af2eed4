"""Two hosts with a libvirtd and a vifplugd each, in network namespaces of their own, and a network between them."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import libvirt

from daemons import until
from guests import Elsewhere, ip
from hypervisor import Hypervisor
from served import Served
from vifplug.host import Host
from vifplug.host.netlink import Link
from vifplug.host.results import Record
from vifplug.libvirt import Migrated, Watcher, connect, define, migrate, start
from vifplug.remote import RemoteHost
from world import World, binding, links

#: the guest's VIF, and its address
PORT, ADDRESS = binding(1)["id"], "10.9.0.1"


class OneHost:
    """A host called ``host`` and its number: its network namespace, bridge br-data, libvirtd and vifplugd."""

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        self.number = number
        self.place = Elsewhere()
        self.world = World(folder)
        self.world.info(verbs=["plug", "unplug", "check", "activate"], version="1.2")
        self.world.on("plug", do="ip link set $VIF_DEVNAME master br-data")
        libvirtd = folder / "libvirt"
        libvirtd.mkdir()
        self.hypervisor = Hypervisor(libvirtd, f"host{number}", qemu=f'migration_host = "10.88.0.{number}"\n')
        self.served: Served | None = None
        self._resources = contextlib.ExitStack()

    def start(self, more: str = "", *, packaged: bool = False, **daemon: Any) -> None:
        self.place.do(lambda: self._start(more, packaged, daemon))

    def _start(self, more: str, packaged: bool, daemon: dict[str, Any]) -> None:
        settings = {"on_drift": "repair", "arrival_grace": 0.2, **daemon}
        self.served = Served.of(self.world, more, **settings)
        if packaged:
            text = self.served.config.read_text()
            self.served.config.write_text(text.replace("packaged = false", "packaged = true"))
        self.served.start()

    def ip(self, command: str) -> None:
        self.place.do(lambda: subprocess.run(["ip", *command.split()], check=True, capture_output=True))

    @property
    def host(self) -> Host:
        """Its vifplugd."""
        assert self.served is not None
        return cast("Host", RemoteHost(self.served.socket))

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        with contextlib.closing(connect(self.hypervisor.uri)) as connection:
            yield connection

    def domain(self, connection: Any, name: str = "guest") -> Any:
        return connection.lookupByName(name)

    def runs(self, name: str = "guest") -> bool:
        with self.hypervisor.connected() as connection:
            try:
                found = connection.lookupByName(name)
            except libvirt.libvirtError:
                return False
            return bool(found.state()[0] == libvirt.VIR_DOMAIN_RUNNING)

    def has(self, name: str = "guest") -> bool:
        """Whether the domain is known there, running or not."""
        with self.hypervisor.connected() as connection:
            return name in [domain.name() for domain in connection.listAllDomains()]

    def taps(self) -> dict[str, Link]:
        found = self.place.do(links)
        return {name: link for name, link in found.items() if name.startswith("tap")}

    def records(self) -> list[Record]:
        with self.host as host:
            return host.list()

    def is_clean(self) -> bool:
        """Whether nothing of any VIF is there."""
        return not self.records() and not self.taps() and not self.world.ports()

    def is_home(self, vif_id: str) -> bool:
        """Whether the VIF is this host's, as it should be, with a guest at its tap."""
        with self.host as host:
            records = [record for record in host.list() if record.id == vif_id]
            if len(records) != 1 or records[0].request.arriving or not host.check(vif_id).ok:
                return False
            return self.taps()[records[0].vif.devname].carrier

    def watch(self) -> Watcher:
        """A Watcher, until this host is closed."""
        watcher = Watcher(self.host, self.hypervisor.uri)
        thread = threading.Thread(target=watcher.run)
        thread.start()

        def stop() -> None:
            watcher.stop()
            thread.join(30)

        self._resources.callback(stop)
        return watcher

    def clean(self) -> None:
        """Without guests and VIFs, and the script as ever."""
        self.hypervisor.clear()
        self.world.info(verbs=["plug", "unplug", "check", "activate"], version="1.2")
        self.world.on("plug", do="ip link set $VIF_DEVNAME master br-data")
        self.world.on("activate")
        self.world.on("unplug")
        with self.host as host:
            host.unplug_all()
            host.gc()
        assert self.is_clean()
        for name in ("log", "requests"):
            (self.world.backend / name).unlink(missing_ok=True)

    def close(self) -> None:
        self._resources.close()
        if self.served is not None:
            self.served.stop()
        self.place.do(self.hypervisor.stop)
        self.place.close()


class TwoHosts:
    """``here`` and ``there``, which know each other as 10.88.0.1 and 10.88.0.2, and share the guests' network.

    Who pings is ``outside``, on that network too: a host would answer ARP at any of its devices, also at taps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.here, self.there = OneHost(folder / "a", 1), OneHost(folder / "b", 2)
        self.outside = Elsewhere()

    def __enter__(self) -> TwoHosts:
        for one in self.both:
            one.ip("link add br-data type bridge forward_delay 0")
            one.ip("link set br-data up")
        for name in ("mgmt0", "wire0"):
            self.here.ip(f"link add {name} type veth peer name {name} netns {self.there.place.namespace}")
        self.here.ip(f"link add out0 type veth peer name eth0 netns {self.outside.namespace}")
        self.here.ip("link set out0 master br-data up")
        self.outside.do(lambda: ip("address add 10.9.0.100/24 dev eth0"))
        self.outside.do(lambda: ip("link set eth0 up"))
        for one in self.both:
            one.ip("link set wire0 master br-data up")
            one.ip(f"address add 10.88.0.{one.number}/24 dev mgmt0")
            one.ip("link set mgmt0 up")
            one.place.do(one.hypervisor.start)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for one in self.both:
            one.close()
        self.outside.close()

    @property
    def both(self) -> tuple[OneHost, OneHost]:
        return self.here, self.there


class Movers:
    """What moves guests between the two, either way."""

    def __init__(self, pair: TwoHosts, resources: contextlib.ExitStack) -> None:
        self.pair = pair
        self.here, self.there = pair.here, pair.there
        self.connections = {one.number: resources.enter_context(one.connected()) for one in pair.both}
        self.hosts = {one.number: resources.enter_context(one.host) for one in pair.both}

    @classmethod
    @contextlib.contextmanager
    def between(cls, pair: TwoHosts) -> Iterator[Movers]:
        """Hosts without guests and VIFs, and so they are afterwards."""
        try:
            with contextlib.ExitStack() as resources:
                yield cls(pair, resources)
        finally:
            for one in pair.both:
                one.clean()

    def guest(self, *bindings: Any, boots: bool = False) -> Any:
        """One that runs ``here``, and is defined there."""
        connection, host = self.connections[1], self.hosts[1]
        domain = connection.defineXML(self.here.hypervisor.guest(boots=boots))
        define(host, domain, bindings or [binding(1)])
        start(host, domain)
        if boots:
            self.here.hypervisor.wait_said("guest", ADDRESS)
        return domain

    def move(self, domain: Any, *, back: bool = False, **more: Any) -> Migrated:
        source, destination = (2, 1) if back else (1, 2)
        return migrate(
            self.hosts[source], domain, self.hosts[destination], self.connections[destination], **more
        )

    def is_still_here(self, vif_id: str = PORT) -> bool:
        """Whether the guest runs at the source as ever, and nothing of it is at the destination."""
        return (
            self.here.runs() and self.here.is_home(vif_id) and not self.there.has() and self.there.is_clean()
        )

    def is_there(self, vif_id: str = PORT) -> bool:
        """Whether the guest runs at the destination, and nothing of it is at the source."""
        return (
            self.there.runs() and self.there.is_home(vif_id) and not self.here.has() and self.here.is_clean()
        )


class Lost(NamedTuple):
    """How a network took to a guest's move, from the first answer to the last."""

    sent: int
    lost: int
    #: seconds between two answers, at most
    gap: float


class Pinging:
    """The guest pinged from outside, every ``interval`` seconds, until it is asked how that went."""

    def __init__(self, pair: TwoHosts, interval: float = 0.05) -> None:
        command = ["ping", "-D", "-n", "-i", str(interval), ADDRESS]
        self._log = pair.folder / "pings"
        with self._log.open("w") as log:
            self._process = pair.outside.do(lambda: subprocess.Popen(command, stdout=log, stderr=log))
        self.wait()

    def wait(self) -> None:
        """Until it was answered ten times more."""
        before = self._log.read_text().count("bytes from")
        until(lambda: self._log.read_text().count("bytes from") > before + 10)

    def end(self) -> Lost:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        said = self._log.read_text()
        answers = re.findall(r"^\[([0-9.]+)\] .*bytes from.* icmp_seq=([0-9]+)", said, re.MULTILINE)
        sequence = [int(number) for _, number in answers]
        sent = sequence[-1] - sequence[0] + 1
        gaps = [float(after) - float(before) for (before, _), (after, _) in pairwise(answers)]
        return Lost(sent, sent - len(set(sequence)), max(gaps))


@contextlib.contextmanager
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts whose vifplugd is still to be started."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    folder = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir="/run"))
    folder.chmod(0o755)
    with TwoHosts(folder) as pair:
        yield pair
    shutil.rmtree(folder)


def wait(condition: Callable[[], Any], seconds: float = 30) -> None:
    until(condition, seconds)
