"""What GET /v1/status answers: how this host is doing, at a glance."""

from __future__ import annotations

from msgspec import Struct, field

from ..host.results import VifCount
from ..model.learn import learn


class Running(Struct, frozen=True, kw_only=True):
    """One verb at work."""

    #: "plug", "unplug", …; None for what the host does by itself
    verb: str | None
    vif_id: str | None
    #: seconds since 1970
    since: float
    #: whether it waits for another verb on the same VIF to end
    waiting: bool = False
    #: the step that it is at, as in Step, and its begin; None between two steps
    step: str | None = None
    step_since: float | None = None
    #: the plug script that is called, and for what; None while none is
    script: str | None = None
    script_verb: str | None = None


class CallStats(Struct, frozen=True, kw_only=True):
    """The calls of one script for one verb: the counts since the daemon's start, the times of the last 1024 calls."""

    script: str
    verb: str
    calls: int
    #: of those, the calls that did not end with "done"
    failures: int
    #: seconds
    mean: float
    p50: float
    p95: float
    p99: float
    #: the end of the last call, in seconds since 1970
    last: float


class Queue(Struct, frozen=True, kw_only=True):
    """How much the daemon has taken on, and what it has turned away."""

    #: verbs at work or waiting for their VIF
    at_work: int = 0
    #: turned away since the start, by the bound that was reached
    rejected: dict[str, int] = field(default_factory=dict)


class Status(Struct, frozen=True, kw_only=True):
    """The host at this moment. Times are in seconds since 1970."""

    hostname: str
    version: str
    pid: int
    now: float
    started: float
    vifs: list[VifCount]
    debts: int
    #: oldest first
    running: list[Running]
    queue: Queue
    connections: int
    calls: list[CallStats]
    #: the number of the last event
    events: int


learn(Status)
