"""`vifplug events`: what happened on this host, line by line, and what happens from now on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_shell import Shell
from vifplug.cli._events import text
from vifplug.client.answers import Answer
from vifplug.errors import VifplugError
from watched import Watched
from world import ID, World, binding


@pytest.fixture
def watched(vifplug: Shell, world: World) -> Iterator[Watched]:
    with Watched(world) as running:
        yield running


def kinds(out: str) -> list[str]:
    return [line.split()[1] for line in out.splitlines()]


def test_each_event_is_a_line_with_its_time_its_vif_and_what_happened(
    vifplug: Shell, world: World, watched: Watched
) -> None:
    with watched.client() as client:
        client.plug(binding())
        world.on("unplug", status=69)
        with pytest.raises(VifplugError):
            client.unplug(ID)
    ended = vifplug("events")
    assert (ended.status, ended.err) == (0, "")
    assert kinds(ended.out) == ["started", "call", "plugged", "call", "unplug-failed"]
    _, call, plugged, failed_call, failed = ended.out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  call +4c1b1b0a  recorder plug: done in \S+ ms", call)
    assert re.fullmatch(r".*plugged +4c1b1b0a  ethernet in \S+ ms", plugged)
    assert "recorder unplug: backend_unavailable in" in failed_call
    assert "the backend said no" in failed


def test_events_are_chosen_by_kind_by_vif_and_by_number(
    vifplug: Shell, world: World, watched: Watched
) -> None:
    with watched.client() as client:
        client.plug(binding())
        client.plug(binding(2))
    assert kinds(vifplug("events", "--kind", "plugged").out) == ["plugged", "plugged"]
    assert kinds(vifplug("events", "--kind", "plugged", "--kind", "started").out) == [
        "started",
        "plugged",
        "plugged",
    ]
    for vif in (ID, ID[:8].upper()):
        assert kinds(vifplug("events", "--vif", vif).out) == ["call", "plugged"]
    assert kinds(vifplug("events", "--after", "3").out) == ["call", "plugged"]
    for beyond in ("5", "500"):
        assert vifplug("events", "--after", beyond) == (0, "", "")


def test_as_json_each_event_is_an_object_on_its_line(vifplug: Shell, world: World, watched: Watched) -> None:
    with watched.client() as client:
        client.plug(binding())
    events = [json.loads(line) for line in vifplug("events", "--json").out.splitlines()]
    assert [(event["number"], event["kind"]) for event in events] == [
        (1, "started"),
        (2, "call"),
        (3, "plugged"),
    ]
    assert events[1]["data"]["outcome"] == "done"


def test_what_a_script_said_cannot_steer_the_terminal(vifplug: Shell, world: World, watched: Watched) -> None:
    world.on("plug", do="printf 'evil \\033[2J\\a\\n' >&2; exit 1")
    with watched.client() as client, pytest.raises(VifplugError):
        client.plug(binding())
    out = vifplug("events", "--kind", "plug-failed").out
    assert "\\x1b[2J\\x07" in out
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", out)


def test_only_the_daemon_knows(vifplug: Shell, watched: Watched) -> None:
    ended = vifplug("events", "--local")
    assert ended.status == 64
    assert "leave out --local" in ended.err


# --- from now on ---------------------------------------------------------------------------------


@contextmanager
def following(vifplug: Shell, *args: str) -> Iterator[tuple[IO[str], subprocess.Popen[str]]]:
    with vifplug.start("events", "-f", *args) as process:
        assert process.stdout is not None
        try:
            yield process.stdout, process
        finally:
            process.kill()


def until(out: IO[str], words: str) -> list[str]:
    """The lines up to the one with these words."""
    lines = []
    for line in out:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"it ended without {words!r}: {lines}")


def test_it_goes_on_with_what_happens(vifplug: Shell, world: World, watched: Watched) -> None:
    with following(vifplug) as (out, _), watched.client() as client:
        until(out, "started")
        client.plug(binding())
        until(out, "plugged")
        client.unplug(ID)
        assert "call" in until(out, "unplugged")[0]


def test_a_late_reader_gets_the_last_ten_first(vifplug: Shell, world: World, watched: Watched) -> None:
    for number in range(30):
        watched.events.publish("reboot", number=number)
    with following(vifplug) as (out, _):
        assert len(until(out, "number 29")) == 10


def test_it_survives_the_daemon(vifplug: Shell, world: World, watched: Watched) -> None:
    with following(vifplug) as (out, _):
        until(out, "started")
        watched.restart()
        assert "stopping" in "".join(until(out, "started"))
        with watched.client() as client:
            client.plug(binding())
        until(out, "plugged")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_without_a_word(
    vifplug: Shell, world: World, watched: Watched, number: int, status: int
) -> None:
    with following(vifplug) as (out, process):
        until(out, "started")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (status, "")


def test_a_reader_that_has_seen_enough_ends_it(vifplug: Shell, world: World, watched: Watched) -> None:
    with following(vifplug) as (out, process):
        until(out, "started")
        out.close()
        watched.events.publish("reboot")
        watched.events.publish("reboot")
        assert process.wait(20) == 128 + signal.SIGPIPE


# --- words for what happened ---------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.slow
@given(
    st.sampled_from(["call", "plugged", "reboot", "orphan-removed"]),
    st.dictionaries(st.text(), values, max_size=5),
)
def test_there_are_words_for_any_event(kind: str, data: dict[str, object]) -> None:
    assert isinstance(text(kind, Answer(data)), str)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("call", {"script": "s", "verb": "plug", "outcome": "retry_later", "seconds": 0.5, "attempt": 2},
         "s plug: retry_later in 500.0 ms, attempt 2"),
        ("drift", {"drift": [{"what": "device mtu", "expected": 1500, "found": 1400},
                             {"what": "device", "expected": "tap1", "found": None}]},
         "device mtu: 1400 in place of 1500; device: nothing in place of tap1"),
        ("drift", {"drift": []}, "as it was plugged again"),
        ("device-gone", {"drift": [{"what": "device", "expected": "tap1", "found": None}]},
         "device: nothing in place of tap1"),
        ("keeper-failed", {"doing": "compare", "error": {"code": "failed", "message": "no memory"}},
         "compare: no memory"),
        ("drift", {"drift": [], "message": "the script said no"}, "the script said no"),
        ("recovered", {"was": "plugging", "now": "unplugged", "message": None}, "was plugging, now unplugged"),
        ("recovered", {"was": "unplugging", "now": "debt", "message": "no answer"},
         "was unplugging, now debt; no answer"),
        ("plug-failed", {"error": {"code": "timed_out", "message": "not done after 30 s"}}, "not done after 30 s"),
        ("orphan-removed", {"device": "tap1"}, "device tap1"),
        ("repaired", {"drift": [{"what": "device mtu", "expected": 1500, "found": 1400}], "seconds": 0.5},
         "device mtu: 1400 in place of 1500 in 500.0 ms"),
        ("debt-owing", {"message": "no answer", "attempts": 3}, "no answer; attempts 3"),
        ("started", {}, ""),
    ],
)  # fmt: skip
def test_the_words_of_each_kind(kind: str, data: dict[str, object], words: str) -> None:
    assert text(kind, data) == words
    assert text(kind, Answer(data)) == words  # as the client has it
