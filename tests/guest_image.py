"""The guest that tests boot under emulation: Debian's cloud kernel, and an initial file system of busybox.

``python tests/guest_image.py FOLDER`` makes FOLDER/vmlinuz and FOLDER/initrd from Debian's packages, which are
downloaded and unpacked, not installed. ``./dev test`` does so once. The guest loads virtio's drivers, and gives each
card that it has or gets, with the MAC fa:16:3e:00:N:X, the address 10.9.N.X/24. It tells so on its console. Who
connects to its port 23 has a shell.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".venv" / "guest"
#: goes with what this file makes: another is made when it is not the one in the folder
VERSION = "3"

#: in the order in which each needs those before it
_MODULES = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
    "failover", "net_failover", "virtio_net",
)  # fmt: skip
_APPLETS = ("sh", "mount", "insmod", "ip", "cat", "echo", "sleep", "cut", "printf", "ping", "poweroff", "nc")

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /lib/$module.ko; done
ip link set lo up
nc -ll -p 23 -e sh &
echo 1 >/proc/sys/kernel/panic
echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s"
neighbours() {
    while :; do
        for card in /sys/class/net/eth*; do
            [ -e $card ] || continue
            mac=$(cat $card/address)
            net=$(printf %d 0x$(echo $mac | cut -d: -f5)) own=$(printf %d 0x$(echo $mac | cut -d: -f6))
            other=10.9.$net.$((own ^ 1))
            now=answers
            ping -c1 -W1 $other >/dev/null 2>&1 || now="does not answer"
            [ "$(cat /heard-$other 2>/dev/null)" = "$now" ] || echo "guest: neighbour $other $now"
            echo "$now" >/heard-$other
        done
        sleep 0.5
    done
}
case $(cat /proc/cmdline) in *neighbours*) neighbours & ;; esac
known=" "
while :; do
    for card in /sys/class/net/eth*; do
        [ -e $card ] || continue
        name=${card##*/} mac=$(cat $card/address)
        case $known in *" $name=$mac "*) continue ;; esac
        net=$(printf %d 0x$(echo $mac | cut -d: -f5)) own=$(printf %d 0x$(echo $mac | cut -d: -f6))
        ip link set $name up
        ip address add 10.9.$net.$own/24 dev $name
        known="$known$name=$mac "
        echo "guest: $name $mac 10.9.$net.$own mtu $(cat $card/mtu)"
    done
    for one in $known; do
        [ -e /sys/class/net/${one%%=*} ] && continue
        left=" "
        for other in $known; do [ $other = $one ] || left="$left$other "; done
        known=$left
        echo "guest: ${one%%=*} is gone"
    done
    sleep 0.1
done
"""


class NoGuest(Exception):
    """The guest cannot be made; says why, and what to do."""


class Archive:
    """A cpio archive in the form that the kernel reads ("newc": Documentation/driver-api/early-userspace)."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._files = 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        self._files += 1
        fields = (self._files, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + name.encode() + b"\0", content):
            self._parts.append(part + bytes(-len(part) % 4))

    def closed(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return b"".join(self._parts)


def initrd(busybox: bytes, modules: dict[str, bytes]) -> bytes:
    """Everything the guest has, packed for the kernel."""
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "lib"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox)
    for applet in _APPLETS:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    for name, content in modules.items():
        archive.add(f"lib/{name}.ko", stat.S_IFREG | 0o644, content)
    archive.add("modules", stat.S_IFREG | 0o644, "\n".join(modules).encode())
    archive.add("init", stat.S_IFREG | 0o755, INIT.encode())
    return gzip.compress(archive.closed(), 1)


def _kernel_package() -> str:
    """The package with the kernel itself, on which the one without a version depends."""
    shown = _run("apt-cache", "depends", "linux-image-cloud-amd64").stdout
    if (found := re.search(r"Depends: (linux-image-\S+-cloud-amd64)$", shown, re.MULTILINE)) is None:
        raise NoGuest("apt knows no linux-image-cloud-amd64: run 'apt-get update', as root")
    return found[1]


def _run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoGuest(f"{command[0]} is missing: the guest is made from Debian's packages") from None
    if done.returncode:
        raise NoGuest(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
    return done


def make(folder: Path) -> None:
    """The kernel and the initial file system, from Debian's packages. Raises NoGuest."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        work.chmod(0o777)  # apt downloads as a user of its own
        _run("apt-get", "download", "-q", _kernel_package(), "busybox-static", cwd=work)
        for package in work.glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(work / "root"))
        (bz_image,) = (work / "root/boot").glob("vmlinuz-*")
        found = {path.stem: path for path in (work / "root/lib/modules").rglob("*.ko")}
        modules = {name: found[name].read_bytes() for name in _MODULES}
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "vmlinuz", bz_image.read_bytes())
        _write(folder / "initrd", initrd((work / "root/bin/busybox").read_bytes(), modules))
    _write(folder / "version", VERSION.encode())


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing: a guest may just be started from it."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(content)
    new.rename(path)


def made(folder: Path = FOLDER) -> Path:
    """The folder, with the guest in it. Raises NoGuest."""
    version = folder / "version"
    if not version.exists() or version.read_text() != VERSION:
        make(folder)
    return folder


if __name__ == "__main__":
    os.umask(0o022)
    try:
        made(Path(sys.argv[1]))
    except NoGuest as error:
        sys.exit(str(error))
