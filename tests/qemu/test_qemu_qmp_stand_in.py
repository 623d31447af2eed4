"""The monitor's client against a stand-in that says what no QEMU would: one clear error each."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.errors import QemuRefused, QemuUnreachable
from vifplug.qemu import Qmp

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
DONE = b'{"return": {}}\r\n'
Peer = Callable[[socket.socket], None]


@contextmanager
def stand_in(path: Path, peer: Peer) -> Iterator[str]:
    """Somebody at that socket who serves one client as ``peer`` does, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                peer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(path)
        finally:
            thread.join()


def says(*messages: bytes) -> Peer:
    """Greets, and answers each line with the next of these."""

    def peer(connection: socket.socket) -> None:
        with connection.makefile("rwb") as stream:
            stream.write(GREETING)
            stream.flush()
            for message in (DONE, *messages):
                if not stream.readline():
                    return
                stream.write(message)
                stream.flush()

    return peer


def test_answers_and_events_are_told_apart(tmp_path: Path) -> None:
    event = b'{"event": "STOP", "timestamp": {}}\r\n{"event": "RESUME", "timestamp": {}}\n'
    with stand_in(tmp_path / "qmp", says(event + b'{"return": [1]}\r\n')) as path, Qmp(path) as qmp:
        assert qmp.execute("query-something") == [1]
        found = qmp.wait(lambda event: event["event"] == "RESUME", 5)
        assert found is not None and found["event"] == "RESUME"


def test_qemus_own_words_are_in_the_error(tmp_path: Path) -> None:
    refused = json.dumps({"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}).encode()
    with stand_in(tmp_path / "qmp", says(refused + b"\n")) as path, Qmp(path) as qmp:
        with pytest.raises(QemuRefused, match="QEMU would not do device_del: Device 'x' not found") as caught:
            qmp.execute("device_del", {"id": "x"})
        assert caught.value.context["qemu_class"] == "DeviceNotFound"


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"[]\n", b'{"return": {}}\n', b"\xff\xfe\n", b"[" * 5000 + b"\n"]
)
def test_what_is_no_qmp_is_told_as_such(tmp_path: Path, said: bytes) -> None:
    with (
        stand_in(tmp_path / "qmp", lambda connection: connection.sendall(said)) as path,
        pytest.raises(QemuUnreachable, match="does not speak QMP"),
    ):
        Qmp(path)


@given(said=st.binary(max_size=200))
def test_no_answer_at_all_breaks_the_client(tmp_path_factory: pytest.TempPathFactory, said: bytes) -> None:
    path = tmp_path_factory.mktemp("qmp") / "qmp"
    with (
        stand_in(path, says(said + b"\n")) as name,
        Qmp(name) as qmp,
        suppress(QemuUnreachable, QemuRefused),  # the two errors that there are
    ):
        qmp.execute("query-status")


def test_who_hangs_up_is_told_as_such(tmp_path: Path) -> None:
    with (
        stand_in(tmp_path / "qmp", says()) as path,
        Qmp(path) as qmp,
        pytest.raises(QemuUnreachable, match="the connection to QEMU at .* broke off"),
    ):
        qmp.execute("query-status")


def test_who_serves_somebody_else_does_not_greet(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "qmp"))
        listener.listen()
        with pytest.raises(QemuUnreachable, match="it serves one client at a time"):
            Qmp(str(tmp_path / "qmp"), timeout=0.05)


@pytest.mark.parametrize("path", ["/run/nobody", "", "/" + "x" * 200, "a\0b"])
def test_where_nobody_answers_it_is_said_how_qemu_is_started(path: str) -> None:
    with pytest.raises(QemuUnreachable, match="nobody answers at .*-qmp unix:"):
        Qmp(path)
