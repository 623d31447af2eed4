"""The cloud that is up, and what tests ask of it. The tests run in its controller's network (cloud.__main__)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from cloud.api import Api
from cloud.cloud import Cloud
from cloud.network import ip
from cloud.node import Node
from cloud.place import CloudError, Way, default_root, load

#: seconds for what follows an answer of Nova's by itself: the source of a migration is cleared, a port comes up
SOON = 30.0

#: physical networks of cloud/etc/ml2-*.ini, and the third byte of their guests' addresses 10.9.N.0/24
NUMBERS = {"data0": 0, "data1": 1, "switch0": 4, "plumgrid0": 5, "midonet0": 6, "shaky0": 7}
OVERLAY = 2


def eventually(what: str, wrong: Callable[[], object], seconds: float = SOON) -> None:
    """``wrong`` tells what is not yet as it should be: within that time it has to have nothing to tell."""
    deadline = time.monotonic() + seconds
    while found := wrong():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}, after {seconds:.0f} s: {found}")
        time.sleep(0.1)


@dataclass
class Pings:
    """What became of the pings that were sent in the meantime, up to the last that was answered."""

    sent: int = 0
    lost: int = 0
    #: the longest time without an answer, in seconds
    gap: float = 0.0


@contextmanager
def pinging(address: str, every: float = 0.1) -> Iterator[Pings]:
    pings = Pings()
    process = subprocess.Popen(["ping", "-n", "-D", f"-i{every}", address], stdout=subprocess.PIPE, text=True)
    try:
        yield pings
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=10)[0]
        heard = re.findall(r"^\[([\d.]+)\] \d+ bytes.* icmp_seq=(\d+)", said, re.MULTILINE)
        answered = [float(when) for when, _ in heard]
        pings.sent = max((int(number) for _, number in heard), default=0)  # what came after may be under way
        pings.lost = pings.sent - len({number for _, number in heard})
        pings.gap = max((later - one for one, later in pairwise(answered)), default=0.0)


def answers(address: str) -> bool:
    done = subprocess.run(["ping", "-nc1", "-W1", address], capture_output=True, check=False)
    return done.returncode == 0


@dataclass
class Guest:
    """A server with its ports."""

    world: World
    name: str
    id: str
    #: port id -> address
    ports: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> str:
        """Its first port."""
        return next(iter(self.ports))

    @property
    def address(self) -> str:
        return self.ports[self.port]

    @property
    def host(self) -> str | None:
        """The node that it is on, as Nova sees it."""
        server = self.world.api.server(self.id)
        return server["OS-EXT-SRV-ATTR:host"] if server else None

    @property
    def node(self) -> Node:
        return self.world.node(self.host)

    def act(self, action: str, said: Any = None, until: str = "ACTIVE") -> None:
        """And wait until it is done."""
        self.world.api.act(self.id, action, said)
        self.world.api.settled(self.id, until)

    def answers(self) -> None:
        """The guest is reached at all its addresses."""
        for address in self.ports.values():
            eventually(f"{self.name} at {address} does not answer", lambda a=address: not answers(a))  # type: ignore[misc]

    def says(self, line: str) -> None:
        """On its console, some time."""
        eventually(
            f"{self.name} does not say {line!r}",
            lambda: (
                None if line in self.world.api.console(self.id) else self.world.api.console(self.id)[-12:]
            ),
            seconds=60,
        )

    def xml(self) -> str:
        """Of its domain, as libvirt has it."""
        server = self.world.api.server(self.id)
        assert server is not None
        return self.node.run(
            "virsh", "-c", "qemu:///system", "dumpxml", server["OS-EXT-SRV-ATTR:instance_name"]
        )

    def migrate(self, to: str) -> None:
        self.act("os-migrateLive", {"host": to, "block_migration": "auto"})

    def migrations(self) -> list[dict[str, Any]]:
        """The newest first."""
        found: list[dict[str, Any]] = self.world.api(
            "compute", "GET", f"/os-migrations?instance_uuid={self.id}"
        )["migrations"]
        return sorted(found, key=lambda migration: -int(migration["id"]))

    def delete(self) -> None:
        self.world.api("compute", "DELETE", f"/servers/{self.id}")
        self.world.api.gone(self.id)


class World:
    """The cloud, and a way to new guests in it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.api: Api = cloud.api
        self.nodes = cloud.nodes
        self.way: Way = cloud.place.choices.way
        #: what Neutron binds to
        self.vif_type = "ethernet" if self.way == "plugin" else "tap"
        self._last = 16

    def node(self, name: str | None) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def other(self, name: str | None) -> Node:
        return next(node for node in self.nodes if node.name != name)

    def network(self, physical: str) -> tuple[str, int]:
        """The flat network on a physical one, and the third byte of its addresses."""
        number = NUMBERS[physical]
        return self.api.network(physical, number, network_type="flat", physical_network=physical), number

    def overlay(self) -> tuple[str, int]:
        network = self.api.network("overlay", OVERLAY, network_type="vxlan", segmentation_id=77)
        return network, OVERLAY

    def make_port(self, network: tuple[str, int], last: int | None = None) -> tuple[str, str]:
        """Id and address."""
        if last is None:
            last, self._last = self._last, self._last + 2  # its neighbour is nobody
        network_id, number = network
        return self.api.make_port(network_id, number, last), f"10.9.{number}.{last}"

    def boot(
        self,
        name: str,
        host: str | None = "cmp1",
        network: tuple[str, int] | None = None,
        *,
        last: int | None = None,
        status: str | None = "ACTIVE",
    ) -> Guest:
        """``status``: None does not wait."""
        port, address = self.make_port(network or self.network("data0"), last)
        guest = Guest(self, name, self.api.boot(name, [port], host), {port: address})
        if status is not None:
            self.api.settled(guest.id, status)
        return guest

    def install_shaky(self, node: Node, *, there: bool = True) -> None:
        """The plug script of that name is on the node, or is not, and whoever has to know does."""
        if there:
            node.install_shaky()
        else:
            node.shaky.unlink()
        if self.way == "agent":
            eventually(
                f"Neutron has not heard of {node.name}'s script",
                lambda: ("shaky" in self.api.agents().get(node.name, {}).get("scripts", {})) != there,
            )

    # --- agreement ------------------------------------------------------------------------------

    def agrees(self, seconds: float = SOON) -> None:
        """Kernel, ledger, backend, Neutron and Nova tell the same of every VIF, on every node, or soon do."""
        eventually("they do not agree", self.disagreements, seconds)

    def disagreements(self) -> list[str]:
        found: list[str] = []
        wanted = self._wanted()
        for node in self.nodes:
            found += self._of_node(node, wanted.get(node.name, {}))
        for port in self.api.ports():
            has = (port["binding:host_id"], port["status"], port["binding:vif_type"])
            for host, ports in wanted.items():
                if port["id"] in ports and has != (host, "ACTIVE", self.vif_type):
                    found.append(f"Neutron has the port {port['id']}, which is on {host}, as {has}")
        return found

    def _wanted(self) -> dict[str, dict[str, str]]:
        """Host, port and its server's name, of those servers that are on a host; with ERROR, those that run."""
        servers = {server["id"]: server for server in self.api.servers()}
        running = {guest for node in self.nodes for guest in node.guests()}
        found: dict[str, dict[str, str]] = {}
        for port in self.api.ports():
            server = servers.get(port["device_id"])
            if server is None or not (host := server["OS-EXT-SRV-ATTR:host"]):
                continue
            if server["status"] != "ERROR" or server["OS-EXT-SRV-ATTR:instance_name"] in running:
                found.setdefault(host, {})[port["id"]] = server["name"]
        return found

    def _of_node(self, node: Node, wanted: dict[str, str]) -> list[str]:
        found: list[str] = []
        with node.client() as client:
            records = {record.id: record for record in client.list()}
            for port, name in wanted.items():
                if port not in records:
                    found.append(f"{node.name}: the VIF {port} of {name} is not plugged")
            for record in records.values():
                if record.id not in wanted:
                    found.append(f"{node.name}: the VIF {record.id} is {record.state}, and nobody's")
                elif record.state != "plugged" or record.error is not None:
                    found.append(f"{node.name}: the VIF {record.id} is {record.state}: {record.error}")
                elif drift := client.check(record.id).drift:
                    found.append(f"{node.name}: the VIF {record.id} drifted: {drift}")
        taps = set(self.taps(node))
        named = {f"tap{port[:11]}" for port in wanted}
        found += [f"{node.name}: {tap} is there, and nobody's" for tap in sorted(taps - named)]
        found += [f"{node.name}: {tap} is missing" for tap in sorted(named - taps)]
        return found

    def taps(self, node: Node) -> list[str]:
        links = json.loads(ip("-n", node.place.netns(node.number), "-j", "link"))
        return [link["ifname"] for link in links if link["ifname"].startswith(("tap", "qbr", "qvo", "qvb"))]

    # --- between tests ----------------------------------------------------------------------------

    def clear(self) -> None:
        """No server, no port of a guest; and nothing is left of them on any node."""
        servers = [server["id"] for server in self.api.servers()]
        for server in servers:
            self.api("compute", "DELETE", f"/servers/{server}")
        for server in servers:
            self.api.gone(server)
        for port in self.api.ports():
            self.api("network", "DELETE", f"/ports/{port['id']}")
        self.agrees()
        for node in self.nodes:
            eventually(f"guests run on {node.name}", node.guests)


@pytest.fixture(scope="session")
def world() -> World:
    place = load(default_root())
    if place is None:
        raise CloudError("there is no cloud: run these by ./dev cloud test")
    return World(Cloud(place))


@pytest.fixture(scope="module")
def nothing_left(world: World) -> Iterator[None]:
    """When the tests of a file are through, nothing is left of what they made."""
    yield
    world.clear()


@pytest.fixture
def cleared(world: World) -> Iterator[None]:
    """The same after a single test."""
    yield
    world.clear()
