"""From a port binding to a guest that pings, beside what libvirt does by itself. ``./dev bench guests``.

The contender is a bare ``<interface type='bridge'>``: libvirt makes a tap and puts it into a bridge, and nothing
more is done or recorded. Guests are real, and emulated: Debian's kernel under QEMU's TCG.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
import msgspec

from daemons import until
from hypervisor import Hypervisor
from vifplug import Host
from vifplug.libvirt import attach, connect, define, detach, start

from .figures import Aim, Figure, figure
from .place import Place, binding, vif_id
from .turns import Samples, Steps, ratio, take_turns

PART = "guests"
BRIDGE, ADDRESS = "br-guests", "10.9.0.{}"
PLAIN = "vifplug, type bridge"
OURS, BARE = "vifplug, linux-bridge", "libvirt alone, its own tap in the bridge"
GUESTS, EACH = 8, 8
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


def measure(place: Place, rounds: int) -> list[Figure]:
    """Into a guest that runs and out of it; from its start; many into many. Fewer rounds for what takes longer."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    _network()
    with running(place.folder / "libvirt") as hypervisor, place.host() as host:
        connection: Any = connect(hypervisor.uri)
        with contextlib.closing(connection):
            return [
                *_figures(_one(hypervisor, host, connection, rounds), _ONE),
                *_figures(_from_start(hypervisor, host, connection, max(1, rounds // 4)), _START),
                *_figures(_many(hypervisor, host, connection, max(1, rounds // 8)), _MANY),
            ]


#: what is timed, by its step; and how many times libvirt alone it may take
_ONE = {
    "attach": ("from binding to attached VIF", 2.0),
    "detach": ("from detach to unplugged VIF", 1.5),
    "to ping": ("from binding to the first ping answered", 1.25),
}
_START = {"start": ("from the guest's start to the first ping answered", 1.25)}
_MANY = {"attach": (f"{GUESTS * EACH} VIFs hot-plugged into {GUESTS} guests", 3.0)}


def _figures(samples: Samples, steps: dict[str, tuple[str, float]]) -> Iterator[Figure]:
    for step, (name, limit) in steps.items():
        times = samples[step]
        aim = Aim.at_most(limit, ratio(times, OURS, BARE), "times libvirt alone")
        yield figure(PART, name, times, [aim])


# --- one VIF ----------------------------------------------------------------------------------------


def _one(hypervisor: Hypervisor, host: Host, connection: Any, rounds: int) -> Samples:
    """One guest that runs all the time: a VIF comes and goes. Each contender has its own MAC."""
    domain = connection.defineXML(hypervisor.guest("one", boots=True))
    domain.create()
    hypervisor.wait_said("one", "guest: up")

    def ours(number: int, request: bytes) -> Steps:
        return {
            "attach": lambda: attach(host, domain, request, live=True),
            "_met": lambda: first_ping(number),
            "detach": lambda: detach(host, domain, vif_id(number), live=True),
            "_forget": forget,
            "to ping": lambda: first_ping_after(number, lambda: attach(host, domain, request, live=True)),
            "_detach": lambda: detach(host, domain, vif_id(number), live=True),
            "_forget again": forget,
        }

    def bare_detach() -> None:
        domain.detachDeviceFlags(interface(3), _LIVE)
        until(lambda: mac(3) not in domain.XMLDesc())

    bare: Steps = {
        "attach": lambda: domain.attachDeviceFlags(interface(3), _LIVE),
        "_met": lambda: first_ping(3),
        "detach": bare_detach,
        "_forget": forget,
        "to ping": lambda: first_ping_after(3, lambda: domain.attachDeviceFlags(interface(3), _LIVE)),
        "_detach": bare_detach,
        "_forget again": forget,
    }
    contenders = {OURS: ours(1, bridged(1)), PLAIN: ours(2, of_type_bridge(2)), BARE: bare}
    samples = take_turns(rounds, contenders)
    hypervisor.clear()
    return samples


def _from_start(hypervisor: Hypervisor, host: Host, connection: Any, rounds: int) -> Samples:
    """The guest boots each time; its VIF is in its definition."""
    domains = {
        OURS: connection.defineXML(hypervisor.guest("ours", boots=True)),
        BARE: connection.defineXML(with_interface(hypervisor.guest("bare", boots=True), 3)),
    }
    define(host, domains[OURS], [bridged(1)])

    def end(who: str) -> None:
        hypervisor.crash(domains[who].name())
        until(lambda: not domains[who].isActive())
        host.unplug_all()
        forget()

    samples = take_turns(
        rounds,
        {
            OURS: {
                "start": lambda: first_ping_after(1, lambda: start(host, domains[OURS])),
                "_end": lambda: end(OURS),
            },
            BARE: {"start": lambda: first_ping_after(3, domains[BARE].create), "_end": lambda: end(BARE)},
        },
    )
    hypervisor.clear()
    return samples


def _many(hypervisor: Hypervisor, host: Host, connection: Any, rounds: int) -> Samples:
    """A thread for each guest, which gives it one VIF after the other. The guests stand still in their firmware, so
    what a guest does about a device is not in it."""
    domains = [connection.defineXML(hypervisor.guest(f"many{number}")) for number in range(GUESTS)]

    def begin() -> None:
        for domain in domains:
            domain.create()

    def end() -> None:
        for domain in domains:
            hypervisor.crash(domain.name())
        until(lambda: not any(domain.isActive() for domain in domains))
        host.unplug_all()

    def all_of(give: Callable[[Any, int], object]) -> None:
        def to_one(number: int) -> None:
            for each in range(EACH):
                give(domains[number], 256 + number * EACH + each)

        with ThreadPoolExecutor(GUESTS) as threads:
            list(threads.map(to_one, range(GUESTS)))

    return take_turns(
        rounds,
        {
            OURS: {
                "_begin": begin,
                "attach": lambda: all_of(lambda to, one: attach(host, to, bridged(one), live=True)),
                "_end": end,
            },
            BARE: {
                "_begin": begin,
                "attach": lambda: all_of(lambda to, one: to.attachDeviceFlags(interface(one), _LIVE)),
                "_end": end,
            },
        },
    )


# --- guests, networks, interfaces ---------------------------------------------------------------------


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Hypervisor]:
    folder.mkdir()
    hypervisor = Hypervisor(folder)
    hypervisor.start()
    try:
        yield hypervisor
    finally:
        hypervisor.stop()


def _network() -> None:
    """The guests' bridge, where this host is too, and asks for a MAC again after 10 ms, not after a second."""
    _ip(f"link add {BRIDGE} type bridge forward_delay 0")
    _ip(f"address add {ADDRESS.format(100)}/24 dev {BRIDGE}")
    _ip(f"link set {BRIDGE} up")
    Path(f"/proc/sys/net/ipv4/neigh/{BRIDGE}/retrans_time_ms").write_text("10")


def forget() -> None:
    """The MACs of guests that are gone."""
    _ip(f"neighbour flush dev {BRIDGE}")


def first_ping_after(number: int, action: Callable[[], object]) -> None:
    action()
    first_ping(number)


def first_ping(number: int) -> None:
    """Until the guest with this MAC answers; asked a hundred times a second."""
    command = ["ping", "-n", "-i", "0.01", ADDRESS.format(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pinging:
        assert pinging.stdout is not None
        for line in pinging.stdout:
            if "bytes from" in line:
                break
        pinging.terminate()


def bridged(number: int) -> bytes:
    return binding(number, "linux-bridge", bridge=BRIDGE)


def of_type_bridge(number: int) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(binding(number, bridge=BRIDGE)) | {"vif_type": "bridge"})


def mac(number: int) -> str:
    return f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"


def interface(number: int, bridge: str = BRIDGE) -> str:
    return (
        f"<interface type='bridge'><mac address='{mac(number)}'/><source bridge='{bridge}'/><model type='virtio'/>"
        "<mtu size='1450'/></interface>"
    )


def with_interface(domain: str, number: int, bridge: str = BRIDGE) -> str:
    root = ET.fromstring(domain)  # noqa: S314  # our own
    devices = root.find("devices")
    assert devices is not None
    devices.append(ET.fromstring(interface(number, bridge)))  # noqa: S314  # our own
    return ET.tostring(root, encoding="unicode")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
