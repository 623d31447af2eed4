"""What Prometheus reads is true, follows its conventions, and stays small."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from prometheus import read, value
from vifplug.daemon.activity import Activity
from vifplug.daemon.events import Events
from vifplug.daemon.metrics import Metrics
from vifplug.daemon.status import Queue
from vifplug.errors import LedgerCorrupt, VifplugError
from vifplug.host import Host
from vifplug.host.results import CallRecord, State, VifCount
from world import ID, World, binding


class Empty:
    """A host without VIFs."""

    def counts(self) -> list[VifCount]:
        return []

    def list(self, *_: Any, **__: Any) -> list[Any]:
        return []


def a_call(**changes: Any) -> CallRecord:
    call = CallRecord(
        vif_id=ID, generation=1, verb="plug", script="recorder", digest="sha256:1", attempt=1, started=1e9,
        seconds=0.003, outcome="done", exit_status=0, signal=None, message=None, reply={}, stderr="", traceparent="",
    )  # fmt: skip
    return msgspec.structs.replace(call, **changes)


def seen(world: World) -> tuple[Host, Metrics, Activity]:
    """A host and the metrics that watch it."""
    activity = Activity()
    watching: list[Metrics] = []

    def on_call(call: CallRecord) -> None:
        watching[0].on_call(call)

    host = world.host(on_step=activity.on_step, on_call=on_call)
    watching.append(Metrics(host, activity))
    return host, watching[0], activity


def test_calls_are_counted_and_timed_by_script_and_verb(world: World) -> None:
    host, metrics, _ = seen(world)
    with host:
        for number in (1, 2, 3):
            host.plug(binding(number))
        host.unplug(binding(1)["id"])
        world.on("plug", status=3)
        with pytest.raises(VifplugError):
            host.plug(binding(4))
        now = read(metrics)
    labels = {"script": "recorder", "verb": "plug"}
    assert now["vifplug_script_calls_total", frozenset({**labels, "outcome": "done"}.items())] == 3
    assert now["vifplug_script_calls_total", frozenset({**labels, "outcome": "failed"}.items())] == 1
    assert now["vifplug_script_call_seconds_count", frozenset(labels.items())] == 4
    assert 0 < now["vifplug_script_call_seconds_sum", frozenset(labels.items())] < 60
    # the plug that failed was undone
    assert (
        now["vifplug_script_calls_total", frozenset({**labels, "verb": "unplug", "outcome": "done"}.items())]
        == 2
    )


def test_vifs_are_counted_by_state_and_type(world: World) -> None:
    host, metrics, _ = seen(world)
    with host:
        host.plug(binding(1))
        host.plug(binding(2))
        host.plug(binding(3, None, vif_type="bridge", vif_details={"bridge": "br0"}))
        assert value(metrics, "vifplug_vifs", state="plugged", type="ethernet") == 2
        assert value(metrics, "vifplug_vifs", state="plugged", type="bridge") == 1
        assert (value(metrics, "vifplug_debts"), value(metrics, "vifplug_oldest_debt_age_seconds")) == (0, 0)


def test_a_debt_shows_with_its_age_until_it_is_paid(world: World) -> None:
    host, metrics, _ = seen(world)
    with host:
        host.plug(binding())
        world.on("unplug", status=1)
        with pytest.raises(VifplugError):
            host.unplug(ID)
        first = value(metrics, "vifplug_oldest_debt_age_seconds")
        assert value(metrics, "vifplug_debts") == 1
        host.gc()  # tried again, in vain: it is as old as it was
        later = value(metrics, "vifplug_oldest_debt_age_seconds")
        assert first is not None
        assert later is not None
        assert later > first > 0
        world.on("unplug")
        host.gc()
        assert (value(metrics, "vifplug_debts"), value(metrics, "vifplug_oldest_debt_age_seconds")) == (0, 0)


def test_a_script_that_runs_is_seen_running(world: World, tmp_path: Any) -> None:
    import os

    for name in ("begun", "go"):
        os.mkfifo(tmp_path / name)
    host, metrics, activity = seen(world)
    world.on("plug", do=f"echo > {tmp_path}/begun; read line < {tmp_path}/go")
    with host:

        def plug() -> None:
            with activity.verb("plug", ID):
                host.plug(binding())

        thread = threading.Thread(target=plug)
        thread.start()
        (tmp_path / "begun").read_text()
        assert value(metrics, "vifplug_script_calls_in_progress", script="recorder", verb="plug") == 1
        assert value(metrics, "vifplug_verbs_in_progress", verb="plug") == 1
        (tmp_path / "go").write_text("go\n")
        thread.join()
        assert value(metrics, "vifplug_script_calls_in_progress", script="recorder", verb="plug") is None


def test_events_of_drift_and_repair_are_counted() -> None:
    metrics, events = Metrics(Empty(), Activity()), Events()
    events.listen(metrics.on_event)
    events.publish(
        "drift", ID, drift=[{"what": "device mtu"}, {"what": "tag of my own"}, {"what": "bridge device"}]
    )
    events.publish("device-gone", ID, drift=[{"what": "device"}])
    events.publish("drift", ID, drift=[])  # it is over
    events.publish("repaired", ID)
    events.publish("repair-failed", ID)
    events.publish("ledger-backup-failed")
    assert value(metrics, "vifplug_events_total", kind="drift") == 2
    assert value(metrics, "vifplug_drift_found_total", what="device mtu") == 1
    assert value(metrics, "vifplug_drift_found_total", what="device") == 1
    assert value(metrics, "vifplug_drift_found_total", what="bridge device") == 1
    assert value(metrics, "vifplug_drift_found_total", what="script") == 1
    assert value(metrics, "vifplug_repairs_total", outcome="done") == 1
    assert value(metrics, "vifplug_repairs_total", outcome="failed") == 1
    assert value(metrics, "vifplug_ledger_backup_failures_total") == 1


def test_what_the_daemon_has_taken_on_is_asked_when_somebody_reads() -> None:
    queue = [Queue(at_work=3, rejected={"rate": 2})]
    metrics = Metrics(
        Empty(),
        Activity(),
        queue=lambda: queue[0],
        connections=lambda: 5,
        backup=lambda: 1.0,
        missed=lambda: 7,
        spans=lambda: (8, 1),
    )
    assert value(metrics, "vifplug_queue_at_work") == 3
    queue[0] = Queue(at_work=4, rejected={"rate": 9})
    assert value(metrics, "vifplug_queue_at_work") == 4
    assert value(metrics, "vifplug_queue_rejected_total", bound="rate") == 9
    assert value(metrics, "vifplug_connections") == 5
    assert value(metrics, "vifplug_events_missed_total") == 7
    assert (value(metrics, "vifplug_ledger_backup_age_seconds") or 0) > 1e9
    assert value(metrics, "vifplug_spans_delivered_total") == 8
    assert value(metrics, "vifplug_spans_dropped_total") == 1


def test_a_ledger_that_cannot_be_read_hides_nothing_else() -> None:
    class Corrupt(Empty):
        def counts(self) -> list[VifCount]:
            raise LedgerCorrupt("a page is torn")

    metrics = Metrics(Corrupt(), Activity())
    metrics.on_call(a_call())
    assert value(metrics, "vifplug_ledger_readable") == 0
    assert value(metrics, "vifplug_script_calls_total", script="recorder", verb="plug", outcome="done") == 1
    assert value(Metrics(Empty(), Activity()), "vifplug_ledger_readable") == 1


def test_two_daemons_in_one_process_have_nothing_in_common() -> None:
    one, other = Metrics(Empty(), Activity()), Metrics(Empty(), Activity())
    one.verb("plug", "done", 0.1)
    assert value(one, "vifplug_verbs_total", verb="plug", outcome="done") == 1
    assert value(other, "vifplug_verbs_total", verb="plug", outcome="done") is None


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0002, "0.0002"), (0.0003, "0.0005"), (0.0015, "0.002"), (29.9, "30.0"), (60.0, "60.0")],
)
def test_a_bucket_holds_what_is_not_longer_than_its_bound(seconds: float, bucket: str) -> None:
    metrics = Metrics(Empty(), Activity())
    metrics.on_call(a_call(seconds=seconds))
    full = {
        dict(labels)["le"]
        for (name, labels), count in read(metrics).items()
        if name == "vifplug_script_call_seconds_bucket" and count
    }
    assert bucket in full
    assert all(float(bound) >= seconds for bound in full)


# --- Prometheus's conventions, as `promtool check metrics` and prometheus.io/docs/practices/naming have them ---


def everything() -> Metrics:
    metrics = Metrics(
        Empty(),
        Activity(),
        queue=lambda: Queue(rejected={"rate": 1}),
        backup=lambda: 1.0,
        spans=lambda: (0, 0),
    )
    metrics.on_call(a_call())
    metrics.verb("plug", "done", 0.1)
    metrics.request("/v1/plug", "POST", 200, 0.1)
    metrics.request("/v1/plug", "BREW", 400, 0.1)
    return metrics


def test_every_metric_is_named_as_prometheus_advises() -> None:
    families = list(text_string_to_metric_families(everything().text().decode()))
    assert len(families) > 25
    for family in families:
        assert family.documentation, family.name
        assert family.documentation.endswith("."), family.name
        if family.name.startswith("process_"):
            continue
        assert re.fullmatch(r"vifplug_[a-z_]+[a-z]", family.name)
        assert not family.name.endswith(("_count", "_sum", "_bucket")), "a histogram's own"
        assert not re.search(r"_(ms|milliseconds|minutes|kb)\b", family.name), "base units"
        assert (family.type == "counter") == all(
            sample.name.endswith("_total") for sample in family.samples
        ) or not family.samples, family.name
        for sample in family.samples:
            assert "le" not in sample.labels or family.type == "histogram"
            assert not {"instance", "job", "type_"} & set(sample.labels), "the server's own"


def test_no_time_of_making_is_told() -> None:
    assert b"_created" not in everything().text()


def test_a_method_that_a_client_invents_makes_no_series() -> None:
    assert b"BREW" not in everything().text()


def test_reading_asks_the_host_for_counts_and_for_no_vif(world: World) -> None:
    """At 10,000 VIFs a reading costs what the counting costs: nothing is read one by one."""

    class Counting(Empty):
        asked = 0

        def counts(self) -> list[VifCount]:
            Counting.asked += 1
            return [VifCount(state=State.PLUGGED, type="ethernet", vifs=10_000)]

        def list(self, *_: Any, **__: Any) -> list[Any]:
            raise AssertionError("one by one")

    metrics = Metrics(Counting(), Activity())
    assert value(metrics, "vifplug_vifs", state="plugged", type="ethernet") == 10_000
    assert Counting.asked == 1


def test_many_threads_count_every_call() -> None:
    metrics = Metrics(Empty(), Activity())
    started = threading.Barrier(8)

    def calls(each: Callable[[CallRecord], None]) -> None:
        started.wait()
        for _ in range(500):
            each(a_call())

    threads = [threading.Thread(target=calls, args=(metrics.on_call,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        value(metrics, "vifplug_script_calls_total", script="recorder", verb="plug", outcome="done") == 4000
    )
