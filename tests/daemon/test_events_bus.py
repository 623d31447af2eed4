"""The stream of events: whole, in order, from where a reader was; and no reader is in anybody's way."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons import PATIENCE, Told, ask, dial, heard, listening, until
from vifplug.daemon import streams
from vifplug.daemon.events import Events
from watched import Watched
from world import ID, binding


@pytest.fixture
def path(daemon: Watched) -> str:
    return daemon.config.socket_path


# --- over the socket -----------------------------------------------------------------------------


def test_events_are_framed_as_the_standard_says(path: str) -> None:
    with dial(path) as sock:
        sock.sendall(b"GET /v1/events?after=0 HTTP/1.0\r\n\r\n")
        told = b""
        while not told.endswith(b"\n\n") or b"data:" not in told:
            told += sock.recv(65536)
    head, _, stream = told.partition(b"\r\n\r\n")
    assert b"text/event-stream" in head and b"cache-control: no-store" in head.lower()
    assert stream.startswith(b"id: 0\n\nid: 1\nevent: started\ndata: {")
    assert stream.count(b"\n") == 6  # one line of JSON, whatever is in it


def test_what_happens_is_told_as_it_happens(daemon: Watched, path: str) -> None:
    daemon.world.info(verbs=["plug", "unplug", "check"])
    with listening(path) as told:
        ask(path, "POST", "/v1/plug", binding())
        call = heard(told, "call").data
        assert (call["vif_id"], call["data"]["verb"], call["data"]["outcome"]) == (ID, "plug", "done")
        plugged = heard(told, "plugged", vif_id=ID).data["data"]
        assert plugged["generation"] == 1 and plugged["type"] == "ethernet" and plugged["trace"]
        daemon.world.on("check", do='echo \'{"ok": false, "drift": [{"what": "port"}]}\'; exit 0')
        ask(path, "POST", f"/v1/vifs/{ID}/check")
        assert heard(told, "drift").data["data"]["drift"][0]["what"] == "port"
        daemon.world.on("unplug", status=1)
        ask(path, "POST", f"/v1/vifs/{ID}/unplug")
        assert heard(told, "unplug-failed").data["data"]["error"]["code"] == "failed"
        daemon.world.on("unplug")
        ask(path, "POST", "/v1/gc")
        assert heard(told, "debt-paid").data["vif_id"] == ID
        ask(path, "POST", f"/v1/vifs/{ID}/unplug")
        ask(path, "POST", "/v1/plug", binding(script="absent"))
        assert heard(told, "plug-failed").data["data"]["error"]["code"] == "script_not_found"


def test_a_reader_goes_on_where_it_was(daemon: Watched, path: str) -> None:
    for number in range(5):
        daemon.events.publish("numbered", None, number=number)
    first = daemon.events.number - 4
    for after, header in ((first, None), (None, str(first))):
        with listening(path, after, last_event_id=header) as told:
            seen = [heard(told, "numbered") for _ in range(4)]
        assert [event.id for event in seen] == list(range(first + 1, first + 5))
        assert [event.data["data"]["number"] for event in seen] == [1, 2, 3, 4]
    for header in ("", "x", "-1", "1.5", "²"):  # of somebody else: from now on
        with listening(path, last_event_id=header) as told:
            daemon.events.publish("now")
            assert next(event for event in told if isinstance(event, Told)).event == "now"


def test_what_was_missed_is_said(daemon: Watched, path: str) -> None:
    for _ in range(5000):
        daemon.events.publish("flood")
    with listening(path, 0) as told:
        assert next(told) == f"{daemon.events.number - 4096} events were missed"
        assert heard(told, "flood").id == daemon.events.number - 4095


def test_a_silent_stream_shows_that_it_lives(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_HEARTBEAT", 0.05)
    with listening(path) as told:
        assert [next(told), next(told)] == ["alive", "alive"]


def test_a_reader_who_left_is_noticed_without_an_event(
    daemon: Watched, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LOOK_UP", 0.05)
    with listening(path):
        assert daemon.service.connections() == 1
    until(lambda: daemon.service.connections() == 0)


def test_a_reader_who_reads_nothing_holds_up_nobody(daemon: Watched, path: str) -> None:
    with dial(path) as deaf, dial(path) as plugger:
        deaf.sendall(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: v\r\n\r\n")
        plugger.sendall(
            b"POST /v1/unplug-all HTTP/1.1\r\nHost: v\r\nContent-Length: 13\r\n\r\n" + b'{"all": true}'
        )
        until(lambda: daemon.service.connections() == 2)
        for number in range(4000):
            daemon.events.publish("flood", None, text="x" * 500, number=number)
        for _ in range(3):
            assert ask(path, "POST", "/v1/plug", binding()).status == 200
            assert ask(path, "POST", f"/v1/vifs/{ID}/unplug").json["changed"]


def test_the_end_of_the_daemon_is_the_last_that_is_told(daemon: Watched, path: str) -> None:
    with listening(path) as told:
        stopping = threading.Thread(target=daemon.stop)
        stopping.start()
        assert [event.event for event in told if isinstance(event, Told)] == ["stopping"]
        stopping.join(PATIENCE)
    daemon.start()  # for the fixture to stop


# --- the ring ------------------------------------------------------------------------------------


@given(
    kept=st.integers(1, 6),
    before=st.integers(0, 12),
    after=st.none() | st.integers(0, 15),
    more=st.integers(0, 4),
)
def test_a_reader_gets_all_that_is_kept_once_and_in_order(
    kept: int, before: int, after: int | None, more: int
) -> None:
    events = Events(kept)
    for _ in range(before):
        events.publish("one")
    news = events.subscribe(after)
    for _ in range(more):
        events.publish("more")
    seen = []
    while (event := news.next(0)) is not None:
        seen.append(event.number)
    begin = before if after is None else after if after <= before else 0
    total = before + more
    assert seen == list(range(max(begin, total - kept) + 1, total + 1))
    assert news.missed == max(0, total - kept - begin)


def test_many_publish_and_many_read_and_each_reads_all() -> None:
    events = Events(10_000)
    heard_by: list[list[int]] = [[] for _ in range(4)]
    ready = threading.Barrier(8)

    def read(numbers: list[int]) -> None:
        news = events.subscribe()
        ready.wait()
        while len(numbers) < 400:
            event = news.next(PATIENCE)
            assert event is not None
            numbers.append(event.number)

    def publish() -> None:
        ready.wait()
        for _ in range(100):
            events.publish("one")

    threads = [threading.Thread(target=read, args=(numbers,)) for numbers in heard_by]
    threads += [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard_by == [list(range(1, 401))] * 4


def test_closing_ends_who_waits() -> None:
    events = Events()
    news = events.subscribe()
    waiting = threading.Thread(target=news.next, args=(PATIENCE,))
    waiting.start()
    events.close()
    waiting.join(5)
    assert not waiting.is_alive() and news.closed


def test_numbers_go_on_counting_over_restarts() -> None:
    old = Events(before=1000)
    last = [old.publish("old") for _ in range(3)][-1].number
    new = Events(before=2000)
    new.publish("started")
    news = new.subscribe(last)
    event = news.next(0)
    assert event is not None and (event.kind, event.number, news.missed) == ("started", 2001, 0)
    assert new.subscribe(9999).next(0) == event  # of a daemon whose clock was ahead
    assert new.subscribe(0).next(0) == event
    assert new.subscribe(2001).next(0) is None
