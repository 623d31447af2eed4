"""What a collector gets: one tree for a request, whose leaves are what the scripts saw as their parent."""

from __future__ import annotations

import builtins
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from collector import Collector, attributes
from vifplug.daemon.otlp import Otlp
from vifplug.daemon.spans import Span, Spans
from vifplug.errors import ConfigError, VifplugError
from vifplug.host import Host
from vifplug.script.tracecontext import TraceContext, current
from world import ID, World, binding

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def collector(netns: None) -> Iterator[Collector]:
    with Collector() as running:
        yield running


def traced(world: World, spans: Spans) -> Host:
    world.on("plug", do=f'echo "$TRACEPARENT" > {world.backend}/saw')
    return world.host(on_step=spans.on_step, on_call=spans.on_call)


def saw(world: World) -> TraceContext:
    """The context that the script found in its environment."""
    found = TraceContext.read((world.backend / "saw").read_text().strip())
    assert found is not None
    return found


def delivered(collector: Collector, otlp: Otlp) -> dict[str, Wire]:
    """The spans by name, once all that waited were delivered."""
    otlp.close()
    return {span.name: span for span in collector.spans()}


def test_a_request_is_one_tree_from_the_caller_to_the_script(world: World, collector: Collector) -> None:
    otlp = Otlp(collector.address, "host1")
    spans = Spans(otlp)
    with traced(world, spans) as host, spans.request("POST", "/v1/plug", CALLER) as request:
        with spans.verb("plug", ID) as verb:
            verb.attributes["vif.type"] = host.plug(binding()).vif.type.value
        request.attributes["http.response.status_code"] = 200
    found = delivered(collector, otlp)
    script = saw(world)
    request_, verb_ = found["POST /v1/plug"], found["plug"]
    step, call = found["script plug"], found["recorder plug"]
    assert {span.trace_id.hex() for span in found.values()} == {script.trace} == {CALLER[3:35]}
    assert request_.parent_span_id.hex() == CALLER[36:52]
    assert verb_.parent_span_id == request_.span_id
    assert step.parent_span_id == verb_.span_id
    assert call.parent_span_id == step.span_id
    assert call.span_id.hex() == script.span
    assert {"intent", "device", "reply", "verify", "outcome"} <= set(found)
    assert {found[name].parent_span_id for name in ("intent", "device", "outcome")} == {verb_.span_id}


def test_spans_say_what_they_are_about(world: World, collector: Collector) -> None:
    otlp = Otlp(collector.address, "host1")
    spans = Spans(otlp)
    with traced(world, spans) as host, spans.request("POST", "/v1/plug") as request:
        with spans.verb("plug", ID) as verb:
            verb.attributes["vif.type"] = host.plug(binding()).vif.type.value
        request.attributes["http.response.status_code"] = 200
    found = delivered(collector, otlp)
    assert collector.resource()["service.name"] == "vifplugd"
    assert collector.resource()["host.name"] == "host1"
    assert (found["POST /v1/plug"].kind, found["recorder plug"].kind) == (
        Wire.SPAN_KIND_SERVER,
        Wire.SPAN_KIND_CLIENT,
    )
    assert attributes(found["POST /v1/plug"]) == {
        "http.request.method": "POST", "http.route": "/v1/plug", "network.transport": "unix",
        "http.response.status_code": 200,
    }  # fmt: skip
    assert attributes(found["plug"]) == {"vifplug.verb": "plug", "vif.id": ID, "vif.type": "ethernet"}
    call = attributes(found["recorder plug"])
    assert (call["vif.id"], call["vifplug.script"], call["vifplug.verb"]) == (ID, "recorder", "plug")
    assert (call["vifplug.attempt"], call["vifplug.outcome"], call["process.exit.code"]) == (1, "done", 0)
    for span in found.values():
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= time.time_ns()
        assert span.status.code == Status.STATUS_CODE_UNSET


def test_what_failed_says_so_up_to_the_request(world: World, collector: Collector) -> None:
    otlp = Otlp(collector.address, "host1")
    spans = Spans(otlp)
    world.on("plug", status=69)
    with (
        world.host(on_step=spans.on_step, on_call=spans.on_call) as host,
        pytest.raises(VifplugError),
        spans.request("POST", "/v1/plug"),
        spans.verb("plug", ID),
    ):
        host.plug(binding())
    found = delivered(collector, otlp)
    for name in ("POST /v1/plug", "plug", "script plug", "recorder plug"):
        assert found[name].status.code == Status.STATUS_CODE_ERROR
        assert "the backend said no" in found[name].status.message
    assert attributes(found["recorder plug"])["vifplug.outcome"] == "backend_unavailable"
    assert attributes(found["plug"])["error.type"] == "backend_unavailable"
    # and the way back is part of the same verb
    assert found["undo script unplug"].parent_span_id == found["plug"].span_id
    assert found["recorder unplug"].parent_span_id == found["undo script unplug"].span_id
    assert found["recorder unplug"].status.code == Status.STATUS_CODE_UNSET


