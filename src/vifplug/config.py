"""What the operator decided: one TOML file, every key with a default.

The file is ``--config``, else ``VIFPLUG_CONFIG``, else ``/etc/vifplug/vifplug.toml``; without one,
the defaults hold.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

Seconds = Annotated[float, Meta(gt=0, le=86400, description="seconds, more than 0 and at most 86400")]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Trust(_Section, kw_only=True):
    """Where plug scripts may lie, and who may own them."""

    #: a bare name is looked up here, in this order; those shipped with vifplug come last
    directories: list[str] = field(
        default_factory=lambda: [
            "/etc/vifplug/scripts.d",
            "/usr/local/lib/vifplug/scripts",
            "/usr/lib/vifplug/scripts",
        ]
    )
    #: whether the scripts shipped inside the Python package may run
    packaged: bool = True
    #: an absolute path must match one of these patterns
    allow: list[str] = field(default_factory=lambda: ["/usr/bin/neutron-*-vif-plug"])
    #: user ids that may own a script and the directories above it
    owners: list[int] = field(default_factory=lambda: [0])


class Deadlines(_Section, kw_only=True):
    """Seconds that a verb may take."""

    plug: Seconds = 30.0
    unplug: Seconds = 30.0
    update: Seconds = 30.0
    activate: Seconds = 30.0
    check: Seconds = 10.0
    info: Seconds = 5.0
    #: between SIGTERM and SIGKILL
    grace: Seconds = 2.0


class Device(_Section, kw_only=True):
    """The taps that vifplug makes."""

    #: user that may open them without privilege, by name or number; None: root alone
    owner: str | None = None
    #: group that may open them
    group: str | None = None
    #: whether frames carry a virtio header (checksum and segmentation offload to the guest)
    vnet_hdr: bool = True


class Log(_Section, kw_only=True):
    """What is kept of each script call."""

    keep_days: Annotated[float, Meta(gt=0)] = 14.0
    keep_calls: Annotated[int, Meta(ge=1)] = 50
    #: bytes kept of one call's stderr: the first and the last half of it
    max_bytes: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)] = 65536


class ScriptSettings(_Section, kw_only=True):
    """``[script.NAME]``: what the operator grants or sets for one script."""

    sha256: str | None = None
    capabilities: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    deadlines: dict[str, Seconds] = field(default_factory=dict)
    #: locks that the host takes around its verbs, beside those that its info names
    locks: list[str] = field(default_factory=list)
    #: False for a script that must never be asked for info
    info: bool = True
    #: details that hold where a binding does not say otherwise
    details: dict[str, str | int | float | bool] = field(default_factory=dict)


class Config(_Section, kw_only=True):
    state_dir: str = "/var/lib/vifplug"
    #: seconds to wait for another process that works on the same VIF
    lock_wait: Seconds = 60.0
    #: scripts that may run at once in one call of plug_all or unplug_all
    workers: Annotated[int, Meta(ge=1, le=1024)] = 256
    trust: Trust = field(default_factory=Trust)
    deadlines: Deadlines = field(default_factory=Deadlines)
    device: Device = field(default_factory=Device)
    log: Log = field(default_factory=Log)
    script: dict[str, ScriptSettings] = field(default_factory=dict)
