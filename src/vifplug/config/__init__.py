"""What the operator decided: one TOML file, every key with a default.

The file is ``--config``, else ``VIFPLUG_CONFIG``, else ``/etc/vifplug/vifplug.toml``; without one,
the defaults hold. Each key's description below is what ``vifplug config --example`` prints and what
an error says is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

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


Count = Annotated[int, Meta(ge=1, le=65536, extra={"allowed": "a whole number, 1 to 65536"})]
Members = Annotated[
    list[Annotated[str, Meta(pattern=r"\A@?[^\s@:/\x00-\x1f\x7f]{1,64}\Z")]],
    Meta(extra={"allowed": 'a list of users ("nova") and groups ("@vifplug"), by name or number'}),
]

_SOCKET = "/run/vifplug/vifplugd.sock"
_STATE_DIR = "/var/lib/vifplug"


class Daemon(_Section, frozen=True, kw_only=True):
    """vifplugd: who may ask it, how much it takes on, and what it does by itself."""

    socket: Annotated[
        str,
        Meta(
            pattern=r"\A(/[^\x00-\x1f\x7f]{1,106})?\Z",
            description=f"its Unix socket; when empty {_SOCKET}, or STATE_DIR/vifplugd.sock for another state_dir",
            extra={"allowed": "an absolute path of at most 107 bytes (unix(7)), or empty"},
        ),
    ] = ""
    readers: Annotated[
        Members, Meta(description="users and @groups that may look; everybody on this host: *")
    ] = field(default_factory=lambda: ["@vifplug"])
    pluggers: Annotated[
        Members, Meta(description="users and @groups that may plug, update and unplug, and look")
    ] = field(default_factory=lambda: ["@vifplug"])
    admins: Annotated[
        Members, Meta(description="users and @groups that may do everything; root always may")
    ] = field(default_factory=list)
    connections: Annotated[Count, Meta(description="connections at once; more are refused")] = 1024
    requests: Annotated[
        Count, Meta(description="verbs at work or waiting at once; more are told to come back")
    ] = 512
    requests_per_script: Annotated[
        Count, Meta(description="of those, for any one script: a stuck one leaves room for the others")
    ] = 256
    rate: Annotated[
        Count, Meta(description="requests a second that one user may make, ten seconds' worth at once")
    ] = 5000
    drain: Annotated[
        Seconds, Meta(description="seconds that verbs at work may take to end when the daemon stops")
    ] = 60.0
    interval: Annotated[
        Seconds, Meta(description="seconds between full comparisons of record and kernel")
    ] = 60.0
    on_drift: Annotated[
        Literal["repair", "report"],
        Meta(
            description='when a device is not as it was plugged: "repair" it, or only "report" it',
            extra={"allowed": '"repair" or "report"'},
        ),
    ] = "repair"
    after_reboot: Annotated[
        Literal["unplug", "keep"],
        Meta(
            description='VIFs that a reboot took: "unplug" them at their backends, or "keep" them on record',
            extra={"allowed": '"unplug" or "keep"'},
        ),
    ] = "unplug"
    arrival_grace: Annotated[
        Seconds,
        Meta(
            description="seconds after which a migration has failed whose guest came here, and let go again"
        ),
    ] = 5.0
    arrival_patience: Annotated[
        Seconds,
        Meta(description="seconds after which a migration has failed whose guest did not come at all"),
    ] = 900.0
    backup_every: Annotated[Seconds, Meta(description="seconds between backups of a ledger that changed")] = (
        300.0
    )
    log: Annotated[
        Literal["json", "text"],
        Meta(description='lines of the log: "json" or "text"', extra={"allowed": '"json" or "text"'}),
    ] = "json"
    otlp: Annotated[
        str,
        Meta(
            pattern=r"\A(https?://[^\s]+)?\Z",
            description="where spans go (OpenTelemetry, OTLP over HTTP), say http://127.0.0.1:4318; empty: nowhere",
            extra={"allowed": "an http or https address, or empty"},
        ),
    ] = ""


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
    at_once: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="calls of it at once in one process; more wait, within their deadline",
            extra={"allowed": "a whole number, 1 to 1024"},
        ),
    ] = 256
    details: Annotated[
        dict[str, str | int | float | bool],
        Meta(description="details that hold where a binding does not say otherwise"),
    ] = field(default_factory=dict)


class Config(_Section, frozen=True, kw_only=True):
    state_dir: Annotated[
        AbsolutePath,
        Meta(description="where the ledger of plugged VIFs lies; VIFPLUG_STATE_DIR goes before it"),
    ] = _STATE_DIR
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
    daemon: Daemon = field(default_factory=Daemon)
    script: dict[str, ScriptSettings] = field(default_factory=dict)

    @property
    def socket_path(self) -> str:
        """Where vifplugd listens: every state directory has a daemon of its own."""
        if self.daemon.socket:
            return self.daemon.socket
        return _SOCKET if self.state_dir == _STATE_DIR else f"{self.state_dir}/vifplugd.sock"


def load(path: str | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the configuration in force; see `vifplug.config.loader.load`."""
    from . import loader

    return loader.load(path, environ)


__all__ = ["Config", "Daemon", "Deadlines", "Device", "Log", "ScriptSettings", "Trust", "load"]
