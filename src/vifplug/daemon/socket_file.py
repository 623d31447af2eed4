"""The Unix socket that the daemon makes when nobody hands it one."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from ..errors import ConfigError, NoPermission

_BACKLOG = 512


def listen(path: str) -> socket.socket:
    """Listen at this path. A socket that a dead daemon left is replaced; one that answers is not.

    Anybody may connect, as far as the directories above let them: who calls is asked of the kernel,
    and whoever has no role is turned away unread.
    """
    where = Path(path)
    try:
        where.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(where)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o111)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        kind = NoPermission if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else ConfigError
        raise kind(f"vifplugd cannot listen at {path}: {error.strerror}; see daemon.socket") from error
    return listener


def _clear(where: Path) -> None:
    try:
        mode = where.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"vifplugd cannot listen at {where}: something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # one that is stuck, with its queue full, is there all the same
        try:
            probe.connect(str(where))
        except ConnectionRefusedError:
            where.unlink()
            return
        except BlockingIOError:
            pass
    raise ConfigError(f"vifplugd cannot listen at {where}: another one does; stop that one first")
