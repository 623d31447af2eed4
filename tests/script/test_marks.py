"""A mark finds everything that a script started, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callers import Caller, a_request, as_user
from vifplug.errors import HostError, InvalidInput
from vifplug.script import marks
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark, kill_marked
from vifplug.script.runner import Call, Runner


def test_a_mark_survives_the_ledger() -> None:
    mark = Mark.new()
    assert Mark.from_text(mark.to_text()) == mark


@given(st.one_of(st.text(), st.from_regex(r"\d+:\d+:[0-9a-f]*")))
def test_other_text_is_no_mark(text: str) -> None:
    with pytest.raises(InvalidInput):
        Mark.from_text(text)


def test_two_marks_differ() -> None:
    assert len({Mark.new().groups for _ in range(1000)}) == 1000


def test_a_mark_that_nobody_carries_finds_nobody() -> None:
    assert kill_marked(Mark.new(), grace=5) == 0


def start(mark: Mark, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, extra_groups=list(mark.groups), stdout=subprocess.PIPE)


@pytest.mark.real_root
def test_only_what_carries_both_groups_is_ended() -> None:
    mark = Mark.new()
    with subprocess.Popen(["sleep", "3600"], extra_groups=[mark.groups[0]]) as other:
        with start(mark, "sleep", "3600") as carrier:
            assert kill_marked(mark) == 1
            assert carrier.wait() == -9
        assert other.poll() is None
        other.kill()


@pytest.mark.real_root
def test_within_the_grace_a_process_may_leave_in_order() -> None:
    mark = Mark.new()
    with start(mark, "sh", "-c", "trap 'exit 7' TERM; sleep 3600 & echo; wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert kill_marked(mark, grace=3) == 2
        assert process.wait() == 7


@pytest.mark.real_root
def test_a_zombie_is_not_a_process_that_lives() -> None:
    mark = Mark.new()
    with start(mark, "true") as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert kill_marked(mark) == 0


def test_the_call_in_an_environment_is_a_mark_too() -> None:
    mark = Mark.new()
    with subprocess.Popen(["sleep", "3600"], env={"VIFPLUG_CALL": mark.call}) as process:
        assert kill_marked(mark) == 1
        assert process.wait() == -9


@pytest.mark.parametrize("name", ["TRACEPARENT", "VIF_DETAILS_TRACE", "VIF_DETAILS_X"])
def test_what_a_caller_can_put_into_an_environment_is_no_mark(name: str) -> None:
    mark = Mark.new()
    for text in (mark.call, f"00-{mark.call}-00f067aa0ba902b7-01", f"VIFPLUG_CALL={mark.call}"):
        with subprocess.Popen(["sleep", "3600"], env={name: text}) as process:
            assert kill_marked(mark) == 0
            process.kill()


def test_a_mark_in_a_ledger_of_the_first_version_is_read() -> None:
    text = f"{0x7E000001}:{0x7E000002}:4bf92f3577b34da6a3ce929d0e0e4736"
    assert Mark.from_text(text).to_text() == text


@pytest.mark.real_root
def test_the_process_that_ends_others_spares_itself() -> None:
    mark = Mark.new()
    text = f"from vifplug.script.marks import *; print(kill_marked(Mark.from_text({mark.to_text()!r})))"
    done = subprocess.run(
        [sys.executable, "-c", text],
        extra_groups=list(mark.groups),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0\n"


@pytest.mark.real_root
def test_what_cannot_be_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in an uninterruptible wait cannot be had here: signals that do nothing stand in."""
    mark = Mark.new()
    monkeypatch.setattr(marks, "_PATIENCE", 0.05)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)
    with start(mark, "sleep", "3600") as process:
        with pytest.raises(HostError, match=rf"{process.pid} \(sleep\)"):
            kill_marked(mark)
        process.kill()


def test_when_the_host_process_was_killed_its_script_is_found_by_the_mark(
    call: Caller, tmp_path: Path
) -> None:
    mark = Mark.new()
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)
    call.place.write("s", f"echo > {fifo}; sleep 3600")
    config = call.config()
    pid = os.fork()
    if pid == 0:
        Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=3600, mark=mark)
        os._exit(0)
    fifo.read_text()  # the script runs
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert kill_marked(Mark.from_text(mark.to_text())) >= 1


@pytest.mark.real_root
def test_an_ordinary_user_in_a_namespace_of_his_own_ends_what_he_started(call: Caller) -> None:
    """There groups cannot be set, and the trace in the environment is the mark."""
    call.place.write("s", "setsid sh -c 'sleep 3600 & sleep 3600' & cat /proc/self/status >&2; sleep 3600")

    def hang() -> tuple[Call, int]:
        mark = Mark.new()
        config = call.config(owners=[0, 65534])
        ended = Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=0.5, mark=mark)
        return ended, kill_marked(mark)

    ended, left = as_user(hang, namespaces=True)
    assert ended.outcome == "timed_out"
    assert left == 0
    groups = next(line for line in ended.stderr.splitlines() if line.startswith("Groups:"))
    assert groups.split() == ["Groups:"]
