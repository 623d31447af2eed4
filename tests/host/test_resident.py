"""Scripts that stay up: the same contract, without a start to pay for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vifplug.errors import BadDetails, BadReply, RetryLater, TimedOut, VerbNotSupported, VifplugError
from vifplug.host import Host, State
from vifplug.script import resident
from world import ID, World, binding, links

#: A resident backend that is a folder. What it does with a request is decided by the detail "do".
SCRIPT = """#!/usr/bin/python3 -IS
import json, os, pathlib, signal, sys, time
backend = pathlib.Path("@BACKEND@")

def answer(request):
    with (backend / "log").open("a") as log:
        log.write(f"{request['verb']} {os.getpid()}\\n")
    do = request["vif"]["details"].get("do") if request["verb"] == "plug" else None
    port = backend / ("port-" + request["vif"]["id"])
    if request["verb"] == "plug":
        port.touch()
    elif request["verb"] == "unplug":
        port.unlink(missing_ok=True)
    if do == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        time.sleep(1000)
    if do == "exit":
        sys.exit(0)
    if do == "crash":
        print("falling over", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if do == "babble":
        return "hello"
    if do == "flood":
        while True:
            sys.stdout.write("x" * 65536)
    if do == "noise":
        sys.stderr.write("noise\\n" * 100000)
    if do == "refuse":
        return {"exit": 65, "error": {"code": "bad_details", "message": "not like this"}}
    if do == "later":
        return {"exit": 75, "error": {"code": "retry_later", "message": "soon", "retry_after": 5}}
    if do == "twice":
        return {"exit": 0}, {"exit": 0}
    return {"exit": 0, "reply": {"vif": {"mtu": 1342}} if request["verb"] == "plug" else {}}

if sys.argv[1] == "info":
    print(json.dumps({"name": "stayer", "resident": True, "verbs": ["plug", "unplug"]}))
elif sys.argv[1] == "serve":
    (backend / "started").open("a").write(f"{os.getpid()}\\n")
    (backend / "environment").write_text(json.dumps(dict(os.environ)))
    (backend / "status").write_text(pathlib.Path("/proc/self/status").read_text())
    for line in sys.stdin:
        replies = answer(json.loads(line))
        for reply in replies if isinstance(replies, tuple) else (replies,):
            print(json.dumps(reply) if not isinstance(reply, str) else reply, flush=True)
else:
    sys.exit(64)
"""


def stays(number: int = 0, **details: object) -> dict[str, object]:
    return binding(number, script="stayer", vif_details=details)


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    world.script("stayer", SCRIPT.replace("@BACKEND@", str(world.backend)))
    with world.host() as host:
        yield host
    assert not running(world), "a resident process outlived its host"


def started(world: World) -> list[int]:
    path = world.backend / "started"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def running(world: World) -> set[int]:
    """The resident processes and all that they started."""
    text = str(world.scripts / "stayer").encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def test_one_process_answers_call_after_call(world: World, host: Host) -> None:
    for number in range(1, 6):
        assert host.plug(stays(number)).vif.mtu == 1342
    for number in range(1, 6):
        host.unplug(str(stays(number)["id"]))
    assert len(started(world)) == 1
    assert world.asked() == ["plug"] * 5 + ["unplug"] * 5
    assert (world.ports(), links()) == (set(), {})


def test_it_is_confined_and_has_nothing_of_any_vif_in_its_environment(world: World, host: Host) -> None:
    host.plug(stays())
    import json

    names = set(json.loads((world.backend / "environment").read_text()))
    assert names == {"PATH", "LANG", "VIFPLUG_PROTOCOL", "VIFPLUG_CALL"}
    status = dict(
        line.split(":\t", 1) for line in (world.backend / "status").read_text().splitlines() if ":\t" in line
    )
    assert status["CapBnd"] == status["CapEff"] == "0000000000003000"
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize(
    ("do", "error", "words"),
    [
        ("hang", TimedOut, "not done after 0.5 seconds"),
        ("exit", BadReply, "ended, or closed its output"),
        ("crash", TimedOut, "SIGSEGV.*falling over"),
        ("babble", BadReply, "sent 'hello' in place of one line"),
        ("flood", BadReply, "more than"),
        ("refuse", BadDetails, "not like this"),
        ("later", RetryLater, "soon"),
    ],
)
def test_what_goes_wrong_is_that_calls_error_and_the_next_call_is_fine(
    world: World, host: Host, do: str, error: type[VifplugError], words: str
) -> None:
    with pytest.raises(error, match=words):
        host.plug(stays(do=do), seconds=0.5 if do == "hang" else 3)
    assert (world.ports(), links(), host.list()) == (set(), {}, [])
    assert host.plug(stays()).vif.mtu == 1342
    assert len(running(world)) == 1


def test_an_answer_too_many_is_not_taken_for_the_next_calls(world: World, host: Host) -> None:
    host.plug(stays(1, do="twice"))
    assert host.plug(stays(2)).vif.mtu == 1342
    assert len(started(world)) == 2


def test_endless_noise_is_bounded_and_kept_with_its_call(world: World, host: Host) -> None:
    host.plug(stays(do="noise"))
    assert 0 < len(host.calls(ID)[0].stderr) < world.config.log.max_bytes + 100
    host.unplug(ID)
    assert host.calls(ID)[1].stderr == ""


def test_a_changed_file_is_another_process(world: World, host: Host) -> None:
    host.plug(stays(1))
    world.script("stayer", (world.scripts / "stayer").read_text() + "# new\n")
    host.plug(stays(2))
    assert len(started(world)) == 2


def test_a_file_that_is_no_longer_trusted_is_not_asked_again(world: World, host: Host) -> None:
    host.plug(stays(1))
    (world.scripts / "stayer").chmod(0o777)
    with pytest.raises(VifplugError, match="may be written by everybody"):
        host.plug(stays(2))
    assert world.asked() == ["plug"]
    (world.scripts / "stayer").chmod(0o755)


@pytest.mark.slow
def test_a_stuck_call_delays_only_its_own_vif(world: World, host: Host) -> None:
    def hang() -> None:
        with pytest.raises(TimedOut):
            host.plug(stays(do="hang"), seconds=3)

    stuck = threading.Thread(target=hang)
    stuck.start()
    while len(started(world)) < 1:
        pass
    for number in range(1, 6):
        host.plug(stays(number))
    assert host.show(ID).state is State.PLUGGING
    stuck.join(20)
    assert host.list(State.PLUGGING) == []


def test_what_has_answered_often_enough_or_idles_is_replaced(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "_MOST_CALLS", 3)
    for number in range(1, 8):
        host.plug(stays(number))
    assert len(started(world)) == 3
    monkeypatch.setattr(resident, "_LONGEST_IDLE", 0.05)
    host.plug(stays(9))
    pid = started(world)[-1]
    pidfd = os.pidfd_open(pid)
    import select

    assert select.select([pidfd], [], [], 10)[0], "an idle process is ended"
    os.close(pidfd)


def test_who_tidies_up_minds_no_ledger_that_is_gone(world: World, host: Host) -> None:
    host.plug(stays(1))
    pid = started(world)[-1]
    Path(world.config.state_dir, "ledger.db").unlink()
    host.close()
    assert not Path(f"/proc/{pid}").exists()


def test_what_dies_idle_is_reaped_though_nobody_needs_it(world: World, host: Host) -> None:
    world.script("other", SCRIPT.replace("@BACKEND@", str(world.backend)))
    host.plug(stays(1))
    pid = started(world)[-1]
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    host.plug(binding(2, script="other"))  # who tidies is told of every change
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, "a dead process is not reaped"


def test_what_swells_is_replaced(world: World, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_MOST_MEMORY", 1)
    for number in range(1, 66):
        host.plug(stays(number, made_by="libvirt"))
    assert len(started(world)) == 2, "looked at with the 64th call"


def test_many_at_once_share_a_few_processes(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "_PATIENCE", 60.0)  # however slow this machine is just now
    answers = host.plug_all([stays(number) for number in range(1, 65)])
    assert [answer for answer in answers if isinstance(answer, VifplugError)] == []
    assert len(started(world)) < 32
    assert [a for a in host.unplug_all() if isinstance(a, VifplugError)] == []


def test_when_the_host_process_is_killed_in_a_call_its_resident_is_ended_before_unplug(world: World) -> None:
    world.script("stayer", SCRIPT.replace("@BACKEND@", str(world.backend)))
    code = f"""
        import msgspec
        from vifplug.config import Config
        from vifplug.host import Host
        config = msgspec.json.decode({msgspec_json(world)!r}, type=Config)
        Host(config).plug({stays(do="hang")!r})
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) as process:
        while not (world.backend / "log").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert running(world)
    with world.host() as host:
        assert [recovered.now for recovered in host.recover()] == ["unplugged"]
        assert host.list() == []
        assert (world.ports(), links()) == (set(), {})
        pids = [int(line.split()[1]) for line in (world.backend / "log").read_text().splitlines()]
        assert len(set(pids)) == 2, "unplug was asked of another process than the one that hung"
    assert not running(world)


def msgspec_json(world: World) -> bytes:
    import msgspec

    return msgspec.json.encode(world.config)


def test_a_resident_script_that_cannot_start_says_why(world: World, host: Host) -> None:
    text = (world.scripts / "stayer").read_text()
    world.script("stayer", text.replace('elif sys.argv[1] == "serve":', 'elif sys.argv[1] == "served":'))
    with pytest.raises(VerbNotSupported, match="stayer"):
        host.plug(stays())
    assert (world.ports(), links()) == (set(), {})
