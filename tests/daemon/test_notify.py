"""What passes between the daemon and a service manager: real sockets, and a real child of a manager's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.daemon.notify import Notifier, listening_sockets

#: as a manager starts a daemon: descriptors from 3 on, and the number of the very process
STARTER = """
import json, os, sys
how = json.loads(sys.argv[1])
for index, fd in enumerate(how["fds"]):
    os.dup2(fd, 100 + index)
for index in range(len(how["fds"])):
    os.dup2(100 + index, 3 + index)
os.environ.update(how["environ"], LISTEN_PID=str(os.getpid() + how.get("other", 0)))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""


class Manager:
    """A service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(10)

    def heard(self) -> str:
        return self._socket.recv(65536).decode()

    def nothing_more(self) -> bool:
        self._socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            self._socket.recv(1)
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "a path" else f"@vifplug-tests-{os.getpid()}"
    with closing(Manager(address)) as manager:
        yield manager


def test_a_manager_hears_how_the_daemon_is(manager: Manager) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})

    notifier.ready("3 VIFs plugged")
    assert manager.heard() == "READY=1\nSTATUS=3 VIFs plugged"
    notifier.status("4 VIFs\nplugged")
    assert manager.heard() == "STATUS=4 VIFs plugged"
    notifier.reloading()
    first, second = manager.heard().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.ready()
    assert manager.heard() == "READY=1"
    notifier.stopping()
    assert manager.heard() == "STOPPING=1"


def test_a_long_drain_is_announced(manager: Manager) -> None:
    """The unit's TimeoutStopSec= knows nothing of what the operator set as daemon.drain."""
    Notifier.from_environment({"NOTIFY_SOCKET": manager.address}).stopping("waiting for 2 scripts", 600.5)

    assert manager.heard() == "STOPPING=1\nEXTEND_TIMEOUT_USEC=600500000\nSTATUS=waiting for 2 scripts"


def test_the_watchdog_is_fed_twice_in_its_time(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    notifier = Notifier.from_environment(environ)

    assert notifier.watchdog_seconds == 15
    notifier.watchdog()
    assert manager.heard() == "WATCHDOG=1"
    assert environ == {}, "a plug script would find the daemon's"


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
    ids=["unwatched", "another process", "no time", "no number"],
)
def test_a_daemon_that_is_not_watched_feeds_no_watchdog(manager: Manager, watchdog: dict[str, str]) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address, **watchdog})

    notifier.watchdog()

    assert notifier.watchdog_seconds is None
    assert manager.nothing_more()


@pytest.mark.parametrize(
    "address", [None, "", "relative", "/nobody/listens/here", "/" + "x" * 200, "vsock:2:1"]
)
def test_without_a_manager_nothing_is_said_and_nothing_fails(address: str | None) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address} if address is not None else {})

    notifier.ready("up")
    notifier.stopping(seconds=1)
    notifier.watchdog()


def test_a_manager_that_went_away_is_no_harm(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    manager.close()

    notifier.status("still here")


def test_threads_speak_at_once(manager: Manager) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    speakers = [threading.Thread(target=notifier.status, args=(f"thread {number}",)) for number in range(20)]
    for speaker in speakers:
        speaker.start()
    heard = {manager.heard() for _ in speakers}
    for speaker in speakers:
        speaker.join()

    assert heard == {f"STATUS=thread {number}" for number in range(20)}


@given(st.text())
def test_a_status_is_one_line_whatever_it_holds(text: str) -> None:
    with closing(Manager(f"@vifplug-tests-line-{os.getpid()}")) as manager:
        Notifier.from_environment({"NOTIFY_SOCKET": manager.address}).ready(text)

        state, *status = manager.heard().split("\n")

    assert state == "READY=1"
    assert len(status) == bool(text.split())
    assert all(line.startswith("STATUS=") for line in status)


# --- sockets handed over -------------------------------------------------------------------


def started_with(
    fds: list[int], program: str, *, names: str = "vifplugd.socket", other: int = 0, count: int | None = None
) -> subprocess.CompletedProcess[str]:
    how = {
        "fds": fds,
        "environ": {"LISTEN_FDS": str(len(fds) if count is None else count), "LISTEN_FDNAMES": names},
        "other": other,
    }
    return subprocess.run(
        [sys.executable, "-c", STARTER, json.dumps(how), program],
        pass_fds=fds,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "listener"))
        listener.listen()
        yield listener


def test_a_daemon_answers_on_the_socket_it_was_given(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())  # before the daemon is there: it waits in the queue
        done = started_with(
            [listener.fileno()],
            "import os, sys\n"
            "from vifplug.daemon.notify import listening_sockets\n"
            "(listener,) = listening_sockets()\n"
            "assert not any(name.startswith('LISTEN') for name in os.environ), os.environ\n"
            "assert not os.get_inheritable(listener.fileno())\n"
            "peer, _ = listener.accept()\n"
            "peer.sendall(b'hello'); peer.close(); listener.close()",
        )
        assert done.returncode == 0, done.stderr
        assert client.recv(100) == b"hello"


def test_every_socket_comes_in_order(listener: socket.socket, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as second:
        second.bind(str(tmp_path / "second"))
        second.listen()
        done = started_with(
            [listener.fileno(), second.fileno()],
            "from vifplug.daemon.notify import listening_sockets\n"
            "for s in listening_sockets(): print(s.getsockname()); s.close()",
        )

        assert done.stdout.split() == [listener.getsockname(), second.getsockname()]


def test_what_was_opened_for_another_process_is_not_taken(listener: socket.socket) -> None:
    done = started_with(
        [listener.fileno()],
        "import os\nfrom vifplug.daemon.notify import listening_sockets\n"
        "print(listening_sockets(), 'LISTEN_FDS' in os.environ)",
        other=1,
    )

    assert done.stdout.split() == ["[]", "False"]


def _tcp() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.listen()
    return listener


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _deaf() -> socket.socket:
    return socket.socket(socket.AF_UNIX)


@pytest.mark.parametrize("make", [_tcp, _datagrams, _deaf], ids=["TCP", "datagrams", "not listening"])
def test_a_socket_of_another_kind_is_refused_by_name(make: Callable[[], socket.socket]) -> None:
    """TCP above all: there, nobody is who they are."""
    with make() as wrong:
        done = started_with(
            [wrong.fileno()],
            "from vifplug.daemon.notify import listening_sockets\nlistening_sockets()",
            names="api.socket",
        )

    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "vifplug.errors.ConfigError: api.socket, handed over by LISTEN_FDS, is no listening"
    )


def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    with Path("/dev/null").open() as null:
        done = started_with(
            [null.fileno()],
            "from vifplug.daemon.notify import listening_sockets\nlistening_sockets()",
            names="",
        )

    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "vifplug.errors.ConfigError: descriptor 3, handed over by LISTEN_FDS, is no socket: "
    )


def test_none_are_found_where_none_were_given() -> None:
    assert listening_sockets({}) == []
    assert listening_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}) == []
    assert listening_sockets({"LISTEN_PID": "x", "LISTEN_FDS": "-1"}) == []


def test_a_descriptor_that_is_missing_is_refused() -> None:
    done = started_with(
        [], "from vifplug.daemon.notify import listening_sockets\nlistening_sockets()", names="", count=1
    )

    assert "descriptor 3, handed over by LISTEN_FDS, is no socket: Bad file descriptor" in done.stderr
