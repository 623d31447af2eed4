"""A connection to the daemon's socket, or why there is none and what to do about it."""

from __future__ import annotations

import os
import socket
import struct

from ..errors import DaemonUnreachable, InvalidInput, NotAllowed


def connected(path: str, timeout: float) -> socket.socket:
    """A socket connected to *path*; ``timeout``: seconds to wait for that.

    Raises NotAllowed, InvalidInput or DaemonUnreachable.
    """
    if "\0" in path:  # the kernel would take what is before it
        raise _no_path(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Python's own timeout makes the socket non-blocking, and connect(2) then fails with EAGAIN where it
        # should wait for its turn: when more ask at once than listen(2) queues. Linux heeds SO_SNDTIMEO here.
        microseconds = max(1, round(timeout * 1_000_000))
        value = struct.pack("ll", microseconds // 1_000_000, microseconds % 1_000_000)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        found.connect(path)
    except (OSError, ValueError) as error:
        found.close()
        raise _unreachable(path, error) from None
    except BaseException:
        found.close()
        raise
    return found


class NobodyListens(DaemonUnreachable):
    """There is no socket, or nobody at it."""


def _unreachable(path: str, error: OSError | ValueError) -> DaemonUnreachable | NotAllowed | InvalidInput:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NobodyListens(
            f"vifplugd does not run here: there is no {path}; start it (systemctl start vifplugd), or name its"
            " socket in VIFPLUG_SOCKET",
            socket=path,
        )
    if isinstance(error, ConnectionRefusedError):
        return NobodyListens(
            f"vifplugd does not run: nobody listens at {path}; start it (systemctl start vifplugd)",
            socket=path,
        )
    if isinstance(error, PermissionError):
        return NotAllowed(
            f"{_user()} may not use {path}: root lets them with 'usermod -aG vifplug {_user()}' (the group that"
            " vifplugd's configuration names), and they log in again",
            socket=path,
        )
    if isinstance(error, BlockingIOError):
        return DaemonUnreachable(
            f"vifplugd at {path} takes no further connection: it is overloaded or hangs; see its log"
            " (journalctl -u vifplugd)",
            socket=path,
        )
    if isinstance(error, OSError) and error.errno is not None:
        return DaemonUnreachable(f"vifplugd cannot be reached at {path}: {error.strerror}", socket=path)
    return _no_path(path)


def _no_path(path: str) -> InvalidInput:
    return InvalidInput(
        f"socket: {path[:200]!r} can be no Unix socket's path; it must be at most 107 bytes, without NUL",
        field="socket",
        value=path[:200].encode(errors="replace").decode(),
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
