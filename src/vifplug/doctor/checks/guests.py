"""libvirt and QEMU: whether they take what vifplug hands out."""

from __future__ import annotations

import os
import platform
import re

from ..check import Findings, Unseen, check, note, ok, problem, warning
from ..place import Place

_SOCKETS = (
    "/run/libvirt/virtqemud-sock-ro",
    "/run/libvirt/libvirt-sock-ro",
    "/var/run/libvirt/libvirt-sock-ro",
)
_LIBRARIES = ("/usr/lib/{}-linux-gnu", "/usr/lib64", "/usr/lib", "/lib64", "/lib")
#: since when libvirt knows what vifplug writes into XML: formatdomain.rst ("Since …") of libvirt, and its NEWS.rst
#: (9.5.0, "passt log and port forwarding improvements")
FEATURES = (
    ((5, 7, 0), "ethernet VIFs whose device is there already (<target managed='no'/>)"),
    ((6, 9, 0), "VIFs of type vdpa"),
    ((9, 0, 0), "VIFs of type user with passt"),
    ((9, 5, 0), "port forwards of passt by device, without an address"),
)
#: <interface type='vdpa'> "requires QEMU 5.1.0 or newer" (formatdomain.rst)
_QEMU_VDPA = (5, 1, 0)
#: the first libvirt that takes a tap without managed= for one that it has to make (Nova's release note on bug
#: 2033681, https://bugs.launchpad.net/nova/+bug/2033681)
_MANAGED_BY_DEFAULT = (9, 5, 0)
Version = tuple[int, ...]


@check("guests", "libvirt", "Which libvirt is here, and whether it knows what vifplug writes")
def libvirt(place: Place) -> Findings:
    daemon, library = _running(place), _installed(place)
    version = daemon or library
    if version is None:
        yield note(
            "there is no libvirt on this host",
            why="vifplug's XML is for libvirt; for QEMU alone: vifplug xml --qemu",
        )
        return
    what = "runs" if daemon else "is installed and does not run"
    missing = [text for since, text in FEATURES if version < since]
    if version < FEATURES[0][0]:
        yield problem(
            f"libvirt {_text(version)} {what}",
            why=f"it does not know {FEATURES[0][1]}: it ignores that, and sets up the tap again as it likes",
            do="upgrade libvirt to 5.7 or later",
        )
    else:
        yield ok(f"libvirt {_text(version)} {what}")
    if daemon and library and daemon != library:
        yield warning(
            f"libvirt {_text(daemon)} runs, {_text(library)} is installed",
            why="what the new one brings is not there until the daemon is started anew",
            do="systemctl restart libvirtd (or virtqemud): guests keep running",
        )
    if missing:
        yield note(
            f"this libvirt does not know {'; '.join(missing)}",
            why="VIFs that need it are refused by libvirt, not here",
        )


@check("guests", "managed-default", "What libvirt takes a tap for that is named without managed=")
def managed_default(place: Place) -> Findings:
    """vifplug writes managed='no' out; others on this host may not."""
    version = _running(place) or _installed(place)
    if version is None:
        return
    if version < _MANAGED_BY_DEFAULT:
        yield ok(
            f"libvirt {_text(version)} uses a tap that is there, with or without managed='no'; from 9.5 on it does not"
        )
    else:
        yield note(
            f"libvirt {_text(version)} makes taps itself unless the XML says managed='no', as vifplug's does",
            why="XML of others that names a tap which is there already fails without it, as Nova's before 2024.2 does"
            " (https://bugs.launchpad.net/nova/+bug/2033681)",
            do="take vifplug's XML as it is; upgrade Nova to 2024.2 or later",
        )


def _running(place: Place) -> Version | None:
    if place.program("virsh") is None or not any(place.path(name).exists() for name in _SOCKETS):
        return None
    said = place.run("virsh", "--readonly", "--connect", "qemu:///system", "version", "--daemon")
    return _version(r"Running against daemon: *([0-9.]+)", said.out)


def _installed(place: Place) -> Version | None:
    """The library's version is in its file's name: libvirt.so.0.9000.0 is 9.0.0."""
    for directory in _LIBRARIES:
        folder = place.path(directory.format(platform.machine()))
        try:
            names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            if found := re.fullmatch(r"libvirt\.so\.0\.([0-9]{4,6})\.([0-9]{1,3})", name):
                return int(found[1]) // 1000, int(found[1]) % 1000, int(found[2])
    return None


def _version(pattern: str, text: str) -> Version | None:
    found = re.search(pattern, text)
    numbers = [int(part) for part in found[1].split(".") if part] if found else []
    return (*numbers, 0, 0)[:3] if numbers else None


def _text(version: Version) -> str:
    return ".".join(map(str, version))


@check("guests", "qemu", "Which QEMU is here, and whether guests get the processor's help")
def qemu(place: Place) -> Findings:
    machine = {"x86_64": "x86_64", "i686": "i386"}.get(platform.machine(), platform.machine())
    names = (f"qemu-system-{machine}", "qemu-kvm", "kvm")
    name = next((name for name in names if place.program(name)), None)
    if name is None and (place.path("/usr/libexec/qemu-kvm")).exists():
        yield ok("QEMU is at /usr/libexec/qemu-kvm")
    elif name is None:
        yield note(
            f"there is no {names[0]} on this host", why="it can plug VIFs, but runs no guests of QEMU's"
        )
        return
    else:
        version = _version(r"version ([0-9.]+)", place.run(name, "--version").out)
        if version is None:
            raise Unseen(f"{name} --version does not tell a version", f"{name} --version")
        yield ok(f"{name} is version {_text(version)}")
        if version < _QEMU_VDPA:
            yield note(
                f"QEMU {_text(version)} cannot open vDPA devices", why="VIFs of type vdpa need 5.1 or later"
            )
    if not place.path("/dev/kvm").exists():
        yield note(
            "there is no /dev/kvm", why="guests are emulated, and slow; VIFs work all the same",
            do="modprobe kvm_intel or kvm_amd, or turn virtualisation on in the firmware",
        )  # fmt: skip


@check("guests", "passt", "Whether passt is here for VIFs of type user")
def passt(place: Place) -> Findings:
    if place.program("passt"):
        yield ok("passt is installed")
    elif any(vif.type == "user" for vif in place.records.current):
        yield warning(
            "passt is not installed, and VIFs of type user are on record",
            why="guests whose VIF has backend passt do not start", do="apt-get install passt",
        )  # fmt: skip
    else:
        yield note(
            "passt is not installed",
            why="VIFs of type user with backend passt need it",
            do="apt-get install passt",
        )
