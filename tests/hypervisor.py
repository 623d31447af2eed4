"""A real libvirtd in a mount namespace of its own, with guests under emulation."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libvirt

import guest_image
from daemons import until
from vifplug.host.netlink import Netlink
from vifplug.libvirt.definition import Definition, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What libvirtd finds out about this QEMU takes it seconds: kept for all of this checkout's tests.
_KNOWN = guest_image.FOLDER.parent / "libvirt-cache"
_INSTALL = "install it with: apt-get install --no-install-recommends libvirt-daemon-system"
_HOLD = """
hostname "$2"
mount --make-rprivate /
mkdir -p /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
for part in run:/run/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt etc:/etc/libvirt; do
    mount --bind "$1/${part%%:*}" "${part#*:}"
done
exec "$3" -c "$4"
"""
_HOLDING = ("unshare", "--mount", "--uts", "sh", "-ec", _HOLD, "sh")
#: Starts what it is told to, and takes care of every process that ends: libvirt waits until a guest's has been seen to,
#: which is up to process 1, and that of a container may take seconds.
_PARENT = """
import ctypes, os, sys, threading, time
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
def wait():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.02)
threading.Thread(target=wait, daemon=True).start()
null = os.open(os.devnull, os.O_RDWR)
for line in sys.stdin:
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)]
    print(os.posix_spawnp(line.split()[0], line.split(), os.environ, file_actions=actions), flush=True)
"""
_QEMU_CONF = """
security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = [ ]
stdio_handler = "file"
namespaces = [ ]
remember_owner = 0
"""
_DAEMON_CONF = """
host_uuid = "{uuid}"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""


class Hypervisor:
    """libvirtd, in the network namespace of the thread that starts it. ``folder``: its own, and empty.

    ``hostname``: how its host is called. ``daemon``, ``qemu``: more lines for libvirtd.conf and qemu.conf.
    ``options``: for its command line.
    """

    def __init__(
        self, folder: Path, hostname: str = "host", *, daemon: str = "", qemu: str = "", options: str = ""
    ) -> None:
        self.folder = folder
        self.hostname = hostname
        self._options = options
        self._parent: subprocess.Popen[str] | None = None
        self._pid = 0
        for part in ("run", "lib", "log", "etc", "consoles"):
            (folder / part).mkdir(parents=True)
        _KNOWN.mkdir(parents=True, exist_ok=True)
        shutil.copytree(_KNOWN, folder / "cache")
        (folder / "etc" / "libvirtd.conf").write_text(_DAEMON_CONF.format(uuid=uuid.uuid4()) + daemon)
        (folder / "etc" / "qemu.conf").write_text(_QEMU_CONF + qemu)

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt-sock"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert shutil.which("libvirtd"), f"libvirtd is not here; {_INSTALL}"
        if self._parent is None:
            self._parent = subprocess.Popen(
                [*_HOLDING, self.folder, self.hostname, sys.executable, _PARENT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(f"libvirtd --pid-file {self.folder}/libvirtd.pid {self._options}\n")
        self._parent.stdin.flush()
        self._pid = int(self._parent.stdout.readline())
        until(self._answers, 60)

    def _answers(self) -> bool:
        assert self.runs(), (self.folder / "log" / "libvirtd.log").read_text()
        with contextlib.suppress(libvirt.libvirtError), self.connected():
            return True
        return False

    @property
    def process(self) -> int:
        return self._pid

    def runs(self) -> bool:
        return Path(f"/proc/{self._pid}").exists()

    @contextlib.contextmanager
    def connected(self) -> Iterator[libvirt.virConnect]:
        """A connection of the test's own."""
        with contextlib.closing(libvirt.open(self.uri)) as connection:
            yield connection

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End libvirtd; its guests run on."""
        os.kill(self._pid, number)
        until(lambda: not self.runs())

    def clear(self) -> None:
        """End and undefine all guests."""
        with self.connected() as connection:
            for domain in connection.listAllDomains():
                if domain.isActive():
                    self.crash(domain.name())  # destroying one politely takes a second
                    until(partial(_is_off, domain))
                with contextlib.suppress(libvirt.libvirtError):  # a transient one is gone
                    domain.undefine()

    def stop(self) -> None:
        """End all guests, and then libvirtd."""
        self.clear()
        self.kill(signal.SIGTERM)
        assert self._parent is not None
        self._parent.communicate()
        shutil.copytree(self.folder / "cache", _KNOWN, dirs_exist_ok=True)

    # --- guests ------------------------------------------------------------------------------

    def guest(self, name: str = "guest", *, boots: bool = False, machine: str = "pc") -> str:
        """A domain's XML. One that does not boot stands still in its firmware, and lets go of nothing."""
        boot = ""
        if boots:
            made = guest_image.made()
            boot = f"""<kernel>{made}/vmlinuz</kernel><initrd>{made}/initrd</initrd>
                <cmdline>console=ttyS0 quiet panic=-1 no_timer_check</cmdline>"""
        return f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>{128 if boots else 32}</memory>
            <os><type arch='x86_64' machine='{machine}'>hvm</type>{boot}</os><features><acpi/></features>
            <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
            <controller type='usb' model='none'/><memballoon model='none'/>
            <serial type='file'><source path='{self.console(name)}'/></serial></devices></domain>"""

    def console(self, name: str) -> Path:
        return self.folder / "consoles" / name

    def wait_said(self, name: str, text: str) -> None:
        """Wait until the guest has said it on its console."""
        until(lambda: self.console(name).exists() and text in self.console(name).read_text(), 60)

    def crash(self, name: str) -> None:
        """SIGKILL to a guest's QEMU."""
        pid = int((self.folder / "run" / "qemu" / f"{name}.pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_off(domain: Any) -> bool:
    try:
        return not domain.isActive()
    except libvirt.libvirtError:  # a transient one is gone
        return True


def devices() -> list[str]:
    """The devices in this namespace, but lo."""
    with Netlink() as netlink:
        return [link.name for link in netlink.links() if link.name != "lo"]


def in_guest(domain: Any, scope: Scope = Scope.LIVE) -> list[str | None]:
    """The interfaces that it has, by the names of their devices."""
    return [one.device for one in Definition.of(domain, scope).interfaces]


def kept(domain: Any, scope: Scope) -> list[str]:
    return list(Definition.of(domain, scope).kept)
