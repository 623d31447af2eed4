"""What Prometheus reads at /metrics.

Label values are bounded: scripts are those that were trusted and called, all else is a word of ours.
What changes by itself (VIFs, debts, what runs now) is asked for when Prometheus asks.
"""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .._version import CONTRACT_VERSION, __version__
from ..errors import VifplugError
from ..host.results import CallRecord, State, VifCount
from ..model import VifType
from .activity import Activity
from .events import Event
from .status import Queue

if TYPE_CHECKING:
    from ..host.results import Record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: seconds: a script that is compiled takes less than a millisecond, a deadline is 30 s as a rule
_BUCKETS = (
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0,
)  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
#: what the host itself finds changed
_OURS = frozenset(
    {"state", "boot", "device", *(f"device {what}" for what in ("up", "address", "mtu", "alias", "master"))}
)
_DEVICES = frozenset(f"{kind} device" for kind in VifType)
#: debts looked at for the age of the oldest
_MOST_DEBTS = 1000


class Counted(Protocol):
    """What is asked of a Host."""

    def counts(self) -> list[VifCount]: ...

    def list(self, state: State | None = None, *, limit: int | None = None) -> list[Record]: ...


class Metrics:
    """The metrics of one daemon, in a registry of its own. Any number of threads may share it.

    ``queue``, ``connections``, ``backup`` and ``missed`` are asked at each reading: what has been taken on, how
    many connections are open, when the ledger was last backed up (seconds since 1970, None for never), how
    many events readers were too slow for. ``spans`` tells how many spans were delivered and dropped.
    """

    def __init__(
        self,
        host: Counted,
        activity: Activity,
        *,
        queue: Callable[[], Queue] = Queue,
        connections: Callable[[], int] = int,
        backup: Callable[[], float | None] | None = None,
        missed: Callable[[], int] = int,
        spans: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        registry = self._registry
        self._calls = Counter(
            "vifplug_script_calls",
            "Calls of plug scripts, each attempt of its own, by how they ended.",
            ("script", "verb", "outcome"),
            registry=registry,
        )
        self._call_seconds = Histogram(
            "vifplug_script_call_seconds",
            "How long a call of a plug script took, in seconds.",
            ("script", "verb"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._verbs = Counter(
            "vifplug_verbs",
            "Verbs that the daemon carried out, by how they ended.",
            ("verb", "outcome"),
            registry=registry,
        )
        self._verb_seconds = Histogram(
            "vifplug_verb_seconds",
            "How long a verb took from its admission to its outcome on disk, in seconds.",
            ("verb",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "vifplug_http_requests",
            "Requests at the socket, by route and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "vifplug_http_request_seconds",
            "How long a request took, in seconds.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._events = Counter("vifplug_events", "Events published, by kind.", ("kind",), registry=registry)
        self._drift = Counter(
            "vifplug_drift_found",
            "Things found to be not as they were plugged.",
            ("what",),
            registry=registry,
        )
        self._repairs = Counter(
            "vifplug_repairs",
            "VIFs repaired after a drift, by how it ended.",
            ("outcome",),
            registry=registry,
        )
        self._given_up = Counter(
            "vifplug_arrivals_given_up",
            "VIFs plugged for a live migration whose guest did not come, or did not stay.",
            registry=registry,
        )
        self._backup_failures = Counter(
            "vifplug_ledger_backup_failures",
            "Backups of the ledger that could not be made.",
            registry=registry,
        )
        for outcome in ("done", "failed"):  # from the start, so that an alert on an increase sees the first
            self._repairs.labels(outcome)
        self._registry.register(
            _Now(
                host,
                activity,
                queue=queue,
                connections=connections,
                backup=backup,
                missed=missed,
                spans=spans,
            )
        )
        ProcessCollector(registry=self._registry)

    # --- what happens -------------------------------------------------------------------------

    def on_call(self, call: CallRecord) -> None:
        """For ``Host(on_call=…)``."""
        self._calls.labels(call.script, call.verb, call.outcome).inc()
        self._call_seconds.labels(call.script, call.verb).observe(call.seconds)

    def on_event(self, event: Event) -> None:
        """For ``Events.listen``."""
        self._events.labels(event.kind).inc()
        if event.kind in ("drift", "device-gone"):
            for found in event.data.get("drift", ()):
                self._drift.labels(_what(found)).inc()
        elif event.kind == "repaired":
            self._repairs.labels("done").inc()
        elif event.kind == "repair-failed":
            self._repairs.labels("failed").inc()
        elif event.kind == "arrival-given-up":
            self._given_up.inc()
        elif event.kind == "ledger-backup-failed":
            self._backup_failures.inc()

    def verb(self, verb: str, outcome: str, seconds: float) -> None:
        """A verb has ended: ``outcome`` is "done" or the code of the error."""
        self._verbs.labels(verb, outcome).inc()
        self._verb_seconds.labels(verb).observe(seconds)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; ``route`` is the route's pattern, never the path that a client sent."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    # --- what is read -------------------------------------------------------------------------

    def text(self) -> bytes:
        """Prometheus's text format 0.0.4."""
        return generate_latest(_WithoutCreated(self._registry))


def _what(found: Mapping[str, Any]) -> str:
    """What drifted, if it is the host's own word; what a script calls it is anybody's."""
    what = found.get("what")
    return what if what in _OURS or what in _DEVICES else "script"


class _WithoutCreated(CollectorRegistry):
    """The same without the time at which each counter was made, which nobody asks for and a third of the text is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(auto_describe=False)
        self._all = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._all.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class _Now:
    """What is asked for at each reading."""

    def __init__(
        self,
        host: Counted,
        activity: Activity,
        *,
        queue: Callable[[], Queue],
        connections: Callable[[], int],
        backup: Callable[[], float | None] | None,
        missed: Callable[[], int],
        spans: Callable[[], tuple[int, int]] | None,
    ) -> None:
        self._host = host
        self._activity = activity
        self._queue = queue
        self._connections = connections
        self._backup = backup
        self._missed = missed
        self._spans = spans
        self._started = time.time()
        #: when each debt was first seen
        self._owed_since: dict[tuple[str, int], float] = {}

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering asks nobody."""
        return []

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "vifplug_build_info", "The daemon's version; always 1.", labels=("version", "protocol")
        )
        build.add_metric((__version__, str(CONTRACT_VERSION)), 1)
        yield build
        yield GaugeMetricFamily(
            "vifplug_start_time_seconds", "When the daemon started, in seconds since 1970.", self._started
        )
        yield from self._ledger()
        yield from self._at_work()
        queue = self._queue()
        yield GaugeMetricFamily(
            "vifplug_queue_at_work", "Verbs taken on and not ended: at work, or waiting.", queue.at_work
        )
        rejected = CounterMetricFamily(
            "vifplug_queue_rejected",
            "Requests turned away, by the bound that was reached.",
            labels=("bound",),
        )
        for bound, times in sorted(queue.rejected.items()):
            rejected.add_metric((bound,), times)
        yield rejected
        yield GaugeMetricFamily("vifplug_connections", "Connections open.", self._connections())
        yield CounterMetricFamily(
            "vifplug_events_missed", "Events that a reader of the stream was too slow for.", self._missed()
        )
        if self._backup is not None and (made := self._backup()) is not None:
            yield GaugeMetricFamily(
                "vifplug_ledger_backup_age_seconds",
                "Seconds since the last backup of the ledger.",
                max(time.time() - made, 0),
            )
        if self._spans is not None:
            delivered, dropped = self._spans()
            yield CounterMetricFamily(
                "vifplug_spans_delivered", "Spans that the collector has taken.", delivered
            )
            yield CounterMetricFamily(
                "vifplug_spans_dropped", "Spans dropped: the collector was down or too slow.", dropped
            )

    def _ledger(self) -> Iterator[Metric]:
        readable = GaugeMetricFamily("vifplug_ledger_readable", "Whether the ledger could be read just now.")
        try:
            counts = self._host.counts()
            oldest = self._oldest_debt(sum(count.vifs for count in counts if count.state is State.DEBT))
        except VifplugError:  # everything else is worth knowing all the same
            readable.add_metric((), 0)
            yield readable
            return
        readable.add_metric((), 1)
        yield readable
        vifs = GaugeMetricFamily(
            "vifplug_vifs", "VIFs on record, by state and VIF type.", labels=("state", "type")
        )
        for count in counts:
            vifs.add_metric((count.state.value, count.type or "unknown"), count.vifs)
        yield vifs
        debts = sum(count.vifs for count in counts if count.state is State.DEBT)
        yield GaugeMetricFamily(
            "vifplug_debts", "Unplugs that could not be finished, and will be tried again.", debts
        )
        yield GaugeMetricFamily(
            "vifplug_oldest_debt_age_seconds",
            "Seconds since the oldest debt was first seen by this daemon; 0 without debts.",
            oldest,
        )

    def _oldest_debt(self, debts: int) -> float:
        """In seconds. The ledger knows when a debt was last tried, which for a new one is when it arose."""
        if not debts:
            self._owed_since = {}
            return 0.0
        owing = self._host.list(State.DEBT, limit=_MOST_DEBTS)
        self._owed_since = {
            (record.id, record.generation): self._owed_since.get(
                (record.id, record.generation), record.changed
            )
            for record in owing
        }
        return max(time.time() - min(self._owed_since.values(), default=time.time()), 0.0)

    def _at_work(self) -> Iterator[Metric]:
        running = self._activity.running()
        scripts = GaugeMetricFamily(
            "vifplug_script_calls_in_progress", "Plug scripts that run now.", labels=("script", "verb")
        )
        called = Count(
            (one.script, one.script_verb) for one in running if one.script is not None and one.script_verb
        )
        for (script, verb), times in sorted(called.items()):
            scripts.add_metric((script, verb), times)
        yield scripts
        yield GaugeMetricFamily(
            "vifplug_queue_waiting",
            "Verbs that wait for another one on the same VIF.",
            sum(one.waiting for one in running),
        )
        verbs = GaugeMetricFamily("vifplug_verbs_in_progress", "Verbs at work, by verb.", labels=("verb",))
        for name, times in sorted(Count(one.verb or "by itself" for one in running).items()):
            verbs.add_metric((name,), times)
        yield verbs
