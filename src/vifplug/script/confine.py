"""Start a program with a few capabilities and nothing of ours: no groups, descriptors, masks.

Capabilities, groups, no_new_privs, working directory and umask belong to a thread in Linux. Each
program is started from a fresh thread that gives up what the program must not have, then spawns
(vfork path) and ends. The rest of this process keeps everything, and nothing has to run between
fork and exec. See capabilities(7), credentials(7), PR_SET_NO_NEW_PRIVS(2const).
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from ctypes import PyDLL, Structure, addressof, byref, c_long, c_uint32, c_ulong, get_errno
from typing import NoReturn

from ..errors import HostError, NoPermission
from .capabilities import names_in

_CLONE_FS = 0x00000200
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 23, 24, 38, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_CAPABILITY_VERSION_3 = 0x20080522
_CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_CLOEXEC = 2, 4
_SYS_CLOSE_RANGE = 436
# glibc's setgroups() changes every thread of the process; the system call changes its own alone.
_SYS_SETGROUPS = {"x86_64": 116, "i686": 206, "armv7l": 206, "ppc64le": 81, "s390x": 206}
_SYS_SETGROUPS_GENERIC = 159  # aarch64, riscv64, loongarch64

# PyDLL keeps the interpreter's lock: these calls take less than a microsecond each, and giving the
# lock away forty times per script would cost far more when many threads want it.
_libc = PyDLL(None, use_errno=True)
_libc.prctl.argtypes = [c_long, c_ulong, c_ulong, c_ulong, c_ulong]
_libc.syscall.argtypes = [c_long, c_ulong, c_ulong, c_ulong]
_libc.syscall.restype = c_long
_NUMBER_OF_SETGROUPS = _SYS_SETGROUPS.get(os.uname().machine, _SYS_SETGROUPS_GENERIC)
_DEFAULT_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class _Header(Structure):
    _fields_ = (("version", c_uint32), ("pid", c_uint32))


class _Set(Structure):
    _fields_ = (("effective", c_uint32), ("permitted", c_uint32), ("inheritable", c_uint32))


def last_capability() -> int:
    """The highest capability number that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read())


_LAST_CAPABILITY = last_capability()


def spawn(
    path: str,
    argv: list[str],
    environment: Mapping[bytes, bytes],
    stdio: tuple[int, int, int],
    *,
    granted: int,
    groups: Sequence[int],
) -> int:
    """Start ``path`` confined, as the leader of a process group of its own; return its process id.

    ``granted`` is the set of capabilities that it may have, as bits; ``groups`` become its only
    supplementary groups, where this process may set groups. ``stdio`` are descriptors for 0, 1, 2,
    all above 2. Raises OSError as execve(2) does; NoPermission if it cannot be confined.
    """
    result: list[int | BaseException] = []
    ended = _thread.allocate_lock()
    ended.acquire()

    def confined() -> None:
        try:
            _confine(granted, groups)
            result.append(
                os.posix_spawn(
                    path,
                    argv,
                    environment,
                    file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)],
                    setpgroup=0,
                    setsigmask=(),
                    setsigdef=_DEFAULT_SIGNALS,
                )
            )
        except BaseException as error:
            result.append(error)
        finally:
            ended.release()

    try:
        _thread.start_new_thread(confined, ())  # threading.Thread costs 50 µs more
    except RuntimeError as error:  # can't start new thread
        raise OSError(errno.EAGAIN, "no further thread can be started") from error
    try:
        ended.acquire()
    except BaseException:
        # Interrupted: whoever ends what it started must find it started. An interrupt may come just
        # after the lock was taken, when nobody will release it any more.
        if not result:
            ended.acquire()
        raise
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _confine(granted: int, groups: Sequence[int]) -> None:
    """Make the calling thread, and it alone, what a script may be."""
    if _libc.unshare(_CLONE_FS) != 0:
        _fail("unshare(CLONE_FS)")
    os.chdir("/")
    os.umask(0o022)
    permitted = _permitted()
    _set_capabilities(permitted, permitted, 0)
    _set_groups(groups)
    _bound(granted, permitted)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        _fail("prctl(PR_SET_NO_NEW_PRIVS)")
    kept = permitted & granted
    _set_capabilities(kept, kept, kept)
    if _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0:
        _fail("prctl(PR_CAP_AMBIENT_CLEAR_ALL)")
    if os.geteuid() != 0:
        # A program of uid 0 gets what the bounding set leaves; another's only what is ambient.
        for capability in range(_LAST_CAPABILITY + 1):
            if kept >> capability & 1:
                _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
    if _libc.syscall(_SYS_CLOSE_RANGE, 3, 0xFFFFFFFF, _CLOSE_RANGE_UNSHARE | _CLOSE_RANGE_CLOEXEC) != 0:
        _fail("close_range(CLOSE_RANGE_CLOEXEC), in Linux since 5.11,")


def _permitted() -> int:
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Set * 2)()
    if _libc.capget(byref(header), byref(sets)) != 0:
        _fail("capget")
    return int(sets[0].permitted | sets[1].permitted << 32)


def _set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Set * 2)()
    for half, shift in ((sets[0], 0), (sets[1], 32)):
        half.effective = effective >> shift & 0xFFFFFFFF
        half.permitted = permitted >> shift & 0xFFFFFFFF
        half.inheritable = inheritable >> shift & 0xFFFFFFFF
    if _libc.capset(byref(header), byref(sets)) != 0:
        _fail("capset")


def _set_groups(groups: Sequence[int]) -> None:
    """Set the groups if we may; a user namespace may forbid it, or not know them (user_namespaces(7))."""
    array = (c_uint32 * len(groups))(*groups)
    _libc.syscall(_NUMBER_OF_SETGROUPS, len(groups), addressof(array), 0)


def _bound(granted: int, permitted: int) -> None:
    """Drop all but ``granted`` from the bounding set."""
    for capability in range(_LAST_CAPABILITY + 1):
        if granted >> capability & 1 or _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
            continue
        # Without CAP_SETPCAP nothing can be dropped. That is no loss where nothing beyond the grant
        # is permitted: with no_new_privs a program never gets more than its parent had.
        if permitted & ~granted and _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            raise NoPermission(
                f"a plug script cannot be confined: this process holds {names_in(permitted & ~granted)}, which the "
                "script must not have, and may not drop it from the bounding set for want of CAP_SETPCAP: run "
                "vifplug as root, or give its service CAP_SETPCAP too"
            )


def _fail(call: str) -> NoReturn:
    raise HostError(f"a plug script cannot be confined: {call} failed: {os.strerror(get_errno())}")