def test_each_attempt_is_a_span_of_its_own(world: World, collector: Collector) -> None:
    otlp = Otlp(collector.address, "host1")
    spans = Spans(otlp)
    world.on("plug", do=f"[ -f {world.backend}/second ] || {{ touch {world.backend}/second; exit 75; }}")
    with world.host(on_step=spans.on_step, on_call=spans.on_call) as host, spans.verb("plug", ID):
        host.plug(binding())
    otlp.close()
    calls = [attributes(span) for span in collector.spans() if span.name == "recorder plug"]
    assert [(call["vifplug.attempt"], call["vifplug.outcome"]) for call in calls] == [
        (1, "retry_later"),
        (2, "done"),
    ]


def test_a_caller_who_wants_no_trace_gets_none_and_the_script_hears_of_it(world: World) -> None:
    ended: list[Span] = []
    spans = Spans(ended.append)
    with traced(world, spans) as host, spans.request("POST", "/v1/plug", CALLER[:-1] + "0"):
        host.plug(binding())
    assert ended == []
    assert (saw(world).trace, saw(world).sampled) == (CALLER[3:35], False)


@pytest.mark.parametrize("header", [None, "", "nonsense", CALLER.upper(), f"00-{'0' * 32}-{'1' * 16}-01"])
def test_without_a_good_header_a_trace_of_its_own_begins(header: str | None) -> None:
    ended: list[Span] = []
    with Spans(ended.append).request("GET", "/v1/vifs", header) as span:
        assert current() == span.context
    assert [one.parent for one in ended] == [None]
    assert current() is None


def test_without_a_collector_a_callers_trace_still_reaches_the_script(world: World) -> None:
    spans = Spans()
    with traced(world, spans) as host, spans.request("POST", "/v1/plug", CALLER), spans.verb("plug", ID):
        host.plug(binding())
    assert saw(world).trace == CALLER[3:35]


def test_a_collector_that_is_down_holds_nothing_up_and_is_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    otlp = Otlp(address, "host1", patience=0.2)
    made: list[Span] = []

    def export(span: Span) -> None:
        made.append(span)
        otlp(span)

    spans = Spans(export)
    caplog.set_level(logging.INFO, "vifplug")
    with traced(world, spans) as host, spans.verb("plug", ID):
        host.plug(binding())
    otlp.close()
    assert (otlp.delivered, otlp.dropped) == (0, len(made))
    assert {"plug", "script plug", "recorder plug"} <= {span.name for span in made}
    assert [record.getMessage() for record in caplog.records] == [
        f"the collector at {address} does not take spans: they are dropped until it does"
    ]


def test_a_collector_that_hangs_blocks_nobody_and_memory_is_bounded(netns: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it listens and never answers
        otlp = Otlp(f"http://127.0.0.1:{silent.getsockname()[1]}", "host1", patience=1.0)
        started = time.monotonic()
        for _ in range(5000):
            with Spans(otlp).verb("plug"):
                pass
        assert time.monotonic() - started < 6  # waiting for each of its ten batches would take ten
        assert otlp.dropped > 0
        otlp.close(0)
    assert otlp.delivered + otlp.dropped == 5000


def test_a_collector_that_hangs_holds_no_end_up(netns: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        otlp = Otlp(f"http://127.0.0.1:{silent.getsockname()[1]}", "host1", patience=0.5)
        for _ in range(4096):  # eight batches
            with Spans(otlp).verb("plug"):
                pass
        started = time.monotonic()
        otlp.close(0.1)
        assert time.monotonic() - started < 4 * 0.5
    with Spans(otlp).verb("too late"):
        pass
    assert (otlp.delivered, otlp.dropped) == (0, 4097)


def test_that_a_collector_is_back_is_said_once(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vifplug")
    otlp = Otlp(collector.address, "host1")
    for status in (400, 400, 200, 200):
        collector.status = status
        with Spans(otlp).verb("plug"):
            pass
        otlp.flush(10)
    otlp.close()
    assert (otlp.delivered, otlp.dropped) == (2, 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_without_the_packages_the_configuration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(name: str, *args: Any, **keywords: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return there(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ConfigError, match=r'daemon\.otlp is set to http://\S+, but .* pip install "vifplug\[otel\]"'
    ):
        Otlp("http://127.0.0.1:4318", "host1")


@pytest.mark.parametrize("suffix", ["", "/", "/v1/traces"])
def test_the_address_is_the_collectors_or_its_very_endpoint(collector: Collector, suffix: str) -> None:
    otlp = Otlp(collector.address + suffix, "host1")
    with Spans(otlp).verb("plug"):
        pass
    otlp.close()
    assert otlp.delivered == len(collector.spans()) == 1
