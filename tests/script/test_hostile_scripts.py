"""Scripts that hang, hide, flood or crash: each is ended, and all that it started."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from msgspec import structs

from callers import Caller, a_request
from vifplug.config import Log
from vifplug.errors import (
    BadReply,
    TimedOut,
)
from vifplug.script import marks, process
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark, kill_marked
from vifplug.script.replies import LONGEST_REPLY
from vifplug.script.runner import Call, Runner

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

#: long after every test's patience, so that a script that nobody ends is seen
FOREVER = "sleep 3600"
#: leaves the session, is adopted by init, clears its environment: all that a daemon can do
DAEMON = 'setsid sh -c \'env -i sh -c "sleep 3600" & env -i sh -c "exec sleep 3600" &\''


def alive(mark: Mark) -> int:
    """How many processes carry the mark; they are ended by looking."""
    return kill_marked(mark)


def past_deadline(call: Caller, text: str) -> Call:
    """The call of a script that would go on for ever: it ends at the deadline, and all of it ends."""
    mark = Mark.new()
    ended = call(text, seconds=0.2, grace=0.1, mark=mark)
    assert isinstance(ended.error, TimedOut), ended
    assert ended.error.context["seconds"] == 0.2
    assert ended.seconds < 3
    assert alive(mark) == 0
    return ended


def test_a_script_that_hangs_is_ended_at_the_deadline(call: Caller) -> None:
    ended = past_deadline(call, f"echo waiting for the switch >&2; {FOREVER}")
    assert ended.error is not None
    assert "0.2 seconds" in ended.error.message
    assert "waiting for the switch" in ended.error.message


def test_a_script_may_use_its_grace_to_leave_in_order(call: Caller) -> None:
    ended = call("trap 'echo cleaned >&2; exit 0' TERM; sleep 3600 & wait", seconds=0.2, grace=10.0)
    assert isinstance(ended.error, TimedOut)
    assert ended.stderr == "cleaned\n"
    assert ended.seconds < 5


def test_a_stopped_script_has_its_grace_too(call: Caller) -> None:
    ended = call("trap 'echo cleaned >&2; exit 0' TERM; kill -STOP $$", seconds=0.2, grace=10.0)
    assert ended.stderr == "cleaned\n"
    assert ended.seconds < 5


def test_a_script_that_ignores_sigterm_is_killed(call: Caller) -> None:
    ended = past_deadline(call, "trap '' TERM; while :; do sleep 1; done")
    assert ended.signal == signal.SIGKILL


def test_a_script_that_stops_itself_is_ended(call: Caller) -> None:
    past_deadline(call, "kill -STOP $$")


def test_a_daemon_that_left_session_parents_and_environment_is_ended(call: Caller) -> None:
    past_deadline(call, f"{DAEMON}\n{FOREVER}")


@pytest.mark.real_root
def test_a_daemon_is_only_reached_because_of_the_mark(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: without the search for the mark, the daemons live."""
    mark = Mark.new()
    monkeypatch.setattr(process, "kill_marked", lambda *_: 0)
    call(f"{DAEMON}\n{FOREVER}", seconds=0.5, grace=0.1, mark=mark)
    assert alive(mark) >= 1


def test_a_script_that_forks_without_end_is_ended(call: Caller) -> None:
    past_deadline(call, "f() { sleep 3600 & [ $1 -gt 40 ] || { f $(($1 + 1)) & wait; }; }\nf 0; wait")


