"""The names of Linux capabilities (capabilities(7), linux/capability.h) and sets of them as bits."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigError

#: by number
NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN",
    "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip

#: what every script gets, if the host itself has it
DEFAULT = ("CAP_NET_ADMIN", "CAP_NET_RAW")


def bits(names: Iterable[str], place: str) -> int:
    """The set of ``names``. Raises ConfigError, naming ``place``, for a name that is none."""
    found = 0
    for name in names:
        if name not in NAMES:
            from difflib import get_close_matches

            short = [known.removeprefix("CAP_") for known in NAMES]
            near = [f"CAP_{found}" for found in get_close_matches(name.upper().removeprefix("CAP_"), short)]
            hint = f"; did you mean {' or '.join(near)}?" if near else "; capabilities(7) lists them"
            raise ConfigError(f"{place}: {name!r} is not a capability{hint}", field=place, value=name)
        found |= 1 << NAMES.index(name)
    return found


def names_in(capabilities: int) -> str:
    """The names of a set, for people."""
    return ", ".join(name for number, name in enumerate(NAMES) if capabilities >> number & 1) or "none"
