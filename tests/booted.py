"""This Debian, booted: systemd is process 1 of it, and units run with all that they ask for.

Its processes, mounts, network and cgroups are its own, and of the kernel's settings it can change those of its
network alone. None of the real system's units is started but the log: a test starts what it is about.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
from pathlib import Path

from debian import OVERLAY, Debian

_BOOT = (
    OVERLAY
    + """
root=$1/root
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,rw "$root/proc/sys/net"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root/dev"
for tree in run tmp dev/shm; do mount -t tmpfs -o mode=755 tmpfs "$root/$tree"; done
touch "$root/run/started"
mount --bind "$2" "$root/run/started"
cd "$root"
rm -rf etc/systemd/system/* lib/systemd/system/*.target.wants lib/systemd/system/systemd-journald-*.socket \\
    usr/sbin/policy-rc.d
mkdir -p etc/systemd/journald.conf.d etc/systemd/system/basic.target.wants
ln -s /lib/systemd/system/systemd-journald.service etc/systemd/system/basic.target.wants
printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\n' >etc/systemd/journald.conf.d/test.conf
pivot_root . mnt
umount --lazy /mnt
exec env -i container=test NOTIFY_SOCKET=/run/started PATH=/usr/sbin:/usr/bin \\
    /lib/systemd/systemd --unit=basic.target --show-status=no --log-target=null
"""
)
#: moved into a cgroup of its own first, which is then the root of what it sees; and it ends with us, however we end
_START = """
echo 0 >"$1/cgroup.procs"
shift
exec setpriv --pdeathsig KILL unshare "$@"
"""
#: seconds that booting may take, on a machine that is busy
_PATIENCE = 60


class Booted(Debian):
    """Use it in a with statement."""

    _namespaces = ("mount", "pid", "cgroup", "uts", "ipc", "net")

    def __enter__(self) -> Booted:
        self._cgroup = Path(tempfile.mkdtemp(prefix="vifplug-tests-", dir=_cgroups()))
        own = [
            *(f"--{name}" for name in self._namespaces),
            "--propagation",
            "private",
            "--fork",
            "--kill-child",
        ]
        with (
            tempfile.TemporaryDirectory() as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said,
        ):
            said.bind(f"{folder}/started")
            said.settimeout(_PATIENCE)
            self._unshare = subprocess.Popen(
                [
                    *("sh", "-ec", _START, "sh", str(self._cgroup), *own),
                    *("sh", "-ec", _BOOT, "sh", str(self._folder), f"{folder}/started"),
                ],
                stdin=subprocess.DEVNULL,
            )
            while b"READY=1" not in said.recv(65536).splitlines():
                pass
        return self

    def __exit__(self, *_: object) -> None:
        pidfd = os.pidfd_open(self._inside)
        self._unshare.kill()  # and with it process 1, and with that all
        self._unshare.wait()
        select.select([pidfd], [], [], _PATIENCE)
        os.close(pidfd)
        for cgroup, *_content in os.walk(self._cgroup, topdown=False):
            Path(cgroup).rmdir()

    @property
    def _root(self) -> str:
        return "/"

    @property
    def _inside(self) -> int:
        """Process 1, as its number is out here."""
        return int(Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text())


def _cgroups() -> str:
    """Where this system's cgroups (version 2) are."""
    mounts = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return next(mount[4] for mount in mounts if mount[mount.index("-") + 1] == "cgroup2")
