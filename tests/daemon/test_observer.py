"""One verb through the daemon: the same trace in the script, the events, the log and the spans."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from collector import Collector, attributes
from prometheus import value
from vifplug.client import Client
from vifplug.daemon import logs
from vifplug.daemon.events import Events
from vifplug.daemon.lanes import Lanes
from vifplug.errors import InvalidInput, VifplugError
from watched import Watched
from world import ID, World, binding

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the daemon logs, as JSON."""
    root, ours = logging.getLogger(), logging.getLogger("vifplug")
    before = (root.handlers[:], root.level, ours.level, logging.raiseExceptions)
    stream = io.StringIO()
    logs.setup("json", stream=stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.raiseExceptions = before[3]


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_callers_trace_goes_through_everything(world: World, log: io.StringIO) -> None:
    world.on("plug", do=f'echo "$TRACEPARENT" > {world.backend}/saw')
    with Collector() as collector:
        daemon = msgspec.structs.replace(world.config.daemon, otlp=collector.address)
        config = msgspec.structs.replace(world.config, daemon=daemon)
        with Watched(world, config) as watched, Client(config.socket_path, traceparent=CALLER) as client:
            client.plug(binding())
            (call,) = client.calls(ID)
            news = watched.events.subscribe(0)
            told = list(iter(lambda: news.next(0), None))
        spans = {span.name: span for span in collector.spans() if span.trace_id.hex() == TRACE}
    saw = (world.backend / "saw").read_text().strip()
    assert saw == call.traceparent
    assert saw[3:35] == TRACE
    assert {event.data.get("trace") for event in told if event.vif_id == ID} == {TRACE}
    assert spans["recorder plug"].span_id.hex() == saw[36:52]
    assert spans["POST /v1/plug"].parent_span_id.hex() == CALLER[36:52]
    assert spans["plug"].parent_span_id == spans["POST /v1/plug"].span_id
    assert attributes(spans["plug"])["vif.type"] == "ethernet"
    said = [line for line in lines(log) if line.get("trace") == TRACE]
    assert [line["message"] for line in said if line["logger"] == "vifplug.daemon"] == ["plug done"]
    assert {line["verb_id"] for line in said if "verb_id" in line} == {spans["plug"].span_id.hex()}


def test_a_verb_is_logged_with_who_asked_for_it(world: World, log: io.StringIO) -> None:
    with Watched(world) as watched, watched.client() as client:
        client.plug(binding())
        client.list()
    (verb,) = lines(log)
    assert verb["message"] == "plug done"
    assert (verb["uid"], verb["pid"]) == (os.geteuid(), os.getpid())


def test_a_request_that_was_refused_is_logged_with_who_made_it(world: World, log: io.StringIO) -> None:
    with Watched(world) as watched, watched.client() as client, pytest.raises(InvalidInput):
        client.plug({"id": "x"})
    (request,) = lines(log)
    assert (request["method"], request["path"], request["status"]) == ("POST", "/v1/plug", 400)
    assert (request["uid"], request["pid"]) == (os.geteuid(), os.getpid())
    assert request["seconds"] > 0


def test_a_failure_is_a_warning_with_its_code_and_its_verb(world: World, log: io.StringIO) -> None:
    world.on("plug", status=69)
    with Watched(world) as watched, watched.client() as client, pytest.raises(VifplugError):
        client.plug(binding())
    (failed,) = [line for line in lines(log) if line["message"] == "plug failed"]
    assert (failed["level"], failed["outcome"], failed["verb"], failed["vif_id"]) == (
        "warning", "backend_unavailable", "plug", ID,
    )  # fmt: skip
    assert "the backend said no" in failed["error"]["message"]


def test_no_detail_reaches_the_log(world: World, log: io.StringIO) -> None:
    logging.getLogger("vifplug").setLevel(logging.DEBUG)
    world.on("plug", status=65)
    with Watched(world) as watched, watched.client() as client:
        for details in ({"password": "hunter2"}, {"made_by": "hunter2"}):
            with pytest.raises(VifplugError):
                client.plug(binding(vif_details=details))
    assert "plug failed" in log.getvalue()
    assert "hunter2" not in log.getvalue()


def test_requests_and_verbs_are_counted(world: World) -> None:
    world.on("unplug", status=69)
    with Watched(world) as watched, watched.client() as client:
        client.plug(binding())
        with pytest.raises(VifplugError):
            client.unplug(ID)
        client.list()
        metrics = watched.observer.metrics
        assert value(metrics, "vifplug_verbs_total", verb="plug", outcome="done") == 1
        assert value(metrics, "vifplug_verbs_total", verb="unplug", outcome="backend_unavailable") == 1
        assert (
            value(metrics, "vifplug_http_requests_total", method="POST", route="/v1/plug", status="200") == 1
        )
        assert (
            value(metrics, "vifplug_http_requests_total", method="GET", route="/v1/vifs", status="200") == 1
        )
        assert value(metrics, "vifplug_events_total", kind="plugged") == 1
        route = "/v1/vifs/{id}/unplug"
        assert value(metrics, "vifplug_http_requests_total", method="POST", route=route, status="502") == 1


def test_paths_that_nobody_serves_are_one_series(world: World) -> None:
    with Watched(world) as watched, watched.client() as client:
        for number in range(3):
            with pytest.raises(VifplugError):
                client._get(f"/v1/nothing-{number}")
        text = watched.observer.metrics.text().decode()
    assert "nothing" not in text
    assert 'vifplug_http_requests_total{method="GET",route="(unknown)",status="404"} 3.0' in text


def test_what_the_daemon_does_by_itself_is_a_trace_for_each_thing(world: World) -> None:
    events, lanes = Events(), Lanes("test", 2, 2)
    for number in (1, 2):
        lanes.submit("", number, lambda: [events.publish("call"), events.publish("repaired")])
    news = events.subscribe(0)
    told = [event for _ in range(4) if (event := news.next(10)) is not None]
    assert lanes.stop(10)
    traces = [event.data["trace"] for event in told]
    assert sorted(traces.count(trace) for trace in set(traces)) == [2, 2]
