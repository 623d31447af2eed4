"""What the host answers: plain frozen structs, each JSON-able with msgspec."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct, field

from ..model.learn import learn
from ..model.vif import Vif


class State(StrEnum):
    """Where a VIF stands on this host. The three ``-ing`` states are intents: work began."""

    PLUGGING = "plugging"
    PLUGGED = "plugged"
    UPDATING = "updating"
    UNPLUGGING = "unplugging"
    #: unplug was asked for and something could not be undone; it will be tried again
    DEBT = "debt"


class _Result(Struct, frozen=True, kw_only=True):
    pass


class ScriptRef(_Result, frozen=True, kw_only=True):
    """The script that a VIF was plugged with, as it was then."""

    name: str
    path: str
    digest: str


class Record(_Result, frozen=True, kw_only=True):
    """One VIF on record."""

    id: str
    state: State
    #: counts up with every plug on this host: a late unplug of an older one is ignored
    generation: int
    #: the VIF with the script's reply folded in
    vif: Vif
    #: what the caller asked for, before the reply
    request: Vif
    #: the changed request of an update that is not finished
    next_request: Vif | None = None
    script: ScriptRef | None = None
    #: the device that vifplug made, if it made one
    device: str | None = None
    #: the boot of this host that the VIF was plugged in (/proc/sys/kernel/random/boot_id)
    boot_id: str
    #: True when the host was rebooted since: the kernel's part is gone, the backend may remember
    lost: bool = False
    #: how often unplug has been tried and did not finish
    attempts: int = 0
    #: why the last verb did not finish, as ``VifplugError.as_dict`` gives it
    error: dict[str, Any] | None = None
    #: seconds since 1970
    created: float
    changed: float
    #: uid of the user who plugged it, whoever has plugged it again or updated it since; None when not known
    owner: int | None = None


class VifCount(_Result, frozen=True, kw_only=True):
    """How many VIFs are in one state and of one type."""

    state: State
    #: the VIF type; None for a VIF that an older vifplug has just plugged
    type: str | None
    vifs: int


class CallRecord(_Result, frozen=True, kw_only=True):
    """One call of a script, kept for ``vifplug show ID --log``."""

    vif_id: str
    generation: int
    verb: str
    script: str
    digest: str
    attempt: int
    #: seconds since 1970
    started: float
    seconds: float
    #: "done" or the code of the error
    outcome: str
    exit_status: int | None
    signal: int | None
    message: str | None
    reply: dict[str, Any] | None
    stderr: str
    traceparent: str
    #: whether a process was started at all
    ran: bool = True


class Plugged(_Result, frozen=True, kw_only=True):
    """The answer of plug, update, repair and activate."""

    id: str
    generation: int
    vif: Vif
    #: libvirt's <interface>
    xml: str
    #: False when the VIF was plugged just so before, and nothing had to be done
    changed: bool
    #: True when with it this host took the VIF over, at the end of a live migration
    activated: bool = False
    seconds: float


class Unplugged(_Result, frozen=True, kw_only=True):
    id: str
    generation: int | None
    #: False when there was nothing to unplug, or the generation asked for is not the present one
    changed: bool
    #: what is worth knowing though the unplug succeeded (the script is gone, …)
    notes: list[str] = field(default_factory=list)
    seconds: float


class Drift(_Result, frozen=True, kw_only=True):
    """One thing that is not as it was plugged."""

    what: str
    expected: Any
    found: Any


class CheckReport(_Result, frozen=True, kw_only=True):
    id: str
    ok: bool
    drift: list[Drift]
    #: whether the script was asked too
    script: Literal["asked", "no check", "no script", "failed"]
    message: str | None = None


class Recovered(_Result, frozen=True, kw_only=True):
    """What recover did about one VIF that a crash left in the middle of something."""

    id: str
    was: State
    #: "unplugged", "plugged", "debt", or "busy" (another process is at work on it)
    now: str
    message: str | None = None


class Cleared(_Result, frozen=True, kw_only=True):
    """What became of one VIF's debts, or of a VIF that a reboot took."""

    id: str
    #: "nothing": none was there any more; "busy": another call is at work on the VIF
    now: Literal["done", "nothing", "busy", "owing"]
    message: str | None = None


class GcReport(_Result, frozen=True, kw_only=True):
    """What gc cleared."""

    #: ids whose kernel part a reboot had taken; their backends have now been told
    forgotten: list[str] = field(default_factory=list)
    #: ids of debts that are paid
    paid: list[str] = field(default_factory=list)
    #: ids that still owe something, with the reason
    owing: dict[str, str] = field(default_factory=dict)
    #: devices of this ledger that no VIF owned
    devices: list[str] = field(default_factory=list)
    #: ids that were plugged for a live migration whose guest did not come, now unplugged
    given_up: list[str] = field(default_factory=list)
    #: script calls dropped because they are older than the log keeps
    calls: int = 0


class Backup(_Result, frozen=True, kw_only=True):
    """The ledger's backup, as it is now."""

    path: str
    #: how many records it holds, debts among them
    vifs: int
    #: False when nothing had changed since the backup before
    changed: bool
    seconds: float


class Restored(_Result, frozen=True, kw_only=True):
    """One VIF as a rebuilt ledger has it."""

    id: str
    generation: int
    state: State
    #: where its record is from: what could still be read of the damaged ledger, its backup, or the kernel, which
    #: had a device for it and nothing else did
    source: Literal["ledger", "backup", "kernel"]
    device: str | None
    script: str | None
    #: what is not known of it, and what to do
    note: str | None = None


class Rebuilt(_Result, frozen=True, kw_only=True):
    """What became of a damaged ledger."""

    #: what was wrong with it; None: nothing, and it was left in place
    damage: str | None
    #: where the damaged files lie now; nobody deletes them
    set_aside: str | None
    #: the backup that was read, and when it had been made, in seconds since 1970
    backup: str | None
    backup_made: float | None
    #: the id of the ledger, which its devices bear
    ledger: str
    #: no plug before had a higher one
    generation: int
    vifs: list[Restored]
    #: what could not be restored, or may have been there and is not known, a sentence each
    not_restored: list[str]
    #: script calls in the log
    calls: int
    #: processes of interrupted verbs that were ended
    ended: int
    seconds: float


class Step(_Result, frozen=True, kw_only=True):
    """One step on the one path, for progress, traces and the demo."""

    vif_id: str
    #: "intent", "device", "script plug", "reply", "verify", "outcome", …; "undo …" on the way back
    name: str
    phase: Literal["begin", "end", "failed"]
    #: seconds that the step took (0 at its beginning)
    seconds: float
    text: str = ""


class Planned(_Result, frozen=True, kw_only=True):
    """One step that a plug would take."""

    #: as in Step
    name: str
    text: str
    #: what the script would run, where it can say so
    commands: list[list[str]] = field(default_factory=list)


class Rehearsal(_Result, frozen=True, kw_only=True):
    """What a plug would do now, in its order; nothing of it has been done."""

    id: str
    steps: list[Planned]
    #: libvirt's <interface>, where it does not wait for the script's answer
    xml: str | None


class ScriptEntry(_Result, frozen=True, kw_only=True):
    """One line of ``vifplug scripts``."""

    name: str
    path: str
    digest: str | None
    trusted: bool
    #: why it would not run
    reason: str | None
    info: dict[str, Any] | None


learn(CallRecord, Record)
