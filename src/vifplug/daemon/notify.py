"""What the service manager hands over and wants to hear: sockets, readiness, the watchdog.

The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3): datagrams to
the socket named by ``NOTIFY_SOCKET``, descriptors from 3 on counted by ``LISTEN_FDS``. Any service
manager may speak them; without one, nothing here does anything. The variables are taken out of the
environment, so that no plug script ever finds the daemon's own.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from ..errors import ConfigError

_FIRST_DESCRIPTOR = 3
#: seconds that a message may take: the manager may be busy with itself, and its queue full
_PATIENCE = 5.0


class Notifier:
    """Tells the service manager how the daemon is. Any thread may call any method; none ever fails."""

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        #: seconds between two calls of `watchdog`: half of what the manager allows; None: it does not watch
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """What the manager asked for, taken out of ``environ``."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = _number(environ.pop("WATCHDOG_USEC", ""))
        watched = _number(environ.pop("WATCHDOG_PID", "")) or os.getpid()
        if not address.startswith(("/", "@")):
            return cls()
        mine = microseconds > 0 and watched == os.getpid()
        return cls(address, microseconds / 2e6 if mine else None)

    def ready(self, status: str = "") -> None:
        """Started, or done with reloading; ``status`` is one line for people (``systemctl status``)."""
        self._send("READY=1", status)

    def status(self, text: str) -> None:
        """One line for people about what goes on."""
        self._send("", text)

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "", seconds: float | None = None) -> None:
        """No further work is taken on; stopping may take ``seconds`` from now, whatever the unit allows."""
        longer = "" if seconds is None else f"\nEXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"
        self._send(f"STOPPING=1{longer}", status)

    def watchdog(self) -> None:
        """Alive and well."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        if self._address is None:
            return
        line = f"STATUS={words}" if (words := " ".join(status.split())) else ""
        name = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_PATIENCE)
                sender.sendto(
                    "\n".join(filter(None, (state, line))).encode(errors="replace"), os.fsencode(name)
                )
        except OSError:
            return  # a manager that does not listen is no reason to stop plugging


def listening_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that were opened for this process; none, when it was started without.

    They are the caller's to close, and no program that this process starts inherits them. Raises
    ConfigError when one is no listening Unix stream socket: the socket unit is wrong, and nobody
    would be answered, or everybody on the network.
    """
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    count = _number(environ.pop("LISTEN_FDS", ""))
    if _number(environ.pop("LISTEN_PID", "")) != os.getpid():
        return []
    found: list[socket.socket] = []
    try:
        for index in range(count):
            fd = _FIRST_DESCRIPTOR + index
            name = names[index] if index < len(names) and names[index] else f"descriptor {fd}"
            found.append(_listener(fd, name))
    except BaseException:
        for taken in found:
            taken.close()
        raise
    return found


def _listener(fd: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(f"{name}, handed over by LISTEN_FDS, is no socket: {error.strerror}") from error
    if (
        listener.family == socket.AF_UNIX
        and listener.type == socket.SOCK_STREAM
        and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        return listener
    listener.close()
    raise ConfigError(
        f"{name}, handed over by LISTEN_FDS, is no listening Unix stream socket: vifplugd answers on nothing else; "
        "in the socket unit, use ListenStream= with an absolute path, and Accept=no"
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
