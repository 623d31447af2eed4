"""Side by side with what plugs VIFs without vifplug: Nova's own tap, os-vif's plugins; all asked as Nova asks them.

``./dev bench peers``. Every contender is ``LibvirtGenericVIFDriver.plug`` and ``unplug`` of the real Nova, in a process
that started as nova-compute does; but for os-vif 4.3.1's Linux bridge plugin, which Nova no longer has: os_vif.plug.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import vifplug

from .figures import Aim, Figure, figure
from .peer import BRIDGE, MANY, OTHERS, THERE, UPLINK
from .place import MTU, NotPossible, Place, host_mac, tap
from .switch import open_vswitch
from .turns import Samples, Steps, ratio, take_turns
from .vifplugd import Served
from .workers import ROOT, Worker

PART = "peers"
_PACKAGE = Path(vifplug.__file__).parent

FLOOR, NOVA_TAP = "floor", "Nova's own tap"
OSVIF_BRIDGE, OSVIF_OWN = "os-vif 4.3.1 linux_bridge", "os-vif 4.3.1 linux_bridge, new"
NATIVE, VSCTL = "os-vif ovs, native", "os-vif ovs, vsctl"
NO_SCRIPT, LINUX_BRIDGE = "vifplug, no script", "vifplug, linux-bridge"
OWN_BRIDGE = "vifplug, linux-bridge, create_bridge"
RESIDENT, EACH = "vifplug, openvswitch (stays up)", "vifplug, openvswitch, a process each"


def measure(place: Place, rounds: int) -> list[Figure]:
    """Plug, the same plug again, and unplug of a VIF by each in turn, timed where it is asked for."""
    nova, osvif = _python(".venv-nova"), _python(".venv-osvif")
    for bridge in (BRIDGE, THERE):
        _ip(f"link add {bridge} up type bridge")
    for uplink in (UPLINK, f"{THERE}-up", f"{OTHERS}-up"):
        _ip(f"link add {uplink} up type veth peer name {uplink[:-2]}p")
    with ExitStack() as running:
        switch = running.enter_context(open_vswitch(place.folder / "ovs"))
        daemon = Served(place)
        _scripts(place, daemon)
        running.enter_context(daemon.client())
        floor = running.enter_context(place.floor())

        def compute(interface: str) -> Worker:
            config = place.folder / f"nova-{interface}.conf"
            helper = (
                f"helper_command = {nova.parent}/privsep-helper --config-file {config}\n"  # needs no sudo
            )
            config.write_text(
                f"[nova_sys_admin]\n{helper}[vif_plug_ovs_privileged]\n{helper}"
                f"[os_vif_ovs]\novsdb_connection = {switch}\novsdb_interface = {interface}\n"
                f"[oslo_concurrency]\nlock_path = {place.folder}\n"
                f"[os_vif_vifplug]\nsocket = {daemon.socket}\n"
            )
            return running.enter_context(Worker(nova, "peer_nova", config))

        native, vsctl = compute("native"), compute("vsctl")
        old = running.enter_context(Worker(osvif, "peer_osvif", place.folder))

        def steps(worker: Worker, vif: str) -> Steps:
            plug, unplug = (worker.asked(vif, verb) for verb in ("plug", "unplug"))
            return {"plug": plug, "plug again": plug, "unplug": unplug}

        samples = take_turns(
            rounds,
            {
                NO_SCRIPT: steps(native, "none"),
                FLOOR: {
                    "plug": partial(floor.plug, tap(1), host_mac(1), MTU),
                    "unplug": partial(floor.unplug, tap(1)),
                },
                NOVA_TAP: steps(native, "nova-tap"),
                LINUX_BRIDGE: steps(native, "linux-bridge"),
                OSVIF_BRIDGE: {"plug": old.asked("linux-bridge", "plug")},
                OWN_BRIDGE: steps(native, "own-bridge"),
                OSVIF_OWN: {
                    "plug": old.asked("own-bridge", "plug"),
                    "_remove": partial(_ip, f"link delete {OTHERS}"),
                },
                RESIDENT: steps(native, "openvswitch"),
                EACH: steps(native, "each"),
                NATIVE: steps(native, "os-vif"),
                VSCTL: steps(vsctl, "os-vif"),
            },
            warm_up=3,
        )
        at_once = take_turns(
            max(3, rounds // 5),
            {
                who: {verb: native.asked(vif, verb, "all") for verb in ("plug", "unplug")}
                for who, vif in (
                    (NO_SCRIPT, "none"), (NOVA_TAP, "nova-tap"), (RESIDENT, "openvswitch"), (NATIVE, "os-vif")
                )
            },
        )  # fmt: skip
    return [*_figures(samples, _JOBS), *_figures(at_once, _CROWDS)]


#: contenders by what the VIF is connected to, ours first; Nova's tap and os-vif's bridge do less than the others
_JOBS = {
    "a tap": (NO_SCRIPT, FLOOR, NOVA_TAP),
    "a Linux bridge": (LINUX_BRIDGE, OSVIF_BRIDGE, NOVA_TAP),
    "a Linux bridge of its own": (OWN_BRIDGE, OSVIF_OWN, NOVA_TAP),
    "Open vSwitch": (RESIDENT, EACH, NATIVE, VSCTL, NOVA_TAP),
}
_CROWDS = {
    f"{MANY} taps at once": (NO_SCRIPT, NOVA_TAP),
    f"{MANY} in Open vSwitch at once": (RESIDENT, NATIVE),
}
#: by job and verb, how many times whose median ours may be; the kernel's removal of a tap bounds each unplug
_AIMS = {
    ("a tap", "plug"): (0.1, NOVA_TAP),
    ("a tap", "unplug"): (1.0, NOVA_TAP),
    ("a Linux bridge", "plug"): (0.1, NOVA_TAP),
    (f"{MANY} taps at once", "plug"): (0.1, NOVA_TAP),
    (f"{MANY} in Open vSwitch at once", "plug"): (1.0, NATIVE),
    (f"{MANY} in Open vSwitch at once", "unplug"): (1.0, NATIVE),
    ("Open vSwitch", "plug"): (1.0, NATIVE),
    ("Open vSwitch", "unplug"): (1.0, NATIVE),
}


def _figures(samples: Samples, jobs: Mapping[str, Sequence[str]]) -> Iterator[Figure]:
    for job, contenders in jobs.items():
        for verb, times in samples.items():
            aims = []
            if aim := _AIMS.get((job, verb)):
                aims.append(Aim.at_most(aim[0], ratio(times, contenders[0], aim[1]), f"times {aim[1]}"))
            chosen = {who: times[who] for who in contenders if who in times}
            yield figure(PART, f"{job}: {verb}", chosen, aims)


def _scripts(place: Place, daemon: Served) -> None:
    """The catalogue's, which find the switch; and openvswitch under another name, that does not stay up."""
    shutil.copytree(
        _PACKAGE / "scriptlib", place.folder / "scriptlib", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(_PACKAGE.parent / "plugscript.py", place.folder)
    text = (_PACKAGE / "scripts" / "openvswitch").read_text()
    stays = "    resident=True,\n"
    assert stays in text
    place.script("openvswitch-each", text.replace(stays, ""))
    with daemon.file.open("a") as file:
        for name in ("openvswitch", "openvswitch-each"):
            file.write(f'[script.{name}]\nenvironment = {{ OVS_RUNDIR = "{place.folder}/ovs" }}\n')


def _python(environment: str) -> Path:
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        raise NotPossible(f"{python} is missing: './dev bench peers' makes it")
    return python


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
