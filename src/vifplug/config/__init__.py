"""What the operator decided: one TOML file, every key with a default.

The file is ``--config``, else ``VIFPLUG_CONFIG``, else ``/etc/vifplug/vifplug.toml``; without one,
the defaults hold. Each key's description below is what ``vifplug config --example`` prints and what
an error says is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, field

if TYPE_CHECKING:
    from .loader import Loaded

Seconds = Annotated[
    float, Meta(gt=0, le=86400, extra={"allowed": "a number of seconds, more than 0 and at most 86400"})
]
AbsolutePath = Annotated[
    str, Meta(pattern=r"\A/[^\x00-\x1f\x7f]*\Z", extra={"allowed": "an absolute path (it begins with /)"})
]
UserId = Annotated[int, Meta(ge=0, le=4294967294, extra={"allowed": "a numeric user id, such as 0"})]
Sha256 = Annotated[
    str,
    Meta(
        pattern=r"\A(sha256:)?[0-9a-fA-F]{64}\Z",
        extra={"allowed": "the 64 hexadecimal digits that sha256sum prints"},
    ),
]
LockName = Annotated[
    str,
    Meta(
        pattern=r"\A(?:[A-Za-z0-9_.-]|\{[A-Za-z0-9_.-]+\}){1,64}\Z",
        extra={
            "allowed": "the name of a lock: 1 to 64 of A-Z a-z 0-9 _ . - and {DETAIL}, such as bridge-{bridge}"
        },
    ),
]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Trust(_Section, frozen=True, kw_only=True):
    """Where plug scripts may lie, and who may own them."""

    directories: Annotated[
        list[AbsolutePath],
        Meta(description="a bare name is looked up here, in this order; the shipped ones last"),
    ] = field(
        default_factory=lambda: [
            "/etc/vifplug/scripts.d",
            "/usr/local/lib/vifplug/scripts",
            "/usr/lib/vifplug/scripts",
        ]
    )
    packaged: Annotated[bool, Meta(description="whether the scripts shipped with vifplug may run")] = True
    allow: Annotated[
        list[AbsolutePath], Meta(description="an absolute path must match one of these patterns")
    ] = field(default_factory=lambda: ["/usr/bin/neutron-*-vif-plug"])
    owners: Annotated[
        list[UserId], Meta(description="user ids that may own a script and the directories above it")
    ] = field(default_factory=lambda: [0])


class Deadlines(_Section, frozen=True, kw_only=True):
    """Seconds that a verb may take."""

    plug: Annotated[Seconds, Meta(description="connecting a VIF")] = 30.0
    unplug: Annotated[
        Seconds, Meta(description="disconnecting it; its own, fresh one after a failed plug")
    ] = 30.0
    update: Annotated[Seconds, Meta(description="changing a plugged VIF")] = 30.0
    activate: Annotated[Seconds, Meta(description="taking over a VIF in a live migration")] = 30.0
    check: Annotated[Seconds, Meta(description="asking a script whether all is still as plugged")] = 10.0
    info: Annotated[Seconds, Meta(description="asking a script what it can do")] = 5.0
    grace: Annotated[Seconds, Meta(description="between SIGTERM and SIGKILL")] = 2.0


class Device(_Section, frozen=True, kw_only=True):
    """The taps that vifplug makes."""

    owner: Annotated[
        str | None,
        Meta(description="user that may open them without privilege, by name or number; none: root alone"),
    ] = None
    group: Annotated[str | None, Meta(description="group that may open them, by name or number")] = None
    vnet_hdr: Annotated[
        bool,
        Meta(description="frames carry a virtio header (checksum and segmentation offload to the guest)"),
    ] = True


class Log(_Section, frozen=True, kw_only=True):
    """What is kept of each script call."""

    keep_days: Annotated[
        float,
        Meta(
            gt=0,
            le=36500,
            description="days that a call is kept",
            extra={"allowed": "a number of days, more than 0 and at most 36500"},
        ),
    ] = 14.0
    keep_calls: Annotated[
        int, Meta(ge=1, description="calls kept of each VIF", extra={"allowed": "a whole number, at least 1"})
    ] = 50
    max_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=16 * 1024 * 1024,
            description="bytes kept of one call's stderr: the first and the last half of it",
            extra={"allowed": "a whole number of bytes, 1024 to 16777216"},
        ),
    ] = 65536


class ScriptSettings(_Section, frozen=True, kw_only=True):
    """What is granted to or set for one script. A name with a dot needs quotes: [script."x.sh"]."""

    sha256: Annotated[
        Sha256 | None, Meta(description="run it only with this digest, as sha256sum prints it")
    ] = None
    capabilities: Annotated[
        list[str], Meta(description="granted beside CAP_NET_ADMIN and CAP_NET_RAW, say CAP_SYS_ADMIN")
    ] = field(default_factory=list)
    environment: Annotated[dict[str, str], Meta(description="variables that it finds in its environment")] = (
        field(default_factory=dict)
    )
    deadlines: Annotated[dict[str, Seconds], Meta(description="seconds by verb, in place of [deadlines]")] = (
        field(default_factory=dict)
    )
    locks: Annotated[
        list[LockName],
        Meta(
            description="locks taken around its verbs, beside those of its info; {DETAIL} stands for that detail"
        ),
    ] = field(default_factory=list)
    info: Annotated[bool, Meta(description="false for a script that must never be asked for info")] = True
    details: Annotated[
        dict[str, str | int | float | bool],
        Meta(description="details that hold where a binding does not say otherwise"),
    ] = field(default_factory=dict)


class Config(_Section, frozen=True, kw_only=True):
    state_dir: Annotated[
        AbsolutePath,
        Meta(description="where the ledger of plugged VIFs lies; VIFPLUG_STATE_DIR goes before it"),
    ] = "/var/lib/vifplug"
    lock_wait: Annotated[
        Seconds, Meta(description="seconds to wait for another process that works on the same VIF")
    ] = 60.0
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="scripts that may run at once in one plug --all or unplug --all",
            extra={"allowed": "a whole number, 1 to 1024"},
        ),
    ] = 256
    trust: Trust = field(default_factory=Trust)
    deadlines: Deadlines = field(default_factory=Deadlines)
    device: Device = field(default_factory=Device)
    log: Log = field(default_factory=Log)
    script: dict[str, ScriptSettings] = field(default_factory=dict)


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the configuration in force; see `vifplug.config.loader.load`."""
    from . import loader

    return loader.load(path, environ)


__all__ = ["Config", "Deadlines", "Device", "Log", "ScriptSettings", "Trust", "load"]
