"""A place of the demo's own: network, mounts, and for an ordinary user a user namespace to be root in.

Nothing that is done here touches the host, and the kernel clears it all when the demo ends.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import vifplug
from vifplug.config import Config, Trust

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_PR_SET_CHILD_SUBREAPER = 36
#: whose a file is that belongs to no user of this namespace (/proc/sys/kernel/overflowuid)
_NOBODY = 65534

_CHECKOUT = Path(__file__).resolve().parent.parent
_PACKAGE = Path(vifplug.__file__).parent
#: the shipped script, and what it reads by way of its own place
_SHIPPED = ["scripts/linux-bridge", "plugscript.sh", "scriptlib/bridge.sh", "scriptlib/links.sh"]
_OF_2015 = _CHECKOUT / "examples" / "neutron-demo-vif-plug"


class NoSandboxError(Exception):
    """Why this host gives the demo no place of its own: a sentence with what to do."""


@dataclass(frozen=True)
class Sandbox:
    config: Config
    #: the 2015-style script, as a port binding names it
    script_path: str
    #: what is not as it would be on a real host, and why
    notes: list[str]


def enter() -> Sandbox:
    """Move this process, for good, into namespaces of its own, and install the two scripts in them."""
    ordinary_user = os.geteuid() != 0
    _unshare(ordinary_user)
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise NoSandboxError(
            "/dev/net/tun cannot be opened here: run as root, or once as root: modprobe tun; chmod 0666 /dev/net/tun"
        )
    _run("mount", "--make-rprivate", "/")
    _run("ip", "link", "set", "lo", "up")
    # whatever a script might leave running becomes our child, and is seen at the end
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    notes = []
    owners = [0]
    if Path("/usr").stat().st_uid == _NOBODY:
        owners.append(_NOBODY)
        notes.append(
            "In a user namespace, the real root's files look like user 65534's: so 65534 is trusted too."
        )

    base = _scratch()
    script_path, directory = "/usr/bin/neutron-demo-vif-plug", "/usr/lib/vifplug/scripts"
    allow = Trust().allow
    if not (_overlay("/usr/bin", base) and _overlay("/usr/lib", base)):
        notes.append(f"No overlay file system here, so the scripts are below {base} instead of /usr.")
        script_path, directory = f"{base}{script_path}", f"{base}{directory}"
        allow = [f"{base}/usr/bin/neutron-*-vif-plug"]
    _install(_OF_2015, Path(script_path))
    for name in _SHIPPED:
        _install(_PACKAGE / name, Path(directory).parent / name)
    trust = Trust(directories=[directory], packaged=False, allow=allow, owners=owners)
    return Sandbox(Config(state_dir=f"{base}/var/lib/vifplug", trust=trust), script_path, notes)


def _unshare(ordinary_user: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | _CLONE_NEWNET | (_CLONE_NEWUSER if ordinary_user else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise NoSandboxError(
            f"the kernel gives no namespaces to this {'user' if ordinary_user else 'process'} "
            f"({os.strerror(ctypes.get_errno())}): "
            + (
                "run as root, or allow user namespaces"
                if ordinary_user
                else "a container has to be a privileged one"
            )
        )
    if ordinary_user:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        except OSError as error:
            raise NoSandboxError(
                f"this user may not be root in a namespace of its own ({error.strerror}): run as root"
            ) from error


def _scratch() -> Path:
    """An empty file system in memory, over a directory that every host has and the demo does not need."""
    needed = [_CHECKOUT, Path(sys.executable).absolute(), Path(sys.base_prefix)]
    for place in map(Path, ("/mnt", "/srv", "/media", "/opt")):
        if place.is_dir() and not any(path.is_relative_to(place) for path in needed):
            _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(place))
            return place
    raise NoSandboxError("none of /mnt, /srv, /media and /opt is free to hold the demo's files")


def _overlay(directory: str, base: Path) -> bool:
    """Lay a writable layer over ``directory``; False where the kernel cannot."""
    upper, work = base / f"upper{directory}", base / f"work{directory}"
    upper.mkdir(parents=True, mode=0o755)
    work.mkdir(parents=True)
    options = f"lowerdir={directory},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, directory]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def _install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoSandboxError(f"'{' '.join(command)}' failed here: {done.stderr.strip()}")
