"""The names of Linux capabilities (capabilities(7), linux/capability.h) and sets of them as bits."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigError

#: by number
NAMES = tuple(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)

#: what every script gets, if the host itself has it
DEFAULT = ("CAP_NET_ADMIN", "CAP_NET_RAW")


def bits(names: Iterable[str], place: str) -> int:
    """The set of ``names``. Raises ConfigError, naming ``place``, for a name that is none."""
    found = 0
    for name in names:
        if name not in NAMES:
            from difflib import get_close_matches

            near = get_close_matches(name.upper(), NAMES, n=3) or get_close_matches(
                "CAP_" + name.upper(), NAMES, n=3
            )
            hint = f"; did you mean {' or '.join(near)}?" if near else "; capabilities(7) lists them"
            raise ConfigError(f"{place}: {name!r} is not a capability{hint}", field=place, value=name)
        found |= 1 << NAMES.index(name)
    return found


def names_in(capabilities: int) -> str:
    """The names of a set, for people."""
    return ", ".join(name for number, name in enumerate(NAMES) if capabilities >> number & 1) or "none"
