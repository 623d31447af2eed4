"""How much the daemon takes on: what is over a bound is told when to come back, and leaves room for others."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from daemons import Answer, as_user, ask, dial, heard, listening, say, statuses, until
from vifplug.config import Daemon
from vifplug.daemon.admission import Admission
from vifplug.errors import Stopping, TooBusy
from watched import Watched
from world import RECORDER, binding

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

USER = 64001


@pytest.fixture
def daemon_settings() -> Daemon:
    return Daemon(requests=12, requests_per_script=4, connections=64, pluggers=[str(USER)])


@pytest.fixture
def path(daemon: Watched) -> Iterator[str]:
    daemon.world.script("other", RECORDER.replace("@BACKEND@", str(daemon.world.backend)))
    yield daemon.config.socket_path
    (daemon.world.backend / "go").touch()


class Asking:
    """Requests that are at work at the same time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers: list[Answer] = []
        self._threads: list[threading.Thread] = []

    def ask(self, target: str, content: Any) -> None:
        thread = threading.Thread(target=lambda: self.answers.append(ask(self.path, "POST", target, content)))
        thread.start()
        self._threads.append(thread)

    def join(self) -> list[Answer]:
        for thread in self._threads:
            thread.join()
        return self.answers


def stuck(daemon: Watched) -> None:
    """The script called recorder hangs at plug until it is let go."""
    backend = daemon.world.backend
    waiting = f'[ "$1" = plug ] && while [ ! -e {backend}/go ]; do sleep 0.01; done\ncase $1 in'
    daemon.world.script(
        "recorder", RECORDER.replace("case $1 in", waiting).replace("@BACKEND@", str(backend))
    )


def at_work(daemon: Watched) -> int:
    return daemon.service.admission.queue().at_work


def test_a_script_with_all_its_room_taken_leaves_room_for_others(daemon: Watched, path: str) -> None:
    stuck(daemon)
    hung = Asking(path)
    for number in range(1, 5):
        hung.ask("/v1/plug", binding(number))
    until(lambda: at_work(daemon) == 4)
    with listening(path) as told:
        refused = ask(path, "POST", "/v1/plug", binding(5))
        assert heard(told, "overloaded").data["data"]["bound"] == "script"
    assert (refused.status, refused.error["code"], refused.error["script"]) == (429, "too_busy", "recorder")
    assert refused.headers["retry-after"] == "1" and "requests_per_script" in refused.error["message"]
    assert ask(path, "POST", "/v1/plug", binding(6, script="other")).status == 200
    assert ask(path, "POST", "/v1/plug", binding(7, script=None)).status == 200
    (daemon.world.backend / "go").touch()
    assert [answer.status for answer in hung.join()] == [200] * 4
    assert ask(path, "POST", "/v1/plug", binding(5)).status == 200


def test_many_of_a_stuck_script_leave_room_too(daemon: Watched, path: str) -> None:
    stuck(daemon)
    hung = Asking(path)
    for first in (1, 20, 40):
        hung.ask("/v1/plug-all", [binding(number) for number in range(first, first + 10)])
    until(lambda: at_work(daemon) == 2)  # half of what one script may have
    for number in (100, 101):
        hung.ask("/v1/plug", binding(number))  # and who asks for one alone finds the other half
    until(lambda: at_work(daemon) == 4)
    assert ask(path, "POST", "/v1/plug", binding(60, script="other")).status == 200
    many = ask(path, "POST", "/v1/plug-all", [binding(number, script="other") for number in range(61, 71)])
    assert ["answer" in line for line in many.lines] == [True] * 10
    (daemon.world.backend / "go").touch()
    done = hung.join()
    assert [answer.status for answer in done] == [200] * 5
    assert sum(b'"answer"' in line for answer in done for line in answer.body.splitlines()) == 30


