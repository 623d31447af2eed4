"""One process per call, and one clear account of it."""

from __future__ import annotations

import errno
import os
import signal
import time
from _thread import allocate_lock, start_new_thread
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from callers import Caller, a_request, in_child
from vifplug.config import ScriptSettings
from vifplug.errors import (
    BackendUnavailable,
    BadDetails,
    BadReply,
    ConfigError,
    HostError,
    RetryLater,
    ScriptFailed,
    TimedOut,
    VerbNotSupported,
)
from vifplug.script import confine
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import Verb
from vifplug.script.marks import Mark, kill_marked
from vifplug.script.runner import Call, Runner


def test_the_verb_is_the_only_argument_and_the_request_is_on_standard_input(call: Caller) -> None:
    ended = call('printf %s "$#:$1:" >&2; cat >&2')
    words, _, request = ended.stderr.partition(":")
    assert words == "1"
    verb, _, json = request.partition(":")
    assert verb == "plug"
    asked = structs.replace(a_request(), deadline=20.0, traceparent=ended.traceparent)
    assert json.encode() == asked.to_json()


def test_a_call_tells_everything_about_itself(call: Caller) -> None:
    mark = Mark.new()
    before = time.time()
    ended = call('echo log >&2; echo "{\\"vif\\": {\\"mtu\\": 1400}}"', mark=mark)
    assert (ended.verb, ended.script, ended.attempt) == ("plug", "s", 1)
    assert ended.path == str(call.place.path / "s")
    assert ended.digest == Catalogue(call.config()).find("s").digest
    assert before <= ended.started <= time.time()
    assert 0 < ended.seconds < 20
    assert (ended.outcome, ended.exit_status, ended.signal, ended.error) == ("done", 0, None, None)
    assert ended.reply == {"vif": {"mtu": 1400}}
    assert ended.stderr == "log\n"
    assert ended.traceparent.startswith(f"00-{mark.call}-")


def test_a_script_that_says_nothing_replies_nothing(call: Caller) -> None:
    assert call(":").reply == {}
    assert call("echo; echo").reply == {}
    assert call(":", "check").reply == {"ok": True}


def test_no_descriptor_and_no_process_is_left(call: Caller) -> None:
    call(":")
    before = _ours()
    for text in (":", "exit 3", "kill -9 $$", "sleep 3600 & exit 1", "yes"):
        call(text, seconds=0.3)
    assert _ours() == before


def _ours() -> tuple[set[str], set[str]]:
    """The descriptors and the children (with all threads') of this process."""
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    return descriptors, {path.read_text() for path in Path("/proc/self/task").glob("*/children")}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(1, ScriptFailed), (2, ScriptFailed), (126, ScriptFailed), (255, ScriptFailed)],
        *[(64, VerbNotSupported), (65, BadDetails), (69, BackendUnavailable), (75, RetryLater)],
    ],
)
def test_exit_statuses_mean_what_the_contract_says(call: Caller, status: int, kind: type[Exception]) -> None:
    ended = call(f"echo first >&2; echo 'no such bridge' >&2; exit {status}")
    assert type(ended.error) is kind
    assert ended.error is not None
    assert ended.outcome == ended.error.code
    assert ended.exit_status == status
    assert ended.reply is None
    assert ended.error.message.startswith("plug script s: plug ended with exit status")
    assert kind is VerbNotSupported or "first | no such bridge" in ended.error.message


def test_an_error_in_json_says_it_better_than_the_exit_status(call: Caller) -> None:
    ended = call("""echo '{"error": {"code": "retry_later", "message": "busy", "retry_after": 2}}'; exit 1""")
    assert isinstance(ended.error, RetryLater)
    assert ended.error.context["retry_after"] == 2.0
    assert ended.error.message == "plug script s: plug ended with exit status 1: busy"


def test_a_signal_is_named(call: Caller) -> None:
    ended = call("echo words >&2; kill -SEGV $$")
    assert isinstance(ended.error, TimedOut)
    assert (ended.signal, ended.exit_status) == (signal.SIGSEGV, None)
    assert "signal 11 (SIGSEGV)" in ended.error.message
    assert "words" in ended.error.message


def test_printing_something_else_than_json_is_a_bad_reply_that_shows_it(call: Caller) -> None:
    ended = call("echo plugging your port")
    assert isinstance(ended.error, BadReply)
    assert '"plugging your port"' in ended.error.message
    assert "standard error" in ended.error.message
    assert ended.exit_status == 0


def test_a_caller_who_ignores_sigchld_is_told_that_the_status_is_lost(call: Caller) -> None:
    def strange_caller() -> Call:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return call("exit 0")

    ended = in_child(strange_caller)
    assert isinstance(ended.error, HostError)
    assert "SIGCHLD" in ended.error.message


