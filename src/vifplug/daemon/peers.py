"""Who is at the other end of the socket, as the kernel says, and how far that lets them reach."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import struct
import threading
import time
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from ..config import Daemon

_UCRED = struct.Struct("3i")  # struct ucred, unix(7)
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13
#: bytes that Python's getsockopt gives room for: 256 groups
_ROOM = 1024
#: seconds for which the ids of names hold: a group made after us counts soon, and not every request asks for it
_FRESH = 10.0


class Role(IntEnum):
    """What a caller may do; each may do what those before it may."""

    NOBODY = 0
    #: look, but not at details of other users' VIFs
    READER = 1
    #: plug, update, unplug
    PLUGGER = 2
    #: everything: forget debts, recover, unplug all, see all
    ADMIN = 3


class Peer(Struct, frozen=True):
    """A process at the other end, as it was when it connected."""

    pid: int
    uid: int
    #: its group and its supplementary groups
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        pid, uid, gid = _UCRED.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        try:
            listed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _ROOM)
        except OSError as error:
            if error.errno != errno.ERANGE:
                raise
            listed = b""  # a user of more groups than that counts by name, and by the first of them
        return cls(pid, uid, frozenset((gid, *struct.unpack(f"{len(listed) // 4}I", listed))))


class Roles:
    """The roles that the configuration gives to users and groups; root, and who runs us, may do everything.

    ``of`` is called by one thread, and never waits.
    """

    def __init__(self, settings: Daemon) -> None:
        self._settings = settings
        self._members: list[tuple[Role, frozenset[int], frozenset[int], bool]] = []
        self._looking: threading.Thread | None = None
        self._look_up()

    def of(self, peer: Peer) -> Role:
        if peer.uid in (0, os.geteuid()):
            return Role.ADMIN
        if time.monotonic() - self._looked_up >= _FRESH and (
            self._looking is None or not self._looking.is_alive()
        ):
            # beside us: whoever knows the users, a directory service say, may not answer for a long time
            self._looking = threading.Thread(target=self._look_up, name="vifplugd-users", daemon=True)
            self._looking.start()
        for role, users, groups, all_of_them in self._members:
            if all_of_them or peer.uid in users or groups & peer.groups:
                return role
        return Role.NOBODY

    def _look_up(self) -> None:
        settings = self._settings
        given = (
            (Role.ADMIN, settings.admins),
            (Role.PLUGGER, settings.pluggers),
            (Role.READER, settings.readers),
        )
        self._members = [(role, _users(names), _groups(names), "*" in names) for role, names in given]
        self._looked_up = time.monotonic()


def _users(names: Iterable[str]) -> frozenset[int]:
    found = []
    for name in names:
        if name.isdecimal():
            found.append(int(name))
        elif name != "*" and not name.startswith("@"):
            try:
                found.append(pwd.getpwnam(name).pw_uid)
            except KeyError:
                continue  # not a user of this host yet: 'vifplug doctor' tells
    return frozenset(found)


def _groups(names: Iterable[str]) -> frozenset[int]:
    found = []
    for name in names:
        if not name.startswith("@"):
            continue
        try:
            found.append(int(name[1:]) if name[1:].isdecimal() else grp.getgrnam(name[1:]).gr_gid)
        except KeyError:
            continue
    return frozenset(found)
