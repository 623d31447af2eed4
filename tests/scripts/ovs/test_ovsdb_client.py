"""The OVSDB client of the packaged scripts, against a server that is a thread here and sends what the test says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vifplug.scriptlib.ovsdb import Lost, Ovsdb, Refused, TimedOut, Unreachable, address, one, several

Answer = Callable[[dict[str, Any]], bytes]


class Server:
    """Answers each request with the bytes that ``answer`` gives, in pieces as long as ``cuts`` says."""

    def __init__(self, path: Path, answer: Answer, cuts: list[int] | None = None) -> None:
        path.unlink(missing_ok=True)
        self.remote = f"unix:{path}"
        self.heard: list[dict[str, Any]] = []
        self._answer, self._cuts = answer, cuts or []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        decoder, text = json.JSONDecoder(), ""
        with (
            connection,
            suppress(BrokenPipeError, ConnectionResetError),
        ):  # a client may leave when it has heard enough
            while data := connection.recv(65536):
                text += data.decode()
                while text:
                    request, end = decoder.raw_decode(text)
                    text = text[end:]
                    self.heard.append(request)
                    if "method" not in request:
                        continue
                    answer = self._answer(request)
                    if not answer:
                        return
                    for piece in _pieces(answer, self._cuts):
                        connection.sendall(piece)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join()


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _result(request: dict[str, Any], result: Any) -> bytes:
    return json.dumps({"id": request["id"], "result": result, "error": None}, ensure_ascii=False).encode()


_names = st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(ids=st.dictionaries(_names, _names), names=st.lists(_names), cuts=st.lists(st.integers(1, 400)))
def test_rows_arrive_whole_however_the_stream_is_cut(
    tmp_path: Path, ids: dict[str, str], names: list[str], cuts: list[int]
) -> None:
    row = {
        "ids": ["map", [[key, value] for key, value in ids.items()]],
        "names": ["set", names],
        "uuid": ["uuid", "x"],
    }
    notice = b'{"method":"update2","params":[1,{}],"id":null}'

    def answer(request: dict[str, Any]) -> bytes:
        return notice + _result(request, [{"rows": [row]}]) + notice

    with Server(tmp_path / "s", answer, cuts) as server, Ovsdb(server.remote, 5.0) as db:
        for _ in range(2):
            assert db.select("Table", [], ["ids"]) == [{"ids": ids, "names": names, "uuid": ["uuid", "x"]}]


def test_a_server_that_asks_whether_we_are_there_is_answered(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        return b'{"method":"echo","params":["x"],"id":"echo"}' + _result(request, [{"rows": []}])

    with Server(tmp_path / "s", answer) as server, Ovsdb(server.remote, 5.0) as db:
        db.select("Table", [], [])
        db.select("Table", [], [])
    assert {"id": "echo", "result": ["x"], "error": None} in server.heard


def test_a_refusal_is_raised_with_its_reason(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        return _result(request, [{"count": 1}, {"error": "constraint violation", "details": "twice"}])

    with (
        Server(tmp_path / "s", answer) as server,
        Ovsdb(server.remote, 5.0) as db,
        pytest.raises(Refused, match="constraint violation: twice"),
    ):
        db.transact({"op": "insert"})


def test_a_server_that_goes_away_is_lost(tmp_path: Path) -> None:
    with (
        Server(tmp_path / "s", lambda _: b"") as server,
        Ovsdb(server.remote, 5.0) as db,
        pytest.raises(Lost, match="closed the connection"),
    ):
        db.select("Table", [], [])


def test_silence_ends_with_the_time(tmp_path: Path) -> None:
    notice = b'{"method":"update2","params":[1,{}],"id":null}'
    with (
        Server(tmp_path / "s", lambda _: notice) as server,
        Ovsdb(server.remote, 0.1) as db,
        pytest.raises(TimedOut),
    ):
        db.select("Table", [], [])


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("unix:/nowhere/db.sock", "No such file or directory"),
        ("tcp:127.0.0.1:1", "Connection refused"),
        ("tcp:[::1]:1", "Connection refused"),
        ("ssl:127.0.0.1:6640", "is neither unix:PATH nor tcp:IP:PORT"),
        ("db.sock", "is neither unix:PATH nor tcp:IP:PORT"),
        (f"unix:/{'x' * 200}", "AF_UNIX path too long"),
    ],
)
def test_an_address_where_nobody_answers_is_said(netns: None, remote: str, words: str) -> None:
    with pytest.raises(Unreachable, match=words):
        Ovsdb(remote, 1.0)


def test_the_address_is_the_operators_or_the_usual_one() -> None:
    assert address({}) == "unix:/var/run/openvswitch/db.sock"
    assert address({"OVS_RUNDIR": "/run/x"}) == "unix:/run/x/db.sock"
    assert address({"OVS_RUNDIR": "/run/x", "OVS_DB": "tcp:127.0.0.1:6640"}) == "tcp:127.0.0.1:6640"


def test_sets_of_one_are_told_from_that_one() -> None:
    uuid = ["uuid", "x"]
    assert [several(uuid), several([uuid, uuid]), several([]), several(5)] == [[uuid], [uuid, uuid], [], [5]]
    assert (one([]), one(5)) == (None, 5)