def test_a_caller_without_standard_descriptors_can_call(call: Caller) -> None:
    def strange_caller() -> Call:
        for fd in (0, 1, 2):
            os.close(fd)
        return call("cat >&2; echo '{}'")

    ended = in_child(strange_caller)
    assert ended.reply == {}
    assert ended.stderr.startswith('{"protocol":1')


def test_pipes_never_take_the_place_of_a_callers_missing_standard_error(call: Caller) -> None:
    """Else what the caller logs there would land in the reply."""

    def strange_caller() -> Call:
        for fd in (0, 1, 2):
            os.close(fd)
        return call("ls /proc/$PPID/fd >&2", settings=ScriptSettings(capabilities=["CAP_SYS_PTRACE"]))

    ended = in_child(strange_caller)
    assert ended.error is None, ended.stderr
    assert not {"0", "1", "2"} & set(ended.stderr.split())


def test_an_interrupted_call_leaves_nothing_running(call: Caller, tmp_path: Path) -> None:
    mark = Mark.new()
    fifo = tmp_path / "ready"
    os.mkfifo(fifo)

    def interrupted() -> str:
        import threading

        def interrupt() -> None:
            fifo.read_text()  # the script is running
            os.kill(os.getpid(), signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            call(f"trap '' INT TERM; echo > {fifo}; sleep 3600", mark=mark)
        except KeyboardInterrupt:
            return "interrupted"
        return "not interrupted"

    assert in_child(interrupted) == "interrupted"
    assert kill_marked(mark) == 0


def test_an_interrupt_just_as_the_script_was_started_is_no_deadlock(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        """A lock at whose release by another thread the interrupt comes."""

        def __init__(self) -> None:
            self._lock = allocate_lock()
            self._acquired = 0

        def acquire(self) -> bool:
            self._lock.acquire()
            self._acquired += 1
            if self._acquired == 2:
                raise KeyboardInterrupt
            return True

        def release(self) -> None:
            self._lock.release()

    monkeypatch.setattr(
        confine, "_thread", SimpleNamespace(allocate_lock=Interrupted, start_new_thread=start_new_thread)
    )
    mark = Mark.new()
    with pytest.raises(KeyboardInterrupt):
        call("sleep 3600", mark=mark)
    monkeypatch.undo()
    assert kill_marked(mark) == 0


def test_a_script_that_cannot_be_watched_does_not_run(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def too_many_open(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", too_many_open)
    ended = call("sleep 1000")
    assert isinstance(ended.error, HostError)
    assert ended.ran
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_the_operators_environment_reaches_the_script(call: Caller) -> None:
    ended = call(
        "echo $OVS_DB $PATH >&2", settings=ScriptSettings(environment={"OVS_DB": "tcp:1", "PATH": "/bin"})
    )
    assert ended.stderr == "tcp:1 /bin\n"


@pytest.mark.parametrize("name", ["", "A=B", "VIF_ID", "VIFPLUG_X", "TRACEPARENT", "A B", "A\x00"])
def test_an_environment_name_that_cannot_be_is_named(call: Caller, name: str) -> None:
    with pytest.raises(ConfigError, match=r"script\.s\.environment"):
        Runner(call.config(ScriptSettings(environment={name: "x"})))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stdout=st.one_of(
        st.binary(max_size=300),
        st.sampled_from(
            [b"{}", b"null", b"[]", b"[" * 100_000, b'{"vif": ' * 5000, b'{"vif": {"a": 1e999}}', b"\xff"]
        ),
        st.sampled_from(
            [b'{"error": {"code": 5, "message": [], "retry_after": "x"}}', b'{"error": {"retry_after": -1}}']
        ),
        st.sampled_from(
            [b'{"error": {"retry_after": 1e999}}', b'{"error": 1}', b'{"ok": false}', b'{"ok": true}']
        ),
    ),
    stderr=st.binary(max_size=100),
    status=st.integers(0, 255),
    verb=st.sampled_from(list(Verb)[:2] + list(Verb)[3:]),
)
def test_any_output_with_any_status_is_a_call_with_an_outcome(
    call: Caller, stdout: bytes, stderr: bytes, status: int, verb: Verb
) -> None:
    (call.place.path / "out").write_bytes(stdout)
    (call.place.path / "err").write_bytes(stderr)
    ended = call(f"cat {call.place.path}/err >&2; cat {call.place.path}/out; exit {status}", verb)
    assert ended.exit_status == status
    if ended.error is None:
        assert (ended.outcome, status) == ("done", 0)
        assert isinstance(ended.reply, dict)
    else:
        assert ended.outcome == ended.error.code
        assert ended.reply is None
        assert ended.error.message.isprintable()
        assert status or isinstance(ended.error, BadReply)
