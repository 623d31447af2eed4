"""A guest small enough for an emulated machine: Debian's cloud kernel, and busybox with a script of ours as init.

A guest's interface with MAC address ``fa:16:3e:00:NN:XX`` has the address 10.9.N.X, whenever it appears, and its
guest pings its neighbour 10.9.N.(X xor 1). What becomes of that stands on the serial console::

    UP 1.89                        seconds since the kernel began
    INTERFACE eth0 10.9.0.16 1450  with its MTU
    NEIGHBOUR 10.9.0.17 answers    or: is silent
    GONE eth0
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: in the order in which they depend on each other
_MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "net/core/failover",
    "drivers/net/net_failover", "drivers/net/virtio_net",
)  # fmt: skip
_COMMANDS = ("sh", "mount", "insmod", "ip", "ping", "cat", "echo", "sleep", "cut", "printf", "grep", "sed")
#: how an LZ4 stream of the kernel's begins (lz4 legacy frame), and the directory for what is made once
_LZ4 = b"\x02\x21\x4c\x18"
_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
for module in MODULES; do insmod /lib/$module.ko; done
ip link set lo up
echo "UP $(cut -d' ' -f1 /proc/uptime)"
seen=" "
heard=" "
while :; do
    for path in /sys/class/net/eth*; do
        [ -e "$path" ] || continue
        name=${path##*/}
        mac=$(cat "$path/address")
        case $seen in *" $name=$mac "*) continue ;; esac
        net=$(printf %d "0x$(echo "$mac" | cut -d: -f5)")
        host=$(printf %d "0x$(echo "$mac" | cut -d: -f6)")
        ip link set "$name" up
        ip addr add "10.9.$net.$host/24" dev "$name"
        seen="$seen$name=$mac "
        echo "INTERFACE $name 10.9.$net.$host $(cat "$path/mtu")"
    done
    for entry in $seen; do
        name=${entry%%=*}
        mac=${entry#*=}
        if [ ! -e "/sys/class/net/$name" ]; then
            seen=$(echo "$seen" | sed "s/ $entry / /")
            echo "GONE $name"
            continue
        fi
        net=$(printf %d "0x$(echo "$mac" | cut -d: -f5)")
        host=$(printf %d "0x$(echo "$mac" | cut -d: -f6)")
        neighbour=10.9.$net.$((host ^ 1))
        if ping -c1 -W1 "$neighbour" >/dev/null 2>&1; then now=answers; else now="is silent"; fi
        case $heard in *" $neighbour=$now "*) continue ;; esac
        heard="$(echo "$heard" | sed "s/ $neighbour=[a-z ]* / /") $neighbour=$now "
        echo "NEIGHBOUR $neighbour $now"
    done
    sleep 0.5
done
"""


class ImageError(Exception):
    """Why there is no guest image: a sentence with what to do."""


@dataclass(frozen=True)
class Image:
    #: an uncompressed ELF kernel: half a second sooner than one that unpacks itself under emulation
    kernel: Path
    initrd: Path


def guest_image(cache: Path) -> Image:
    """Kernel and initial RAM disk, made once in ``cache`` from two of Debian's packages, of which nothing is
    installed."""
    image = Image(cache / "vmlinux", cache / "initrd.gz")
    init = cache / "init"
    wanted = _INIT.replace("MODULES", " ".join(Path(module).name for module in _MODULES))
    if image.initrd.exists() and init.exists() and init.read_text() == wanted:
        return image
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        _unpack(_kernel_package(), folder)
        _unpack("busybox-static", folder)
        _write_whole(image.kernel, _uncompressed(next((folder / "boot").glob("vmlinuz-*"))))
        _write_whole(image.initrd, _initrd(folder, wanted))
    _write_whole(init, wanted.encode())
    return image


def _kernel_package() -> str:
    lines = _run("apt-cache", "depends", "linux-image-cloud-amd64").splitlines()
    found = [line.partition("Depends:")[2].strip() for line in lines if "Depends: linux-image-" in line]
    if not found:
        raise ImageError("apt knows no linux-image-cloud-amd64: run apt-get update")
    return found[0]


def _unpack(package: str, folder: Path) -> None:
    _run("apt-get", "download", "-o", "APT::Sandbox::User=root", package, cwd=folder)
    (archive,) = folder.glob(f"{package}_*.deb")
    _run("dpkg-deb", "-x", str(archive), str(folder))
    archive.unlink()


def _uncompressed(vmlinuz: Path) -> bytes:
    packed = vmlinuz.read_bytes()
    found = packed.find(_LZ4)
    if found < 0:
        raise ImageError(f"{vmlinuz.name} is not compressed with LZ4, and nothing else is understood here")
    # what follows the stream is not part of it, and lz4 says so after it has written all
    done = subprocess.run(["lz4", "-dc"], input=packed[found:], capture_output=True, check=False)
    if done.stdout[:4] != b"\x7fELF":
        raise ImageError(f"{vmlinuz.name}: lz4 found no kernel in it: {done.stderr.decode()[:200]}")
    return done.stdout


def _initrd(folder: Path, init: str) -> bytes:
    """An archive as the kernel reads it: cpio, form "newc" (Documentation/driver-api/early-userspace)."""
    (modules,) = (folder / "lib" / "modules").iterdir()
    busybox = next(path for path in (folder / "bin/busybox", folder / "usr/bin/busybox") if path.exists())
    entries: list[tuple[str, int, bytes]] = [
        (name, 0o040755, b"") for name in ("bin", "dev", "proc", "sys", "lib")
    ]
    entries.append(("bin/busybox", 0o100755, busybox.read_bytes()))
    entries += [(f"bin/{command}", 0o120777, b"busybox") for command in _COMMANDS]
    entries += [
        (f"lib/{Path(module).name}.ko", 0o100644, (modules / "kernel" / f"{module}.ko").read_bytes())
        for module in _MODULES
    ]
    entries.append(("init", 0o100755, init.encode()))
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return gzip.compress(bytes(out), compresslevel=1, mtime=0)


def _write_whole(path: Path, content: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    new.rename(path)


def _run(*command: str, cwd: Path | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise ImageError(
            f"{command[0]} is not here: a guest's image is made from Debian's packages, on Debian"
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise ImageError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
