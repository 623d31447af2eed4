"""A caller's trace goes on in the script, and never decides what is killed."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callers import Caller
from vifplug.host import Host
from vifplug.script.marks import Mark
from vifplug.script.tracecontext import TraceContext, current, within
from world import World, binding

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_what_was_written_is_read_again(trace: bytes, span: bytes, sampled: bool) -> None:
    context = TraceContext(trace=trace.hex(), span=span.hex(), sampled=sampled)
    expected = context if any(trace) and any(span) else None
    assert TraceContext.read(str(context)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 ends there
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01\0",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",  # a digit, but none of ASCII's
    ],
)
def test_a_header_that_breaks_the_specification_is_ignored(text: str) -> None:
    assert TraceContext.read(text) is None


def test_a_later_version_may_say_more() -> None:
    assert TraceContext.read(f"01-{TRACE}-{SPAN}-03-more") == TraceContext(trace=TRACE, span=SPAN)


@given(st.text())
def test_no_text_is_too_strange_to_read(text: str) -> None:
    assert TraceContext.read(text) is None


def test_a_part_has_the_trace_and_a_span_of_its_own() -> None:
    whole = TraceContext(trace=TRACE, span=SPAN, sampled=False)
    part = whole.child()
    assert (part.trace, part.sampled) == (TRACE, False)
    assert part.span not in (SPAN, whole.child().span)


def test_each_thread_has_its_own_work() -> None:
    seen: list[TraceContext | None] = []
    with within(TraceContext.new()) as outer:
        with within(outer.child()) as inner:
            assert current() == inner
        assert current() == outer
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert (seen, current()) == ([None], None)


def test_the_script_is_a_part_of_what_its_caller_does(call: Caller) -> None:
    with within(TraceContext(trace=TRACE, span=SPAN, sampled=False)):
        ended = call('echo "$TRACEPARENT" >&2')
    assert ended.stderr.strip() == ended.traceparent
    assert ended.traceparent.startswith(f"00-{TRACE}-")
    assert ended.traceparent.endswith("-00")
    assert SPAN not in ended.traceparent


def test_it_reads_the_same_in_the_request(call: Caller) -> None:
    ended = call("cat >&2")
    assert json.loads(ended.stderr)["traceparent"] == ended.traceparent


def test_a_callers_trace_is_not_in_the_mark(call: Caller) -> None:
    mark = Mark.new()
    with within(TraceContext(trace=TRACE, span=SPAN)):
        ended = call('echo "$VIFPLUG_CALL" >&2', mark=mark)
    assert ended.stderr.strip() == mark.call != TRACE


def test_all_calls_of_a_verb_are_one_trace_without_a_caller_that_has_one(world: World) -> None:
    world.on("plug", status=1)
    with world.host() as host:
        with pytest.raises(Exception, match="the backend said no"):
            host.plug(binding())
        plug, unplug = (TraceContext.read(call.traceparent) for call in host.calls(binding()["id"]))
    assert plug is not None
    assert unplug is not None
    assert plug.trace == unplug.trace
    assert plug.span != unplug.span


def test_a_script_that_stays_up_gets_each_calls_trace_in_its_request(world: World) -> None:
    world.script(
        "stays",
        f"""#!/usr/bin/python3 -I
import json, sys
if sys.argv[1] == "info":
    print(json.dumps({{"name": "stays", "resident": True}}))
elif sys.argv[1] == "serve":
    for line in sys.stdin:
        with open("{world.backend}/traces", "a") as file:
            print(json.loads(line)["traceparent"], file=file)
        print(json.dumps({{"exit": 0, "reply": {{}}}}), flush=True)
""",
    )
    with Host(world.config) as host:
        for number in (1, 2):
            host.plug(binding(number, "stays"))
        told = [call.traceparent for number in (1, 2) for call in host.calls(binding(number)["id"])]
        for number in (1, 2):
            host.unplug(binding(number)["id"])
    assert (world.backend / "traces").read_text().split()[:2] == told
