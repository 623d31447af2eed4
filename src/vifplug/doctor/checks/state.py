"""The state directory: whether what is written there stays written, and there is room for more."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import tempfile
import time
from pathlib import Path

from ...config.owners import owners_outside
from ..check import Findings, Unseen, check, many, note, ok, problem, warning
from ..place import Place

_MEBI = 1 << 20
#: bytes and inodes below which a warning is due; the ledger takes about 5 KB for a VIF with its log
_LITTLE, _NOTHING, _FEW_INODES = 64 * _MEBI, 1 * _MEBI, 64
#: seconds for one fsync above which plugs are slow for it: each waits for two
_SLOW = 0.05
_FLOCK = struct.Struct("hhqqi4x")
#: file systems whose locks or shared memory do not hold between hosts or servers (https://sqlite.org/wal.html:
#: "All processes using a database must be on the same host computer; WAL does not work over a network filesystem")
_SHARED = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse",
    "ceph",
    "glusterfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ocfs2",
    "gfs2",
    "virtiofs",
)


@check("state", "state-directory", "Whose the state directory is, and who may write above it")
def state_directory(place: Place) -> Findings:
    name = place.config.state_dir
    path = place.path(name)
    try:
        status = path.stat()
    except FileNotFoundError:
        yield ok(f"{name} is not there yet: the first plug makes it")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield problem(
            f"state_dir {name} is not a directory", why="nothing can be put on record, so nothing can be plugged",
            do=f"move it away (mv {name} {name}.old), or set state_dir to another place",
        )  # fmt: skip
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        yield problem(
            f"others may write {name} (mode {mode:04o})",
            why="what is recorded there decides what is run and removed as root; vifplug refuses to work with it",
            do=f"chmod 0700 {name}, after a look at who wrote what is in it: ls -la {name}",
        )
    elif place.privileged and status.st_uid not in {0, *owners_outside()}:
        yield problem(
            f"{name} belongs to uid {status.st_uid}",
            why="root's vifplug refuses a record that another user could change",
            do=f"chown -R root:root {name}, or run vifplug as that user",
        )
    elif loose := _loose_above(path) if place.privileged else None:
        yield problem(
            f"{loose} above {name} is not for root alone to write",
            why="others could put another directory in its place; vifplug refuses to work with it",
            do=f"chown root {loose}; chmod go-w {loose}; or set state_dir to a safe place, such as /var/lib/vifplug",
        )
    else:
        yield ok(f"{name} belongs to uid {status.st_uid} alone (mode {mode:04o})")


def _loose_above(path: Path) -> Path | None:
    for parent in path.resolve().parents:
        status = parent.stat()
        shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in {0, *owners_outside()} or shared:
            return parent
    return None


@check("state", "ledger", "Whether the ledger can be read and is sound")
def ledger(place: Place) -> Findings:
    records = place.ledger
    if records.damage != "ok":
        yield problem(
            f"the ledger {place.config.state_dir}/ledger.db is damaged: {records.damage}",
            why="nothing is plugged or unplugged with a record that cannot be trusted; running guests are not touched",
            do="see 'A damaged ledger' in docs/operating.md; keep a copy of it first:"
            f" cp -a {place.config.state_dir} {place.config.state_dir}.damaged",
        )
    elif records.ledger is None:
        yield ok("there is no ledger yet")
    else:
        yield ok(f"the ledger is sound and has {many(len(records.vifs), 'VIF')}")


@check("state", "file-system", "Whether the state directory's file system keeps what is written, also locks")
def file_system(place: Place) -> Findings:
    name = place.config.state_dir
    kind = _file_system(place, name)
    why_lost = "VIFs, and what backends are still owed for them, are forgotten when it goes"
    if kind is None:
        yield note(f"the file system of {name} is not known", why="it is not in /proc/self/mountinfo")
    elif kind.startswith(_SHARED):
        yield problem(
            f"{name} lies on {kind}",
            why="the ledger's locks and shared memory do not hold there: it can be damaged, also by another host",
            do="set state_dir to a directory on a local disk",
        )
    elif kind in ("tmpfs", "ramfs"):
        yield warning(f"{name} lies on {kind}", why=why_lost, do="set state_dir to a directory on a disk")
    elif kind in ("overlay", "aufs"):
        yield warning(
            f"{name} lies on {kind}, as in a container",
            why=f"{why_lost} with its container",
            do=f"give the container a volume of the host's for {name}",
        )
    else:
        yield ok(f"{name} lies on {kind}")


def _file_system(place: Place, name: str) -> str | None:
    """The type of the file system that ``name`` lies on or will: of the longest mount point above it (proc(5))."""
    target = f"{_existing(place.path(name)).resolve()}/"
    best, kind = "", None
    for line in (place.read("/proc/self/mountinfo") or "").splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        if len(words) < 5 or not rest.split():
            continue
        point = words[4].encode().decode("unicode_escape", errors="replace").rstrip("/") + "/"
        if target.startswith(point) and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind


def _existing(path: Path) -> Path:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


@check("state", "room", "Free space and inodes for the ledger")
def room(place: Place) -> Findings:
    name = place.config.state_dir
    found = os.statvfs(_existing(place.path(name)))
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    why = (
        "nothing is plugged that cannot be put on record first, and an unplug needs room for its outcome too"
    )
    do = f"free some: df -h {name}; du -xh --max-depth=2 / | sort -h | tail"
    if free < _NOTHING:
        yield problem(f"{free} bytes are free for {name}", why=why, do=do)
    elif free < _LITTLE:
        yield warning(f"{free // _MEBI} MiB are free for {name}", why=why, do=do)
    else:
        yield ok(f"{free // _MEBI} MiB are free for {name}")
    if found.f_files and inodes < _FEW_INODES:  # some file systems (btrfs) do not count them
        yield warning(f"{inodes} inodes are free for {name}", why=why, do=f"remove files: df -i {name}")


@check("state", "locks-and-fsync", "Locks and fsync in the state directory, tried on a file without a name")
def locks_and_fsync(place: Place) -> Findings:
    """Open file description locks keep threads and processes from one VIF; fsync is what "on record" means."""
    where = _existing(place.path(place.config.state_dir))
    if not os.access(where, os.W_OK):
        raise Unseen(f"{where} may not be written by this user")
    with tempfile.TemporaryFile(dir=where) as file:
        other = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR | os.O_CLOEXEC)
        try:
            wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
            fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, wanted)
            try:
                fcntl.fcntl(other, fcntl.F_OFD_SETLK, wanted)
            except BlockingIOError:
                yield ok("locks exclude each other")
            else:
                yield problem(
                    f"two locks on one file in {where} do not exclude each other",
                    why="two processes could work on one VIF at the same time",
                    do="set state_dir to a directory on a local disk",
                )
        finally:
            os.close(other)
        file.write(b"vifplug")
        file.flush()
        begun = time.monotonic()
        os.fsync(file.fileno())
        seconds = time.monotonic() - begun
    if seconds > _SLOW:
        yield note(
            f"a write takes {seconds * 1000:.0f} ms to reach the disk",
            why="every plug and unplug waits for two",
            do="put state_dir on a faster disk where many VIFs come and go",
        )
    else:
        yield ok(f"a write reaches the disk in {seconds * 1000:.1f} ms")
