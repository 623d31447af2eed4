"""vifplugd as a process: it starts, is stopped, is killed, and its clients are; no VIF is ever half there."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crashing import agree, child, ends, marked_processes, nothing_runs, two_parts
from daemons import Answer, ask, dial, heard, listening, until
from served import Served
from vifplug.config import Config
from vifplug.daemon.main import Vifplugd
from vifplug.daemon.notify import Notifier
from vifplug.daemon.socket_file import listen
from vifplug.errors import ConfigError
from world import ID, World, binding, links

NUMBERS = range(1, 9)


class Manager:
    """What a service manager hears."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(30)

    def hear(self, what: str) -> str:
        while what not in (said := self._socket.recv(4096).decode()):
            pass
        return said

    def silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(world: World) -> Iterator[Manager]:
    found = Manager(world.folder)
    yield found
    found.close()


def held(world: World, verb: str = "plug") -> None:
    world.on(verb, do=f"touch {world.backend}/begun; while [ ! -e {world.backend}/go ]; do sleep 0.01; done")


def begun(world: World) -> None:
    until((world.backend / "begun").exists)


def asked(served: Served, *request: Any) -> tuple[threading.Thread, list[Answer]]:
    """Ask in a thread of its own."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(ask(served.socket, *request)))
    thread.start()
    return thread, answers


def run(served: Served, *more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A second daemon, which is to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "vifplug.daemon", "--config", str(served.config), *more],
        env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


# --- it starts -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_daemon_is_refused_and_harms_nobody(world: World) -> None:
    with Served.of(world) as served:
        second = run(served)
        assert second.returncode != 0
        assert "another vifplugd works on" in second.stderr and "Traceback" not in second.stderr
        elsewhere = Path(f"{world.folder}/elsewhere.toml")
        elsewhere.write_text(
            served.config.read_text().replace("[daemon]", f'[daemon]\nsocket = "{world.folder}/s"')
        )
        assert "another vifplugd works on" in run(Served(elsewhere, "")).stderr
        assert ask(served.socket, "GET", "/v1/health").status == 200


@pytest.mark.slow
def test_the_socket_of_a_dead_daemon_is_replaced(world: World) -> None:
    served = Served.of(world)
    served.start()
    served.kill()
    assert Path(served.socket).is_socket()
    with served:
        assert ask(served.socket, "GET", "/v1/health").status == 200
    assert not Path(served.socket).exists()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["file", "directory", "nowhere"])
def test_a_place_where_no_socket_can_be_is_said(world: World, what: str) -> None:
    place = world.folder / "place"
    if what == "file":
        place.write_text("precious")
    elif what == "directory":
        place.mkdir()
    else:
        place = Path("/proc/nowhere/vifplugd.sock")
    ended = run(Served.of(world, socket=str(place)))
    assert ended.returncode == 78
    assert str(place) in ended.stderr and "Traceback" not in ended.stderr
    assert what != "file" or place.read_text() == "precious"


def test_a_daemon_that_is_stuck_is_a_daemon_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "vifplugd.sock")
    with contextlib.ExitStack() as stack:
        stuck = stack.enter_context(socket.socket(socket.AF_UNIX))
        stuck.bind(path)
        stuck.listen(0)
        stack.enter_context(dial(path))  # and now its queue is full
        with pytest.raises(ConfigError, match="another one does"):
            listen(path)


@pytest.mark.slow
def test_a_ledger_beyond_reading_is_rebuilt_and_that_is_told(world: World) -> None:
    served = Served.of(world)
    with served:
        assert ask(served.socket, "POST", "/v1/plug", binding()).status == 200
    there = links()
    for part in Path(world.config.state_dir).glob("ledger.db*"):
        part.write_bytes(b"nonsense" * 1000)
    with served, listening(served.socket, 0) as told:
        rebuilt = heard(told, "ledger-rebuilt").data["data"]["rebuilt"]
        assert rebuilt["damage"] and rebuilt["set_aside"]
        assert [vif["id"] for vif in rebuilt["vifs"]] == [ID]
        assert links() == there


@pytest.mark.slow
def test_a_wrong_configuration_is_said(world: World) -> None:
    served = Served.of(world, "\n[daemon.nonsense]\n")
    ended = run(served)
    assert ended.returncode == 78 and "nonsense" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_socket_that_is_handed_over_is_served_and_left_in_place(world: World) -> None:
    served = Served.of(world)
    path = str(world.folder / "handed.sock")
    starter = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.executable, [sys.executable, '-m', 'vifplug.daemon', '--config', sys.argv[2]])"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        waiting = threading.Thread(target=lambda: answers.append(ask(path, "POST", "/v1/plug", binding())))
        answers: list[Answer] = []
        waiting.start()  # before there is a daemon at all
        daemon = subprocess.Popen(
            [sys.executable, "-c", starter, str(listener.fileno()), str(served.config)],
            pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            waiting.join()
            assert answers[0].status == 200
            assert not Path(served.socket).exists()
        finally:
            daemon.terminate()
            assert daemon.wait(30) == 0
        assert Path(path).is_socket()
        dial(path).close()  # the manager listens on


# --- the service manager -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_manager_hears_that_it_is_ready_well_and_stopping(world: World, manager: Manager) -> None:
    served = Served.of(world)
    environ = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "vifplug.daemon", "--config", str(served.config)],
        env=environ, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert served.socket in manager.hear("READY=1")
        assert ask(served.socket, "GET", "/v1/health").status == 200
        for _ in range(3):
            manager.hear("WATCHDOG=1")
        daemon.terminate()
        assert "EXTEND_TIMEOUT_USEC" in manager.hear("STOPPING=1")
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_the_manager_hears_nothing_once_a_part_has_died(manager: Manager) -> None:
    alive = threading.Event()
    alive.set()
    daemon = Vifplugd(Config(), Notifier(manager.address, watchdog_seconds=0.02))

    def watch() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as main does
        daemon._watch(alive.is_set)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        manager.hear("WATCHDOG=1")
        alive.clear()
        until(lambda: manager.silent(0.2))
    finally:
        assert watching.ident is not None
        signal.pthread_kill(watching.ident, signal.SIGTERM)
        watching.join()


# --- it is stopped -------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_at_work_finishes_and_nothing_more_begins(world: World) -> None:
    held(world)
    with Served.of(world) as served, listening(served.socket) as told:
        plugging, answers = asked(served, "POST", "/v1/plug", binding())
        begun(world)
        waiting, waited = asked(served, "GET", f"/v1/vifs/{binding(2)['id']}/wait?state=plugged")
        assert served.process is not None
        served.process.terminate()
        heard(told, "stopping")
        assert ask(served.socket, "GET", "/v1/health").json["status"] == "stopping"
        refused = ask(served.socket, "POST", "/v1/plug", binding(1))
        assert (refused.status, refused.error["code"]) == (503, "stopping")
        assert int(refused.headers["retry-after"]) >= 1
        many = ask(served.socket, "POST", "/v1/plug-all", [binding(1), binding(3)])
        assert {line["error"]["code"] for line in many.lines} == {"stopping"}
        waiting.join()
        assert waited[0].error["code"] == "stopping"
        (world.backend / "go").touch()
        plugging.join()
        assert answers[0].status == 200
        assert heard(told, "plugged").data["vif_id"] == ID
        assert served.process.wait(30) == 0
    assert world.ports() == {ID}


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_a_script_that_hangs_does_not_keep_it_and_the_next_start_undoes_it(world: World, many: bool) -> None:
    world.on("plug", do=f"touch {world.backend}/begun; sleep 600")
    served = Served.of(world, drain=0.3)
    with contextlib.suppress(AttributeError):
        served.start()
    route, content = ("/v1/plug-all", [binding(1), binding(2)]) if many else ("/v1/plug", binding(1))
    with child(lambda: ask(served.socket, "POST", route, content)):
        begun(world)
        assert served.process is not None
        served.process.terminate()
        assert served.process.wait(20) == 0
    world.on("plug")
    with served:
        until(lambda: ask(served.socket, "GET", "/v1/vifs").json["vifs"] == [])
        until(lambda: links() == {})
        assert marked_processes() == {}
        assert ask(served.socket, "POST", "/v1/plug", binding(1)).status == 200


# --- clients are killed --------------------------------------------------------------------------


@pytest.fixture
def two(world: World) -> Iterator[World]:
    yield two_parts(world)
    nothing_runs()


def settled(served: Served) -> None:
    """Nothing is at work, and what a crash left is finished."""
    until(lambda: ask(served.socket, "GET", "/v1/status").json["queue"]["at_work"] == 0)
    until(
        lambda: all(
            one["now"] != "busy" for one in ask(served.socket, "POST", "/v1/recover").json["recovered"]
        )
    )
    states = {record["state"] for record in ask(served.socket, "GET", "/v1/vifs").json["vifs"]}
    assert states <= {"plugged", "debt"}


@pytest.mark.slow
def test_a_client_killed_at_any_moment_leaves_whole_vifs(two: World) -> None:
    random = Random(4)
    killed = 0
    with Served.of(two) as served:
        for _ in range(40):
            number = random.choice(NUMBERS)
            request: tuple[Any, ...] = random.choice(
                [
                    ("POST", "/v1/plug", binding(number)),
                    ("POST", "/v1/plug", binding(number), {"Accept": "application/x-ndjson"}),
                    ("POST", "/v1/plug-all", [binding(each) for each in NUMBERS]),
                    ("POST", f"/v1/vifs/{binding(number)['id']}/unplug"),
                    ("POST", "/v1/unplug-all", {"all": True}),
                ]
            )
            status = ends(partial(ask, served.socket, *request), kill_after=random.uniform(0.002, 0.06))
            killed += status == -signal.SIGKILL
        settled(served)
        until(lambda: ask(served.socket, "GET", "/v1/status").json["connections"] == 1)
        with two.host() as host:
            agree(two, host)
        assert ask(served.socket, "POST", "/v1/plug", binding(1)).status == 200
    assert killed > 5


# --- it is killed --------------------------------------------------------------------------------


def a_client(path: str, seed: int) -> None:
    """Plugs and unplugs for ever, whatever the answers, and also when there is no daemon for a while."""
    random = Random(seed)
    while True:
        vif = binding(random.choice(NUMBERS), vif_details={"tag": random.randint(1, 2)})
        target, content = random.choice(
            [
                ("/v1/plug", vif),
                ("/v1/plug?refresh=true", vif),
                ("/v1/plug-all", [vif]),
                (f"/v1/vifs/{vif['id']}/unplug", None),
            ]
        )
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(path, "POST", target, content)
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_under_load_again_and_again_it_loses_nothing(two: World) -> None:
    random = Random(7)
    served = Served.of(two)
    served.start()
    with contextlib.ExitStack() as clients:
        for seed in range(4):
            clients.enter_context(child(partial(a_client, served.socket, seed)))
        for _ in range(5):
            time.sleep(random.uniform(0.1, 0.5))  # a moment to die at
            served.kill()
            served.start()
    with served_already(served):
        settled(served)
        with two.host() as host:
            agree(two, host)


def _more(found: list[str], than: int) -> bool:
    return len(found) > than


@contextlib.contextmanager
def served_already(served: Served) -> Iterator[Served]:
    try:
        yield served
    finally:
        served.stop()


@pytest.mark.slow
def test_restarted_under_load_it_loses_no_plug_that_it_said_was_done(world: World) -> None:
    done: list[str] = []
    numbers = itertools.count(1)
    over = threading.Event()
    served = Served.of(world)
    served.start()

    def plug() -> None:
        while not over.is_set():
            vif = binding(next(numbers))
            try:
                answer = ask(served.socket, "POST", "/v1/plug", vif)
            except OSError:  # nobody is there for a moment
                time.sleep(0.005)
                continue
            assert answer.status in (200, 503), answer
            if answer.status == 200:
                done.append(vif["id"])

    threads = [threading.Thread(target=plug) for _ in range(4)]
    for thread in threads:
        thread.start()
    with served_already(served):
        for _ in range(2):
            before = len(done)
            until(partial(_more, done, before + 5))
            served.stop()
            served.start()
        over.set()
        for thread in threads:
            thread.join()
        assert set(done) <= world.ports()
        on_record = {record["id"] for record in ask(served.socket, "GET", "/v1/vifs").json["vifs"]}
        assert on_record == world.ports()
        assert len(links()) == len(on_record)
