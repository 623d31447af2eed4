"""plugscript.run and ask: commands, their trace, the dry run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import plugscript
from plugscript import ask, device_exists, run
from sdk_author import BY_HAND, Author, request, traced

Log = pytest.CaptureFixture[str]


def test_a_command_gives_what_it_printed_and_its_errors_go_to_the_log(capfd: Log) -> None:
    done = run("sh", "-c", "echo out; echo err >&2")

    assert (done.status, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert done
    assert capfd.readouterr().err.startswith(
        'err\n#vifplug {"run": ["sh", "-c", "echo out; echo err >&2"], "seconds": '
    )


def test_each_command_is_traced_in_order(capfd: Log) -> None:
    run("true")
    run("sh", "-c", "printf unfinished >&2; exit 3", check=False)
    ask("echo", 5, Path("/run"))
    with pytest.raises(plugscript.Failed):
        run("sh", "-c", "kill -9 $$")

    log = capfd.readouterr().err
    assert traced(log) == [
        {"run": ["true"], "exit": 0},
        {"run": ["sh", "-c", "printf unfinished >&2; exit 3"], "exit": 3},
        {"run": ["echo", "5", "/run"], "ask": True, "exit": 0},
        {"run": ["sh", "-c", "kill -9 $$"], "exit": -9},
    ]
    assert "unfinished\n#vifplug" in log  # each on a line of its own


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("exit 2", "sh -c 'exit 2' ended with exit status 2"),
        ("echo a >&2; echo b >&2; exit 2", "ended with exit status 2: a | b"),
        ("echo only out; exit 2", "ended with exit status 2: only out"),
        ("kill -9 $$", "ended with signal 9"),
        ("exit 75", "ended with exit status 75"),
    ],
)
def test_a_command_that_fails_fails_the_verb_with_its_last_words(command: str, message: str) -> None:
    with pytest.raises(plugscript.Failed) as failed:
        run("sh", "-c", command)
    assert failed.value.message.endswith(message)
    assert failed.value.status == 1


def test_failing_may_be_fine() -> None:
    gone = ("sh", "-c", "echo 'Cannot find device \"x\"' >&2; exit 1")

    assert run(*gone, check=False).status == 1
    assert run(*gone, missing_ok=["Cannot find device"]).status == 1
    assert run(*gone, exists_ok=["Cannot find device"]).status == 1
    with pytest.raises(plugscript.Failed):
        run(*gone, missing_ok=["No such file"], exists_ok=["File exists"])


def test_a_command_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert run("sh", "-c", "echo $LC_ALL").stdout == "C.UTF-8\n"


@pytest.mark.parametrize("call", [run, ask])
def test_a_command_that_is_not_there_means_that_the_backend_is_not(
    call: Callable[..., plugscript.Done],
) -> None:
    with pytest.raises(plugscript.BackendUnavailable) as unavailable:
        call("no-such-command", "x", check=False)
    assert (
        unavailable.value.message == "the command no-such-command is not there: is it installed on this host?"
    )


@pytest.mark.parametrize("command", ["/dev/null", "/"])
def test_what_cannot_be_executed_is_said(command: str) -> None:
    with pytest.raises(plugscript.Failed, match=f"{command} could not be started"):
        run(command)


def test_a_word_with_a_nul_is_said() -> None:
    with pytest.raises(plugscript.Failed, match="could not be started: embedded null byte"):
        run("echo", "a\0b")


def test_a_command_reads_its_input_and_else_nothing() -> None:
    big = "é" * 500_000

    assert run("cat", input=big).stdout == big
    assert run("cat").stdout == ""
    assert run("sh", "-c", "cat </dev/stdin", input="reopened").stdout == "reopened"


def test_a_command_may_print_much_on_both_sides_at_once() -> None:
    done = run("sh", "-c", "head -c 300000 /dev/zero >&2 & head -c 300000 /dev/zero; wait")

    assert (len(done.stdout), len(done.stderr)) == (300_000, 300_000)


def test_bytes_that_are_no_text_do_no_harm(capfd: Log) -> None:
    assert run("printf", r"\377").stdout == "\ufffd"
    run("true", os.fsdecode(b"\xff"), "\n\x1b[31m")

    assert traced(capfd.readouterr().err)[1] == {"run": ["true", "\udcff", "\n\x1b[31m"], "exit": 0}


def test_a_daemon_that_keeps_the_pipes_is_not_waited_for() -> None:
    done = run("sh", "-c", "sleep 1000 & echo $!")

    os.kill(int(done.stdout), 0)  # it lives on
    os.kill(int(done.stdout), 9)


def test_nothing_stays_open(capfd: Log) -> None:
    run("true")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 (the numbers)
    for _ in range(3):
        run("cat", input="x")
        with pytest.raises(plugscript.BackendUnavailable):
            run("no-such-command")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_a_commands_signals_are_as_they_were_before_python() -> None:
    # Python ignores SIGPIPE, and what ignores it would hang where it should end
    ignored = run("sh", "-c", "grep SigIgn /proc/self/status").stdout.split()[1]

    assert int(ignored, 16) & (1 << 12) == 0


def test_a_dry_run_says_and_asks_but_does_nothing(author: Author, tmp_path: Path) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n"
        f'  run("touch", "{tmp_path}/done", input="x"); log(request.dry_run, ask("echo", "asked").stdout.strip())\n'
        '  request.wait_for(lambda: False, "never")\n'
        '  run("no-such-command")'
    )
    in_request = script("plug", request(dry_run=True))
    in_environment = script("plug", request(), VIFPLUG_DRY_RUN="1")

    for called in (in_request, in_environment):
        assert called.status == 0
        assert called.log == ["True asked"]
        assert called.trace == [
            {"run": ["touch", f"{tmp_path}/done"], "dry": True},
            {"run": ["echo", "asked"], "ask": True, "exit": 0},
            {"run": ["no-such-command"], "dry": True},
        ]
    assert not (tmp_path / "done").exists()


def test_at_the_deadline_the_log_says_which_command_took_so_long(author: Author) -> None:
    script = author.python(
        '@script.verb\ndef plug(request):\n  try: run("sh", "-c", "echo begun >&2; exec sleep 1000")\n'
        '  finally: log("undone")'
    )
    process = subprocess.Popen(
        [script.path, "plug"], stderr=subprocess.PIPE, env=BY_HAND, stdin=subprocess.DEVNULL, process_group=0
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"begun\n"  # as it comes, not when it is over
    os.killpg(process.pid, 15)
    rest = process.stderr.read().decode()
    process.stderr.close()

    assert process.wait(30) == -15
    assert traced(rest) == [{"run": ["sh", "-c", "echo begun >&2; exec sleep 1000"], "exit": None}]
    assert rest.endswith("undone\n")


def test_a_device_is_looked_up_in_this_namespace(netns: None) -> None:
    assert device_exists("lo")
    assert not device_exists("tap0")
    subprocess.run(["ip", "link", "add", "tap0", "type", "bridge"], check=True)
    assert device_exists("tap0")
    assert not device_exists("x" * 40)


def test_waiting_ends_when_the_condition_says_yes_or_shortly_before_the_deadline() -> None:
    answers = iter([False, 0, "yes"])
    asked = plugscript.Request({"deadline": 30})
    asked.wait_for(lambda: next(answers), "a yes", every=0.001)
    assert list(answers) == []

    late = plugscript.Request({"deadline": 0.05})
    with pytest.raises(plugscript.BackendUnavailable, match=r"waited 0\.\d s for a yes"):
        late.wait_for(lambda: False, "a yes", every=0.001)
    assert late.remaining() > 0
