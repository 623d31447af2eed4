"""What a right vifplugd never does, said by a stand-in: each is one clear error, and nothing hangs or leaks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.stand_in import StandIn, json_answer, stand_in
from vifplug.client import Client
from vifplug.errors import DaemonError, DaemonUnreachable, InvalidInput, NotAllowed, TooBusy, VifplugError
from world import ID, binding

PLUGGED = json.dumps({"id": ID, "generation": 1, "xml": "<interface/>", "changed": True, "seconds": 0.1})
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    return b"%x\r\n%b\r\n" % (len(text.encode()), text.encode())


# --- no daemon -----------------------------------------------------------------------------------


def test_no_socket_says_that_the_daemon_does_not_run_and_how_to_start_it(tmp_path: Path) -> None:
    with Client(str(tmp_path / "none.sock")) as host, pytest.raises(DaemonUnreachable) as raised:
        host.list()
    assert "does not run" in raised.value.message and "systemctl start vifplugd" in raised.value.message


def test_a_socket_that_nobody_listens_at_says_so(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left.sock"))
    left.close()
    with (
        Client(str(tmp_path / "left.sock")) as host,
        pytest.raises(DaemonUnreachable, match="nobody listens"),
    ):
        host.list()


@pytest.mark.real_root
def test_a_socket_of_others_names_the_group_to_join(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    with stand_in(tmp_path, b"") as daemon:
        Path(daemon.path).chmod(0o600)
        program = (
            "import os, sys; from vifplug.client import Client; from vifplug.errors import NotAllowed\n"
            "import pwd; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: Client(sys.argv[1]).list()\n"
            "except NotAllowed as error: print(error.message)"
        )
        told = subprocess.run(
            [sys.executable, "-c", program, daemon.path], capture_output=True, text=True, check=True
        )
    assert told.stdout.startswith("nobody may not use ") and "usermod -aG vifplug nobody" in told.stdout


@pytest.mark.parametrize("path", ["/" + "x" * 200, "/a\0b", "/\udcff" * 60])
def test_what_can_be_no_socket_is_refused(path: str) -> None:
    with Client(path) as host, pytest.raises(InvalidInput) as raised:
        host.list()
    assert raised.value.message.isprintable()
    json.dumps(raised.value.as_dict()).encode()


def test_a_directory_in_the_sockets_place_is_said(tmp_path: Path) -> None:
    with Client(str(tmp_path)) as host, pytest.raises(DaemonUnreachable, match=str(tmp_path)):
        host.list()


def test_a_daemon_that_takes_no_more_connections_is_said_in_time(tmp_path: Path) -> None:
    full = socket.socket(socket.AF_UNIX)
    full.bind(str(tmp_path / "full.sock"))
    full.listen(0)
    waiting = []
    for _ in range(4):
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        waiting.append(one)
        if one.connect_ex(str(tmp_path / "full.sock")) != 0:
            break
    with Client(str(tmp_path / "full.sock"), timeout=0.1) as host, pytest.raises(DaemonUnreachable) as raised:
        host.list()
    assert "overloaded or hangs" in raised.value.message
    for one in (full, *waiting):
        one.close()


# --- answers that break off, or are none ---------------------------------------------------------

BROKEN = {
    "nothing at all": b"",
    "half a status": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": json_answer(PLUGGED)[:-7],
    "half a chunk": CHUNKED + b"40\r\n{",
    "no last chunk": CHUNKED + chunk('{"step": {}}\n'),
}
GARBAGE = {
    "no HTTP": b"220 mail.example.org ESMTP\r\n",
    "a status that is no number": b"HTTP/1.1 OK OK\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nhello\r\n\r\n",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a line without end": b"x" * 200_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
    "a chunk of no length": CHUNKED + b"zz\r\n{}\r\n",
    "a chunk of negative length": CHUNKED + b"-5\r\n{}\r\n",
    "a chunk longer than it said": CHUNKED + b"1\r\n{}\r\n",
    "no JSON": json_answer("hello"),
    "no object": json_answer("[1]"),
    "an end without an answer": CHUNKED + chunk('{"step": {"name": "intent"}}\n') + b"0\r\n\r\n",
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_breaks_off_says_that_the_daemon_goes_on(tmp_path: Path, sent: bytes) -> None:
    with stand_in(tmp_path, sent) as daemon:
        with Client(daemon.path, on_step=lambda _: None) as host, pytest.raises(DaemonUnreachable) as raised:
            host.plug(binding())
        assert "broke off" in raised.value.message and "'vifplug list'" in raised.value.message
        assert len(daemon.requests) == 1, "on a connection of its own, a request is sent once"


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
def test_an_answer_that_is_no_vifplugds_is_said(tmp_path: Path, sent: bytes) -> None:
    with stand_in(tmp_path, sent) as daemon, Client(daemon.path, on_step=lambda _: None) as host:
        with pytest.raises(DaemonUnreachable, match="is not vifplugd: it sent") as raised:
            host.plug(binding())
        assert len(raised.value.message) < 400 and raised.value.message.isprintable()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_an_answer_or_one_clear_error(tmp_path: Path, data: Any) -> None:
    good = (
        CHUNKED + chunk('{"step": {"name": "intent"}}\n') + chunk(f'{{"answer": {PLUGGED}}}\n') + b"0\r\n\r\n"
    )
    at = data.draw(st.integers(0, len(good)))
    sent = data.draw(st.sampled_from([good[:at], good[:at] + data.draw(st.binary(max_size=30)) + good[at:]]))
    with stand_in(tmp_path, sent) as daemon, Client(daemon.path, on_step=lambda _: None, timeout=5) as host:
        try:
            assert host.plug(binding()).id == ID
        except VifplugError as error:
            assert error.message
    Path(daemon.path).unlink()


def test_an_error_that_is_no_vifplugds_keeps_its_status(tmp_path: Path) -> None:
    sent = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nwhat?"
    with stand_in(tmp_path, sent) as daemon, Client(daemon.path) as host:
        with pytest.raises(DaemonError, match="HTTP status 400: what\\?"):
            host.list()
        assert len(daemon.requests) == 1


def test_a_daemon_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    def silent(daemon: StandIn, connection: socket.socket) -> None:
        daemon.read_request(connection)

    with stand_in(tmp_path, silent) as daemon, Client(daemon.path, timeout=0.05) as host:
        with pytest.raises(DaemonUnreachable, match="has said nothing for 0.05 s; what it had begun goes on"):
            host.plug(binding())
        with pytest.raises(DaemonUnreachable, match="has said nothing for 0.15 s"):
            host.plug(binding(), seconds=0.1)


def test_an_answer_given_before_the_whole_request_was_read_is_heard(tmp_path: Path) -> None:
    refusal = json.dumps({"error": {"code": "too_busy", "message": "too many connections"}})

    def refuse(_: StandIn, connection: socket.socket) -> None:
        connection.sendall(json_answer(refusal, "503 Service Unavailable", "Retry-After: 2\r\n"))
        connection.close()

    with stand_in(tmp_path, refuse) as daemon, Client(daemon.path) as host:
        with pytest.raises(TooBusy, match="too many connections") as raised:
            host.plug("x" * 2_000_000)
        assert raised.value.context["retry_after"] == 2


def _line(index: int) -> str:
    return json.dumps({"index": index, "answer": json.loads(PLUGGED)}) + "\n"


def test_many_whose_connection_breaks_off_keep_the_answers_that_came(tmp_path: Path) -> None:
    sent = CHUNKED + chunk(_line(2)) + chunk(_line(0))
    done: list[Any] = []
    with stand_in(tmp_path, sent) as daemon, Client(daemon.path) as host:
        answers = host.plug_all([binding(number) for number in range(4)], on_done=done.append)
        assert [isinstance(answer, DaemonUnreachable) for answer in answers] == [False, True, False, True]
        assert len(done) == 4
        with pytest.raises(DaemonUnreachable, match="broke off"):  # of all, nobody knows which are missing
            host.unplug_all()


def test_many_with_too_few_answers_say_so(tmp_path: Path) -> None:
    sent = CHUNKED + chunk(_line(1)) + b"0\r\n\r\n"
    with stand_in(tmp_path, sent) as daemon, Client(daemon.path) as host:
        answers = host.plug_all([binding(number) for number in range(2)])
        assert "too few answers" in str(answers[0]) and not isinstance(answers[1], VifplugError)


def test_many_that_are_refused_as_a_whole_are_one_error(tmp_path: Path) -> None:
    refusal = json.dumps({"error": {"code": "too_busy", "message": "full", "retry_after": 1}}) + "\n"
    with stand_in(tmp_path, CHUNKED + chunk(refusal) + b"0\r\n\r\n") as daemon, Client(daemon.path) as host:
        with pytest.raises(TooBusy, match="full"):
            host.plug_all([binding()])
        assert len(daemon.requests) == 1


# --- connections that are kept -------------------------------------------------------------------


def answer_then_wait(answer: bytes, release: threading.Event) -> Any:
    """Answer one request; when released close the connection, having read whatever else came."""

    def behave(daemon: StandIn, connection: socket.socket) -> None:
        daemon.read_request(connection)
        connection.sendall(answer)
        release.wait(10)
        connection.close()

    return behave


def test_a_connection_that_the_daemon_has_closed_meanwhile_is_replaced(tmp_path: Path) -> None:
    release = threading.Event()
    with stand_in(tmp_path, answer_then_wait(json_answer(PLUGGED), release), json_answer(PLUGGED)) as daemon:
        with Client(daemon.path) as host:
            host.plug(binding())
            release.set()
            assert host.plug(binding()).generation == 1
        assert len(daemon.requests) == 2


def reads_and_closes(answer: bytes) -> Any:
    """Answer one request, and close the connection when the next has been read."""

    def behave(daemon: StandIn, connection: socket.socket) -> None:
        daemon.read_request(connection)
        connection.sendall(answer)
        daemon.read_request(connection)
        connection.close()

    return behave


def test_a_request_that_crossed_the_closing_of_its_connection_is_sent_once_more(tmp_path: Path) -> None:
    with stand_in(tmp_path, reads_and_closes(json_answer(PLUGGED)), json_answer(PLUGGED)) as daemon:
        with Client(daemon.path) as host:
            host.plug(binding())
            assert host.plug(binding()).generation == 1
        assert len(daemon.requests) == 3 and daemon.requests[1] == daemon.requests[2]


def test_a_request_whose_second_answer_would_differ_is_not_sent_again(tmp_path: Path) -> None:
    with stand_in(
        tmp_path, reads_and_closes(json_answer(PLUGGED)), json_answer('{"forgotten": 1}')
    ) as daemon:
        with Client(daemon.path) as host:
            host.plug(binding())
            with pytest.raises(DaemonUnreachable, match="broke off before it answered"):
                host.forget(ID)
        assert len(daemon.requests) == 2


def test_a_request_is_not_sent_again_when_its_answer_had_begun(tmp_path: Path) -> None:
    def behave(daemon: StandIn, connection: socket.socket) -> None:
        daemon.read_request(connection)
        connection.sendall(json_answer(PLUGGED))
        daemon.read_request(connection)
        connection.sendall(json_answer(PLUGGED)[:-5])
        connection.close()

    with stand_in(tmp_path, behave, json_answer(PLUGGED)) as daemon, Client(daemon.path) as host:
        host.plug(binding())
        with pytest.raises(DaemonUnreachable, match="in the middle of its answer"):
            host.plug(binding())
        assert len(daemon.requests) == 2


def test_a_child_process_does_not_ask_over_its_parents_connections(tmp_path: Path) -> None:
    done = threading.Event()
    answers = answer_then_wait(json_answer(PLUGGED), done), json_answer(PLUGGED)
    with stand_in(tmp_path, *answers) as daemon, Client(daemon.path) as host:
        host.plug(binding())
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover
            try:
                os.write(writing, b"%d" % host._asking.pool.take(fresh=False).used)
            finally:
                os._exit(0)
        os.close(writing)
        done.set()
        assert os.read(reading, 9) == b"0"
        os.close(reading)
        os.waitpid(child, 0)


# --- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["00-" + "a" * 32 + "-" + "b" * 16 + "-01"])
def test_a_trace_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: str) -> None:
    sent = b"traceparent: " + trace.encode() + b"\r\n"
    with stand_in(tmp_path, json_answer(PLUGGED)) as daemon:
        monkeypatch.delenv("TRACEPARENT", raising=False)
        for given_trace in (trace, lambda: trace):
            with Client(daemon.path, traceparent=given_trace) as host:
                host.plug(binding())
        monkeypatch.setenv("TRACEPARENT", trace)
        with Client(daemon.path) as host:
            host.plug(binding())
        assert all(sent in request for request in daemon.requests)
        monkeypatch.setenv("TRACEPARENT", "x\r\nX-Role: admin")
        with Client(daemon.path) as host:
            host.plug(binding())
        assert b"traceparent" not in daemon.requests[-1] and b"X-Role" not in daemon.requests[-1]


@given(st.text(max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_taken_for_an_id_stays_within_its_place(tmp_path: Path, text: str) -> None:
    with stand_in(tmp_path, json_answer(PLUGGED)) as daemon, Client(daemon.path) as host:
        host.show(text)
        line = daemon.requests[-1].split(b"\r\n")[0].decode()
    Path(daemon.path).unlink()
    method, target, version = line.split(" ")
    assert (method, version) == ("GET", "HTTP/1.1")
    assert target.startswith("/v1/vifs/") and not set("/?# ") & set(target.removeprefix("/v1/vifs/"))


@pytest.mark.parametrize("value", [{"mtu": float("nan")}, {"id": {1, 2}}, {"id": object()}])
def test_what_json_cannot_say_is_refused_before_it_is_sent(tmp_path: Path, value: Any) -> None:
    with Client(str(tmp_path / "none.sock")) as host, pytest.raises(InvalidInput, match="is not JSON"):
        host.plug(value)


def test_not_allowed_is_an_error_of_its_own(tmp_path: Path) -> None:
    refusal = json.dumps(
        {"error": {"code": "not_allowed", "message": "a reader may not plug", "role": "reader"}}
    )
    with stand_in(tmp_path, json_answer(refusal, "403 Forbidden")) as daemon, Client(daemon.path) as host:
        with pytest.raises(NotAllowed, match="a reader may not plug") as raised:
            host.plug(binding())
        assert raised.value.context == {"role": "reader"} and raised.value.exit_status == 77