def test_a_daemon_whose_first_thread_is_gone_is_ended(call: Caller) -> None:
    """Its state is that of a zombie, but its other threads live on."""
    text = """#!/usr/bin/python3 -IS
import ctypes, os, threading, time
if os.fork():
    time.sleep(3600)
os.setsid()
threading.Thread(target=time.sleep, args=(3600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    mark = Mark.new()
    ended = call(text, seconds=1.0, grace=0.1, mark=mark)
    assert ended.outcome == "timed_out"
    left = [
        status
        for status in Path("/proc").glob("[0-9]*/status")
        if str(mark.groups[0]) in _text(status) and "Threads:\t1\n" not in _text(status)
    ]
    assert left == []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_one_that_hangs_delays_no_other(call: Caller) -> None:
    call.place.write("hangs", FOREVER)
    call.place.write("works", ":")
    config = call.config()
    runner, find = Runner(config), Catalogue(config).find
    hung: list[Call] = []
    slow = threading.Thread(
        target=lambda: hung.append(runner.call(find("hangs"), a_request(), seconds=1.5, mark=Mark.new()))
    )
    slow.start()
    ended = runner.call(find("works"), a_request(), seconds=1.5, mark=Mark.new())
    assert ended.error is None
    assert slow.is_alive()
    slow.join()
    assert hung[0].outcome == "timed_out"


def test_a_reply_may_be_a_mebibyte_and_no_more(call: Caller) -> None:
    fits = "printf '{\"vif\": {}}'; head -c %d /dev/zero | tr '\\0' ' '"
    assert call(fits % (LONGEST_REPLY - 11)).reply == {"vif": {}}
    ended = call(fits % (LONGEST_REPLY - 10))
    assert isinstance(ended.error, BadReply)
    assert str(LONGEST_REPLY) in ended.error.message


def test_a_script_that_writes_for_ever_on_stdout_is_ended_at_once(call: Caller) -> None:
    mark = Mark.new()
    ended = call("trap '' TERM PIPE; yes", mark=mark)
    assert isinstance(ended.error, BadReply)
    assert ended.seconds < 10
    assert alive(mark) == 0


def test_a_script_that_writes_for_ever_on_stderr_is_read_until_its_deadline(call: Caller) -> None:
    ended = past_deadline(call, "echo begin >&2; exec yes >&2")
    assert ended.stderr.startswith("begin\ny\n")
    assert "bytes left out" in ended.stderr
    assert len(ended.stderr) < Log().max_bytes + 100


def test_of_a_long_log_the_first_and_the_last_half_are_kept(call: Caller) -> None:
    config = structs.replace(call.config(), log=Log(max_bytes=1024))
    call.place.write("s", "i=0; while [ $i -lt 2000 ]; do echo line$i; i=$((i+1)); done >&2")
    stderr = Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=20, mark=Mark.new()).stderr
    total = sum(len(f"line{i}\n") for i in range(2000))
    assert stderr.startswith("line0\nline1\n")
    assert stderr.endswith("line1998\nline1999\n")
    assert f"[… {total - 1024} bytes left out …]" in stderr


def test_undecodable_log_bytes_are_replaced(call: Caller) -> None:
    assert call("printf 'a\\377b' >&2").stderr == "a\N{REPLACEMENT CHARACTER}b"


def test_a_script_that_reads_its_own_pipe_delays_nobody(call: Caller) -> None:
    past_deadline(call, f"cat /proc/self/fd/1 >/dev/null & echo x; echo x; {FOREVER}")


def test_a_daemon_that_holds_the_pipes_delays_nobody(call: Caller) -> None:
    mark = Mark.new()
    ended = call("setsid sleep 3600 & echo '{}'; echo log >&2", mark=mark)
    assert ended.reply == {}
    assert ended.stderr == "log\n"
    assert ended.seconds < 10
    assert alive(mark) == 1, "a successful call's daemon lives on"


def test_a_daemon_that_writes_for_ever_delays_nobody(call: Caller) -> None:
    mark = Mark.new()
    ended = call("setsid yes >&2 & echo '{}'", mark=mark)
    assert ended.reply == {}
    assert ended.seconds < 10
    alive(mark)


def test_what_a_failed_script_left_in_the_background_is_ended(call: Caller) -> None:
    mark = Mark.new()
    call("sleep 3600 & exit 3", mark=mark)
    assert _gone(mark)
    call("setsid sleep 3600 & exit 3", mark=mark)
    assert _gone(mark)
    ready = call.place.path / "ready"
    os.mkfifo(ready)
    call(
        f"sh -c 'exec >/dev/null 2>&1; echo > {ready}; exec sleep 3600' & read x < {ready}; exit 3", mark=mark
    )
    assert _gone(mark)


def _gone(mark: Mark) -> bool:
    """Whether nobody carries the mark any more: SIGKILL was sent, but dying takes its time."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not list(marks._marked(mark)):
            return True
    return alive(mark) == 0


def test_what_a_crashed_script_detached_is_ended(call: Caller) -> None:
    mark = Mark.new()
    call(f"{DAEMON} </dev/null >/dev/null 2>&1; kill -9 $$", mark=mark)
    assert alive(mark) == 0
