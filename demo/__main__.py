"""Two port bindings become two connected guests, and nothing is left afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from vifplug import Host, VifplugError
from vifplug.host import Plugged
from vifplug.probe import StandInGuest

from .sandbox import NoSandboxError, Sandbox, enter
from .screen import Screen

_BINDINGS = Path(__file__).resolve().parent.parent / "examples" / "bindings"
_PINGS = 3


def main() -> int:
    try:
        status = _demo()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("demo: interrupted; its namespaces, and all in them, go with it", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    return status


def _demo() -> int:
    began = time.monotonic()
    screen = Screen()
    screen.title(
        "vifplug: a VIF type says what the guest sees, a plug script what the network does",
        "Everything below happens on this kernel, in namespaces of the demo's own: the host is not touched.",
    )
    try:
        sandbox = enter()
        with Host(sandbox.config, on_step=screen.step) as host:
            _tell(screen, host, sandbox)
    except (NoSandboxError, VifplugError) as error:
        screen.failed = True
        print(f"demo: {error}", file=sys.stderr)
    seconds = time.monotonic() - began
    screen.end(f"Done in {seconds:.1f} s.", f"Not all was as it should be ({seconds:.1f} s).")
    return 1 if screen.failed else 0


def _tell(screen: Screen, host: Host, sandbox: Sandbox) -> None:
    before = _devices()

    screen.chapter("The operator has installed two plug scripts")
    for script in host.scripts():
        info = script.info or {}
        about = f"version {info['version']}" if info else "written in 2015: plug and unplug alone"
        verdict = script.reason or f"{(script.digest or '')[:15]}…  {about}"
        screen.fact(script.trusted, f"{script.path:<40}", verdict)
    for note in sandbox.notes:
        screen.note(note)

    screen.chapter("Plug web-1: a port as Neutron's API gives it, its script by name (linux-bridge)")
    one = host.plug((_BINDINGS / "neutron-port.json").read_bytes())
    screen.note("what its guest sees, for libvirt:")
    screen.block(one.xml)

    screen.chapter(f"Plug web-2: a native binding, its script by path ({sandbox.script_path})")
    native = (_BINDINGS / "native.json").read_text()
    two = host.plug(native.replace("/usr/bin/neutron-demo-vif-plug", sandbox.script_path))
    screen.block(two.xml)

    screen.chapter("Two stand-in guests open the taps and talk through the bridge")
    _talk(screen, one, two)

    screen.chapter("Unplug both")
    for name, plugged in (("web-2", two), ("web-1", one)):
        screen.note(f"{name}:")
        host.unplug(plugged.id)

    screen.chapter("Nothing is left")
    after = _devices()
    screen.fact(after == before, "devices", f"{', '.join(after)} (before: {', '.join(before)})")
    on_record = [record.id for record in host.list()]
    screen.fact(not on_record, "VIFs on record", ", ".join(on_record) or "none")
    running = _children()
    screen.fact(not running, "processes", ", ".join(running.values()) or "none")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _talk(screen: Screen, one: Plugged, two: Plugged) -> None:
    with _guest(one) as web_1, _guest(two) as web_2:
        for name, asking, other, asked in (
            ("web-1", web_1, "web-2", web_2),
            ("web-2", web_2, "web-1", web_1),
        ):
            target = str(asked.addresses[0].ip)
            arp = asking.arp(target)
            if arp is None:
                screen.fact(False, f"{name}: who has {target}?", "no answer")
                continue
            screen.fact(
                arp.value == asked.address,
                f"{name}: who has {target}?",
                f"{arp.value} ({other}), {arp.seconds * 1000:.2f} ms",
            )
            pings = [asking.ping(target, arp.value) for _ in range(_PINGS)]
            times = ["lost" if ping is None else f"{ping.seconds * 1000:.2f} ms" for ping in pings]
            screen.fact(None not in pings, f"{name}: ping {target}", ", ".join(times))


def _guest(plugged: Plugged) -> StandInGuest:
    vif = plugged.vif
    addresses = [address for subnet in vif.network.subnets for address in subnet.addresses]
    return StandInGuest(vif.devname, vif.address or "", addresses)


def _devices() -> list[str]:
    listed = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def _children() -> dict[int, str]:
    """Processes that anything here has started and that still run: orphans become our children."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            name, _, rest = (entry / "stat").read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found[int(entry.name)] = f"{name})"
    return found


if __name__ == "__main__":
    sys.exit(main())
