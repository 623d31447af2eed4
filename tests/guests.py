"""Guests on VIFs that the packaged plug scripts connect, on the real kernel."""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from msgspec import structs

from vendor import PACKAGE, Vendor
from vifplug.config import Trust
from vifplug.host import Host
from vifplug.host.results import Plugged
from vifplug.probe import StandInGuest
from vifplug.probe.tap import Tap
from world import World

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def ip(arguments: str) -> str:
    """The command, which has to succeed; what it printed."""
    return subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True).stdout


class Catalogue:
    """A host with the packaged scripts, and bindings for one of them."""

    def __init__(self, world: World, script: str, **common: Any) -> None:
        self.script = script
        self.common = common
        self.config = structs.replace(
            world.config, trust=Trust(directories=[], allow=[], packaged=True), script={}
        )

    def host(self) -> Host:
        return Host(self.config)

    def binding(self, *addresses: str, **details: Any) -> dict[str, Any]:
        """A port of its own with these addresses in 10.0.0.0/24; details besides those of all of them."""
        port = str(uuid.uuid4())
        return {
            "id": port,
            "vif_type": "ethernet",
            "address": f"fa:16:3e:{port[0:2]}:{port[2:4]}:{port[4:6]}",
            "network": {"subnets": [{"cidr": "10.0.0.0/24", "addresses": list(addresses)}]},
            "vif_details": {"vif_plug_script": self.script, **self.common, **details},
        }

    def plug(self, *addresses: str, **details: Any) -> Plugged:
        return self.host().plug(self.binding(*addresses, **details))

    def drift(self, plugged: Plugged) -> list[str]:
        """What check says of it, in one line for each difference."""
        found = self.host().check(plugged.id).drift
        return [f"{drift.what}: {drift.expected} is {drift.found}" for drift in found]

    def refresh(self, plugged: Plugged) -> None:
        """Plug again what is plugged, by the same request."""
        self.host().plug(self.host().show(plugged.id).request, refresh=True)


def guest(plugged: Plugged, *addresses: str) -> StandInGuest:
    """The guest of a VIF, with its own addresses or with these ("10.0.0.5/24")."""
    vif = plugged.vif
    own = [
        f"{address}/24"
        for subnet in vif.network.subnets
        for address in subnet.addresses
        if ":" not in address
    ]
    assert vif.address is not None
    return StandInGuest(vif.devname, vif.address, addresses or own)


def reaches(guest: StandInGuest, target: str, timeout: float = 5.0) -> bool:
    """ARP, then ping. Asked again and again, for a port forwards only once the kernel has seen its carrier."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        mac = guest.arp(target, 0.3)
        if mac is not None and guest.ping(target, mac.value, 0.3) is not None:
            return True
    return False


class Wire:
    """The bare end of a tap: frames as they are."""

    def __init__(self, plugged: Plugged) -> None:
        self._tap = Tap(plugged.vif.devname)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._tap.close()

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self._tap.write(frame)

    def hear_until(self, last: bytes, timeout: float = 5.0, part: slice = slice(None)) -> list[bytes] | None:
        """This part of the frames that came before ``last``, without padding; None if it does not come."""
        poll = select.poll()
        poll.register(self._tap, select.POLLIN)
        until = time.monotonic() + timeout
        heard: list[bytes] = []
        while (left := until - time.monotonic()) > 0:
            if poll.poll(left * 1000) and (frame := self._tap.read()) is not None:
                if bare(frame)[part] == bare(last)[part]:
                    return heard
                heard.append(bare(frame)[part])
        return None


def bare(frame: bytes) -> bytes:
    """Without the padding, which a bridge may take away."""
    return frame.rstrip(b"\0")


def connected(sender: Wire, receiver: Wire, frame: bytes) -> None:
    """Send until it arrives: a port forwards once the kernel has seen its carrier."""
    for _ in range(100):
        sender.send(frame)
        if receiver.hear_until(frame, 0.05) is not None:
            return
    raise AssertionError("nothing arrives")


class Elsewhere:
    """A second host: a network namespace of its own, and a thread in it that does what it is told."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.namespace = self.do(_unshare)

    def do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def close(self) -> None:
        self._thread.shutdown()


def _unshare() -> str:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    ip("link set lo up")
    return f"/proc/{os.getpid()}/task/{ctypes.CDLL(None).gettid()}/ns/net"


def stand_in_host(world: World, script: str) -> Vendor:
    """A host whose script finds stand-ins for commands, and its own library beside it."""
    vendor = Vendor(world, script)
    shutil.copytree(
        PACKAGE / "scriptlib",
        world.folder / "lib" / "scriptlib",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return vendor


def drops(plugged: Plugged) -> dict[str, int]:
    """How many frames the anti-spoofing rules of a VIF have dropped, by the rules' names; without zeros."""
    listed = subprocess.run(
        ["nft", "-j", "list", "chain", "netdev", "vifplug", f"vif-{plugged.id}"],
        check=True,
        capture_output=True,
    )
    counted: dict[str, int] = {}
    for item in json.loads(listed.stdout)["nftables"]:
        rule = item.get("rule", {})
        for part in rule.get("expr", []):
            if packets := part.get("counter", {}).get("packets"):
                counted[rule["comment"]] = counted.get(rule["comment"], 0) + packets
    return counted


def ruleset() -> str:
    """All that nftables has."""
    return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


def rules_left() -> str:
    """The chains in it."""
    return "".join(line for line in ruleset().splitlines() if "chain" in line)


SCRIPTS = Path(PACKAGE) / "scripts"