def test_only_so_many_requests_for_many_are_at_work(daemon: Watched, path: str) -> None:
    stuck(daemon)
    hung = Asking(path)
    for number in range(16):
        hung.ask("/v1/plug-all", [binding(number + 1)])
    until(lambda: daemon.service.admission._batches == 16)
    assert b"too_busy" in ask(path, "POST", "/v1/plug-all", [binding(99)]).body
    (daemon.world.backend / "go").touch()
    hung.join()


def test_what_is_refused_is_not_begun_nor_called_a_failure(daemon: Watched, path: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(daemon.service.admission.work())
        before = daemon.events.number
        assert ask(path, "POST", "/v1/plug", binding()).status == 429
        kinds = [event.kind for event in daemon.events._ring if event.number > before]
        assert kinds == ["overloaded"]
        assert daemon.world.asked() == [] and daemon.service.host.list() == []
        assert ask(path, "GET", "/v1/status").json["queue"]["rejected"] == {"requests": 1}
        assert ask(path, "GET", "/v1/vifs").status == 200  # who only looks is answered


def test_those_who_stay_are_bounded_and_admins_are_not_shut_out_by_one_user(
    daemon: Watched, path: str
) -> None:
    def fill() -> list[int]:
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(dial(path)) for _ in range(9)]
            found = []
            for stream in streams:
                stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: v\r\n\r\n")
                found += statuses(stream.recv(65536))
            target = b"GET /v1/vifs/x/wait?state=plugged HTTP/1.1\r\nHost: v\r\n\r\n"
            return [*found, *statuses(say(path, target, end=True))]

    assert as_user(USER, fill) == [200] * 8 + [429] * 2
    with listening(path):
        pass


def test_a_waiting_caller_who_left_is_let_go(daemon: Watched, path: str) -> None:
    with dial(path) as sock:
        sock.sendall(b"GET /v1/vifs/x/wait?state=plugged&seconds=3600 HTTP/1.1\r\nHost: v\r\n\r\n")
        until(lambda: daemon.service.admission._lasting.total() == 1)
    until(lambda: daemon.service.connections() == 0)
    assert daemon.service.admission._lasting.total() == 0


def test_one_user_takes_half_of_the_connections_and_admins_have_some_of_their_own(
    daemon: Watched, path: str
) -> None:
    def fill() -> int:
        with contextlib.ExitStack() as stack:
            for _ in range(32):
                stack.enter_context(dial(path)).sendall(b"G")
            told = say(path, b"", end=False)
            assert f"of user {USER}".encode() in told
            return statuses(told)[0]

    assert as_user(USER, fill) == 429
    until(lambda: daemon.service.connections() == 0)
    assert as_user(USER, lambda: ask(path, "GET", "/v1/vifs").status) == 200


# --- the counts ----------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_user_who_keeps_asking_too_fast_still_gets_its_rate() -> None:
    clock = Clock()
    admission = Admission(Daemon(rate=2), clock=clock)
    served = 0
    for _ in range(1000):
        clock.now += 0.01
        with contextlib.suppress(TooBusy):
            admission.pace(1)
            served += 1
    assert 38 <= served <= 41  # ten seconds' worth at once, and two in each of ten seconds
    admission.pace(2)  # and nobody else pays for it


def test_rates_of_more_users_than_are_remembered_take_no_more_room() -> None:
    admission = Admission(Daemon(rate=1))
    for uid in range(5000):
        admission.pace(uid)
    assert len(admission._buckets) <= 1024


def test_who_waits_for_room_is_told_when_none_will_come() -> None:
    admission = Admission(Daemon(requests=2, requests_per_script=2))
    told: list[type] = []

    def wait() -> None:
        try:
            with admission.work("s", patient=True):
                told.append(type(None))
        except Stopping as error:
            told.append(type(error))

    with admission.work("s"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        admission.stop()
        waiting.join(10)
        assert told == [Stopping]
        assert not admission.drained(0.01)
    assert admission.drained(10)
    with pytest.raises(Stopping), admission.work():
        pass
