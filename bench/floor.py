"""The floor: the least that plug and unplug can be, with nothing between them and the kernel.

Plug is one tap by ioctl, one RTM_NEWLINK that sets MAC, MTU and up, and two commits of SQLite with
synchronous=FULL; unplug is one RTM_DELLINK and two commits. Nothing is checked, nothing is asked,
nobody else may use the database, and a crash in between is nobody's concern.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import struct
from pathlib import Path

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_TAP, _NO_PI, _VNET_HDR = 0x2, 0x1000, 0x4000
_NEWLINK, _DELLINK = 16, 17
_REQUEST, _ACK = 0x1, 0x4
_ADDRESS, _IFNAME, _MTU, _GROUP = 1, 3, 4, 27
_UP = 0x1


class Kernel:
    """Taps, by ioctl and one rtnetlink socket that stays open."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

    def close(self) -> None:
        self._socket.close()

    def make(self, name: str, address: bytes, mtu: int, group: int | None = None) -> None:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP | _NO_PI | _VNET_HDR))
        attributes = _text(_IFNAME, name) + _attribute(_ADDRESS, address) + _number(_MTU, mtu)
        if group is not None:
            attributes += _number(_GROUP, group)
        self._send(_NEWLINK, _UP, attributes)
        fcntl.ioctl(tun, _TUNSETPERSIST, 1)
        os.close(tun)

    def remove(self, name: str) -> None:
        self._send(_DELLINK, 0, _text(_IFNAME, name))

    def remove_group(self, group: int) -> None:
        self._send(_DELLINK, 0, _number(_GROUP, group))

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        body = struct.pack("=BxHiII", 0, 0, 0, flags, flags) + attributes
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK, 1, 0) + body)
        code = -struct.unpack_from("=i", self._socket.recv(4096), 16)[0]
        if code:
            raise OSError(code, os.strerror(code))


class Database:
    """One table, one row for each VIF, as long as the ledger's."""

    def __init__(self, path: Path, texts: tuple[str, str, str]) -> None:
        self._texts = texts
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(
            "CREATE TABLE vif (id TEXT PRIMARY KEY, state TEXT, request TEXT, vif TEXT, rest TEXT)"
        )

    def close(self) -> None:
        self._connection.close()

    def add(self, name: str) -> None:
        self._connection.execute("INSERT INTO vif VALUES (?, 'plugging', ?, ?, ?)", (name, *self._texts))

    def set(self, name: str, state: str) -> None:
        self._connection.execute("UPDATE vif SET state = ? WHERE id = ?", (state, name))

    def drop(self, name: str) -> None:
        self._connection.execute("DELETE FROM vif WHERE id = ?", (name,))


class Floor:
    """Plug and unplug at the floor."""

    def __init__(self, folder: Path, texts: tuple[str, str, str]) -> None:
        self.kernel = Kernel()
        self._database = Database(folder / "floor.db", texts)

    def close(self) -> None:
        self.kernel.close()
        self._database.close()

    def plug(self, name: str, address: bytes, mtu: int) -> None:
        self._database.add(name)
        self.kernel.make(name, address, mtu)
        self._database.set(name, "plugged")

    def unplug(self, name: str) -> None:
        self._database.set(name, "unplugging")
        self.kernel.remove(name)
        self._database.drop(name)


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return _attribute(kind, struct.pack("=I", number))
