"""Callers of vifplugd that say just what a test wants said: any bytes, any request, as any user."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from callers import in_child

#: seconds that an answer may take on a busy machine
PATIENCE = 30.0
NDJSON = {"Accept": "application/x-ndjson"}


class Answer(NamedTuple):
    """One HTTP answer; ``headers`` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        assert error["message"]
        assert self.headers["content-type"] == "application/json"
        return error


class Connection(http.client.HTTPConnection):
    """The standard library's client, over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = dial(self.path)

    def answer(self) -> Answer:
        response = self.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def dial(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def body_of(content: Any) -> bytes | None:
    if content is None or isinstance(content, bytes):
        return content
    return json.dumps(content).encode()


def ask(
    path: str, method: str, target: str, content: Any = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own. ``content``: bytes, or what is sent as JSON."""
    with contextlib.closing(Connection(path)) as connection:
        connection.request(method, target, body_of(content), dict(headers or {}))
        return connection.answer()


def say(path: str, *parts: bytes, end: bool = True) -> bytes:
    """Send just these bytes, and all that comes back until the daemon hangs up. ``end``: we send no more."""
    with dial(path) as sock:
        with contextlib.suppress(BrokenPipeError):  # it may have had enough of it
            for part in parts:
                sock.sendall(part)
            if end:
                sock.shutdown(socket.SHUT_WR)
        return rest_of(sock)


def rest_of(sock: socket.socket) -> bytes:
    """Everything until the daemon hangs up."""
    found = b""
    try:
        while part := sock.recv(65536):
            found += part
    except ConnectionResetError:  # it did not read all that we sent
        pass
    return found


def statuses(answers: bytes) -> list[int]:
    """Those of the answers in these bytes, in order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


class Told(NamedTuple):
    """One server-sent event."""

    id: int
    event: str
    data: dict[str, Any]


@contextlib.contextmanager
def listening(
    path: str, after: int | None = None, *, last_event_id: str | None = None
) -> Iterator[Iterator[Told | str]]:
    """The stream of events: each, and each comment as a str; it has said from where when this begins."""
    with contextlib.closing(Connection(path)) as connection:
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        connection.request(
            "GET", "/v1/events" + ("" if after is None else f"?after={after}"), headers=headers
        )
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.getheader("content-type") == "text/event-stream"
        told = _told(response)
        assert isinstance(begins := next(told), str) and begins.startswith("after ")
        yield told
        response.close()


def _told(response: http.client.HTTPResponse) -> Iterator[Told | str]:
    fields: dict[str, str] = {}
    while line := response.readline().decode():
        text = line.removesuffix("\n")
        if text.startswith(":"):
            yield text.removeprefix(":").strip()
        elif text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif fields:
            if "data" in fields:
                yield Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            else:
                yield f"after {fields['id']}"
            fields = {}


def heard(told: Iterable[Told | str], *kinds: str, vif_id: str | None = None) -> Told:
    """The next event of one of these kinds."""
    for one in told:
        if isinstance(one, Told) and one.event in kinds and vif_id in (None, one.data["vif_id"]):
            return one
    raise AssertionError(f"the stream ended without {kinds}")


def as_user(uid: int, work: Callable[[], Any], *, gid: int | None = None, groups: Sequence[int] = ()) -> Any:
    """What ``work`` returns in a process of that user, its group, and these supplementary groups."""

    def become() -> None:
        own = uid if gid is None else gid
        os.setgroups(list(groups))
        os.setresgid(own, own, own)
        os.setresuid(uid, uid, uid)

    return in_child(become, work)


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Poll until it holds; what it then was."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.005)
    return found
