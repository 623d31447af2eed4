"""The frame: help, what is imported when, bugs, shell completion, the public names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import vifplug as package
from cli_shell import COMMAND, Shell
from vifplug.cli import _frame, show
from vifplug.cli._frame import VERBS
from vifplug.script.contract import PROTOCOL
from world import ID, binding

ALL = {
    *("plug", "unplug", "check", "update", "list", "show", "xml", "recover", "gc", "probe", "scripts"),
    *(
        "schema",
        "version",
        "config",
        "completion",
        "conform",
        "new-mechanism",
        "doctor",
        "events",
        "top",
        "repair",
        "activate",
        "migrate",
    ),
    *("attach", "detach", "domain"),
    *("graph", "trace"),
}


def _loaded(*args: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    program = (
        "import sys; from vifplug.cli._frame import run; status = run(sys.argv[1:]); "
        "print(status, *sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    status, *modules = ended.stderr.split()
    assert status == "0"
    return set(modules)


# --- help ----------------------------------------------------------------------------------------


def test_every_verb_is_there_and_has_help_with_one_example(vifplug: Shell) -> None:
    assert set(VERBS) == ALL
    overview = vifplug("--help")
    assert overview.status == 0
    assert vifplug() == overview
    for verb in VERBS:
        [line] = [line for line in overview.out.splitlines() if line.startswith(f"  {verb} ")]
        assert line.endswith("."), "a summary is one whole, short sentence"
        shown = vifplug(verb, "--help")
        assert (shown.status, shown.err) == (0, "")
        assert shown.out.count("Example:") == 1 and f"  vifplug {verb}" in shown.out
        assert vifplug(verb, "-h") == shown


def test_an_example_is_a_command_line_that_can_be_given() -> None:
    for verb in VERBS:
        command = _frame.root.get_command(None, verb)  # type: ignore[arg-type]
        assert isinstance(command, _frame.Verb) and command.epilog is not None
        words = shlex.split(command.epilog.split("\n  ")[1].split("#")[0].split("|")[0].split(">")[0])
        context = command.make_context(verb, words[2:])
        assert context.args == []


def test_a_near_miss_is_named(vifplug: Shell) -> None:
    assert "did you mean unplug?" in vifplug("unplugg").err
    assert "there are: plug, unplug" in vifplug("frobnicate").err


def test_the_versions_are_told(vifplug: Shell) -> None:
    assert vifplug("version").out == f"vifplug {package.__version__} (plug-script contract {PROTOCOL})\n"
    assert vifplug("version", "--json").json == {"vifplug": package.__version__, "contract": PROTOCOL}
    assert vifplug("--version").out == f"vifplug {package.__version__}\n"


def test_schemas_are_listed_and_printed(vifplug: Shell) -> None:
    names = vifplug("schema", "--json").json
    assert names and vifplug("schema").out.split() == names
    for name in names:
        assert vifplug("schema", name).json["$schema"].startswith("https://json-schema.org/")
    ended = vifplug("schema", names[0] + "x")
    assert ended.status == 65 and f"did you mean {names[0]}?" in ended.err


# --- what is imported ----------------------------------------------------------------------------


def test_the_version_costs_no_more_than_click(vifplug: Shell) -> None:
    heavy = {"sqlite3", "ctypes", "subprocess", "msgspec", "json", "tomllib", "vifplug.host", "vifplug.model"}
    for arguments in (["version", "--local"], ["--version"], ["plug", "--help"]):
        assert not heavy & _loaded(*arguments)


def test_a_look_at_a_binding_opens_no_ledger(vifplug: Shell) -> None:
    assert not {"sqlite3", "vifplug.host"} & _loaded("xml", vifplug.file(binding()))
    assert not {"sqlite3", "vifplug.host", "vifplug.model"} & _loaded("config")


def test_a_command_imports_its_own_verb_alone(vifplug: Shell) -> None:
    loaded = {
        name.removeprefix("vifplug.cli.") for name in _loaded("version") if name.startswith("vifplug.cli.")
    }
    assert loaded & set(VERBS) == {"version"}


def test_public_names_are_there_and_come_late() -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(dir(package)) == set(package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Hots'"):
        package.Hots  # type: ignore[attr-defined]  # noqa: B018
    program = "import sys, vifplug; vifplug.__version__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"msgspec", "sqlite3", "vifplug.host", "vifplug.errors"} & set(loaded)


# --- bugs ----------------------------------------------------------------------------------------


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(show, "pairs", broken)
    monkeypatch.setattr(show, "emit", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_bug_is_one_line_that_says_so_and_where_the_traceback_is(
    vifplug: Shell, bug: None, tmp_path: Path
) -> None:
    vifplug("plug", vifplug.file(binding()))
    ended = vifplug("show", ID)
    assert ended.status == 70 and len(ended.err.splitlines()) == 1
    assert "this is a bug in vifplug" in ended.err and "what nobody thought of" in ended.err
    [file] = tmp_path.glob("vifplug-bug-*")
    assert str(file) in ended.err and "KeyError" in file.read_text() and "['show'" in file.read_text()


def test_a_bug_is_shown_whole_when_asked(
    vifplug: Shell, bug: None, capsys: pytest.CaptureFixture[str]
) -> None:
    vifplug("plug", vifplug.file(binding()))
    assert _frame.run(["--debug", "show", ID]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bug_without_room_for_its_traceback_is_still_one_line(
    vifplug: Shell, bug: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    vifplug("plug", vifplug.file(binding()))
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    ended = vifplug("show", ID, "--json")
    assert ended.status == 70 and ended.json["error"]["code"] == "bug"
    assert ended.err.endswith("(--debug shows the traceback)\n")


# --- completion ----------------------------------------------------------------------------------


def _completed(words: str) -> list[str]:
    """What bash is told to offer for the last word."""
    count = len(words.split(" ")) - 1
    environ = {
        **os.environ,
        "_VIFPLUG_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(count),
    }
    ended = subprocess.run(COMMAND, env=environ, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return [line.split(",", 1)[1] for line in ended.stdout.splitlines() if line]


@pytest.mark.slow
def test_commands_options_and_ids_are_completed(vifplug: Shell) -> None:
    vifplug("plug", "--all", vifplug.file([binding(), binding(1)]))
    assert _completed("vifplug un") == ["unplug"]
    assert _completed("vifplug list --st") == ["--state"]
    assert _completed("vifplug list --state un") == ["unplugging"]
    for verb in ("unplug", "show", "check", "repair", "xml", "probe"):
        assert _completed(f"vifplug {verb} 4c") == [ID]
    assert set(_completed("vifplug unplug ")) == {ID, binding(1)["id"]}


def test_completion_without_a_host_offers_nothing_and_says_nothing(
    vifplug: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIFPLUG_CONFIG", "/nowhere.toml")
    assert _completed("vifplug unplug 4c") == []


def test_completion_makes_no_ledger(vifplug: Shell) -> None:
    assert _completed("vifplug unplug 4c") == []
    assert not Path(vifplug.world.config.state_dir).exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script(vifplug: Shell, shell: str) -> None:
    ended = vifplug("completion", shell)
    assert ended.status == 0 and "_VIFPLUG_COMPLETE" in ended.out


def test_bash_takes_its_script(vifplug: Shell) -> None:
    file = vifplug.file(vifplug("completion", "bash").out, "completion.sh")
    ended = subprocess.run(
        ["bash", "--norc", "-c", f"source {file} && complete -p vifplug"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-F _vifplug_completion vifplug" in ended.stdout
