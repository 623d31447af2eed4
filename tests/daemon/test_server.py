"""HTTP at the socket, said well and badly: one clear answer each, and the next caller is served as ever."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemons import Connection, ask, dial, rest_of, say, statuses, until
from vifplug.config import Daemon
from vifplug.daemon import server
from watched import Watched
from world import binding

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: vifplugd\r\n\r\n"
PLUG = b"POST /v1/plug HTTP/1.1\r\nHost: vifplugd\r\n"


@pytest.fixture
def path(daemon: Watched) -> str:
    return daemon.config.socket_path


@pytest.fixture(autouse=True)
def _serves_afterwards(daemon: Watched) -> Iterator[None]:
    """Whatever a test said, the daemon goes on, and keeps nothing of it."""
    yield
    path = daemon.config.socket_path
    until(lambda: ask(path, "GET", "/v1/health").status == 200)
    until(lambda: daemon.service.connections() == 0)
    assert daemon.service.admission.queue().at_work == 0


# --- said well -----------------------------------------------------------------------------------


def test_a_connection_is_kept_for_one_request_after_another(path: str) -> None:
    with contextlib.closing(Connection(path)) as connection:
        for _ in range(3):
            connection.request("GET", "/v1/health")
            assert connection.answer().status == 200
        assert connection.sock is not None


def test_requests_sent_together_are_answered_in_order(path: str) -> None:
    missing = HEALTH.replace(b"health", b"nothing")
    plug = PLUG + b"Content-Length: 2\r\n\r\n[]"
    assert statuses(say(path, HEALTH + missing + plug + HEALTH)) == [200, 404, 400, 200]


def test_http_1_0_gets_an_answer_that_ends_with_the_connection(path: str) -> None:
    answer = say(path, b"GET /v1/health HTTP/1.0\r\n\r\n", end=False)
    assert b"connection: close" in answer.lower() and answer.endswith(b"}")


def test_http_1_0_gets_streams_without_chunks(path: str) -> None:
    answer = say(path, b"POST /v1/plug-all HTTP/1.0\r\nContent-Length: 2\r\n\r\n[]", end=False)
    assert b"chunked" not in answer.lower() and answer.endswith(b"\r\n\r\n")


def test_connection_close_is_obeyed(path: str) -> None:
    answer = say(path, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), end=False)
    assert statuses(answer) == [200]


def test_a_request_may_come_byte_by_byte(path: str) -> None:
    assert statuses(say(path, *(HEALTH[place : place + 1] for place in range(len(HEALTH))))) == [200]


def test_expect_100_continue_is_said_before_the_body_is_read(path: str) -> None:
    with dial(path) as sock:
        sock.sendall(PLUG + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100")
        sock.sendall(b"[]")
        sock.shutdown(socket.SHUT_WR)
        assert statuses(rest_of(sock)) == [400]


def test_who_would_send_too_much_is_told_so_instead_of_to_continue(path: str) -> None:
    told = say(path, PLUG + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n", end=False)
    assert statuses(told) == [413]


def test_a_body_may_come_in_chunks(path: str) -> None:
    told = say(path, PLUG + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n")
    assert statuses(told) == [400] and b"invalid_input" in told


def test_the_whole_address_may_be_the_target(path: str) -> None:
    assert ask(path, "GET", "http://localhost/v1/health").status == 200


def test_head_is_get_without_the_body(path: str) -> None:
    told = say(path, HEALTH.replace(b"GET", b"HEAD") + HEALTH)
    assert statuses(told) == [200, 200]
    assert told.count(b'"status"') == 1
    assert statuses(say(path, b"HEAD /v1/nothing HTTP/1.1\r\nHost: v\r\n\r\n" + HEALTH)) == [404, 200]
    assert statuses(say(path, b"HEAD /v1/plug HTTP/1.1\r\nHost: v\r\n\r\n" + HEALTH)) == [405, 200]
    assert statuses(say(path, b"HEAD /v1/events HTTP/1.1\r\nHost: v\r\n\r\n" + HEALTH)) == [200, 200]


# --- said badly ----------------------------------------------------------------------------------


NOT_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # TLS
    b"GET /v1/health\r\n\r\n",
    b"GET /v1/health HTTP/1.1\r\n\r\n",  # no Host
    b"GET /v1/hea lth HTTP/1.1\r\nHost: v\r\n\r\n",
    b"POST /v1/plug HTTP/1.1\r\nHost: v\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/plug HTTP/1.1\r\nHost: v\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /v1/plug HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /v1/plug HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /v1/health HTTP/1.1\r\nHost: v\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"y" * 70_000,
    b"GET /v1/health HTTP/1.1\r\nHost: v\r\nX" + bytes([0]) + b": y\r\n\r\n",
]


def test_what_is_not_http_is_refused_in_words(path: str) -> None:
    for said in NOT_HTTP:
        told = say(path, said)
        assert statuses(told) == [400], said
        assert b"this is not HTTP/1.1 as it should be" in told


@pytest.mark.parametrize("said", [HEALTH[:20], PLUG, PLUG + b"Content-Length: 9\r\n\r\n{", b"\r\n"])
def test_half_a_request_is_never_carried_out(daemon: Watched, path: str, said: bytes) -> None:
    told = say(path, said)
    assert statuses(told) in ([], [400])
    assert daemon.service.host.list() == []


def test_half_a_request_and_gone_leaves_nothing(path: str) -> None:
    for said in (b"", b"G", HEALTH[:-1], PLUG + b"Content-Length: 9\r\n\r\n{"):
        with dial(path) as sock:
            sock.sendall(said)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [HEALTH, PLUG, b"\r\n\r\n", b"Content-Length: 3\r\n\r\n{}\n", b"GET //[ HTTP/1.1\r\n"]
            ),
        ),
        max_size=6,
    )
)
def test_any_bytes_get_http_or_nothing(path: str, said: list[bytes]) -> None:
    told = say(path, *said)
    assert told == b"" or set(statuses(told)) <= {200, 400, 404, 405, 413}
    assert 500 not in statuses(told)


ODD = ["//[", "//[/v1/health", "http://[", "http://[/v1", "*", "/", "/v1/vifs//", "/%ff/%00", "/v1/health/"]


def test_an_odd_target_is_no_route(path: str) -> None:
    for target in ODD:
        told = say(path, b"GET %s HTTP/1.1\r\nHost: v\r\n\r\n" % target.encode())
        assert statuses(told) == [404] and b"no_such_route" in told, target


# --- too much, too slow --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1 << 20) + 1, 3 << 20])
def test_a_body_too_large_is_said_to_who_is_still_sending_it(daemon: Watched, path: str, size: int) -> None:
    answer = ask(path, "POST", "/v1/plug", b"x" * size)
    assert (answer.status, answer.error["code"]) == (413, "too_large")
    assert "at most 1048576 bytes" in answer.error["message"]


def test_a_body_too_large_is_noticed_without_a_length(path: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    with contextlib.closing(Connection(path)) as connection:
        connection.request(
            "POST", "/v1/plug", chunks(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        assert connection.answer().error["code"] == "too_large"


def test_a_body_where_none_belongs_is_bounded_too(path: str) -> None:
    assert ask(path, "GET", "/v1/health", b"x" * 65536).status == 200
    assert ask(path, "GET", "/v1/health", b"x" * 65537).status == 413


def test_bodies_have_one_room_together(daemon: Watched, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_BODIES", 1 << 20)
    head = b"POST /v1/plug-all HTTP/1.1\r\nHost: v\r\nContent-Length: 2000000\r\n\r\n"
    with dial(path) as first:
        first.sendall(head + b" " * 900_000)
        until(lambda: daemon.server.bodies > 800_000)
        told = say(path, head + b" " * 900_000, end=False)
        assert statuses(told) == [429] and b"retry-after" in told.lower()
        assert ask(path, "POST", "/v1/plug", binding(script=None)).status == 200  # who sends little is served
    until(lambda: daemon.server.bodies == 0)
    assert ask(path, "POST", "/v1/plug-all", b" " * 900_000 + b"[]").status == 200


def test_who_is_slow_with_a_request_is_told_and_let_go(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ARRIVE", 0.2)
    for said in (b"G", HEALTH[:-2], PLUG + b"Content-Length: 10\r\n\r\n{"):
        assert statuses(say(path, said, end=False)) == [504]


def test_a_second_request_may_not_hang_in_the_air_either(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ARRIVE", 0.2)
    assert statuses(say(path, HEALTH + HEALTH[:-2], end=False)) == [200, 504]


def test_an_idle_connection_is_closed_without_a_word(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE", 0.1)
    assert say(path, end=False) == b""
    assert statuses(say(path, HEALTH, end=False)) == [200]


# --- too many ------------------------------------------------------------------------------------


class TestWithRoomForFew:
    @pytest.fixture
    def daemon_settings(self) -> Daemon:
        return Daemon(connections=4, rate=1)

    def test_more_connections_than_there_is_room_for_are_told_to_come_back(self, path: str) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(dial(path)).sendall(b"G")
            told = say(path, HEALTH, end=False)
            assert statuses(told) == [429]
            assert b"daemon.connections" in told and b"retry-after: 1" in told.lower()
        until(lambda: statuses(say(path, HEALTH)) == [200])

    def test_who_asks_too_fast_is_told_to_slow_down(self, path: str) -> None:
        with contextlib.closing(Connection(path)) as connection:
            for _ in range(30):
                connection.request("GET", "/v1/health")
                answer = connection.answer()
                if answer.status != 200:
                    break
            assert (answer.status, answer.error["code"]) == (429, "too_busy")
            assert answer.headers["retry-after"] == "1" and "daemon.rate" in answer.error["message"]
        until(lambda: ask(path, "GET", "/v1/health").status == 200)
