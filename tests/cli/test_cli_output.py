"""What people read on a terminal, and what programs read instead."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_shell import COMMAND, Shell, both_ways
from vifplug.cli._output import ago, duration, stamp, table, visible
from world import ID, TAP, binding


def _on_terminal(*args: str, environ: dict[str, str] | None = None) -> str:
    """What the command writes when all its streams are a terminal."""
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", **(environ or {})}
    process = subprocess.Popen([*COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, env=environ)
    os.close(slave)
    written = b""
    try:
        while part := os.read(master, 65536):
            written += part
    except OSError:  # the terminal's other end is closed: the command is done
        pass
    os.close(master)
    process.wait()
    return written.decode().replace("\r\n", "\n")


# --- colours and progress ------------------------------------------------------------------------


def test_states_are_coloured_on_a_terminal_alone(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    assert "\x1b[32mplugged\x1b[0m" in _on_terminal("list")
    assert "\x1b" not in _on_terminal("list", environ={"NO_COLOR": "1"})
    assert "\x1b" not in vifplug.real("list").out
    assert "\x1b[31mvifplug:\x1b[0m" in _on_terminal("show", "tapnothere")


@both_ways
def test_progress_is_shown_on_a_terminal_alone(vifplug: Shell) -> None:
    file = vifplug.file([binding(number) for number in range(1, 6)])
    seen = _on_terminal("plug", "--all", file)
    assert "5/5" in seen and "plugged 5 VIFs in " in seen
    assert "/5" not in vifplug.real("unplug", "--all").err
    assert "/5" not in _on_terminal("plug", "--json", "--all", file)


@both_ways
def test_a_plug_on_a_terminal_says_both_what_happened_and_the_xml(vifplug: Shell) -> None:
    seen = _on_terminal("plug", vifplug.file(binding()))
    assert f"{ID} ({TAP}) plugged in" in seen and "</interface>" in seen


# --- tables, times -------------------------------------------------------------------------------


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    table(("NAME", "N", "WHY"), [("a", 5, None), ("longer", 10, "x\ny")])
    assert capsys.readouterr().out == "NAME     N  WHY\na        5  -\nlonger  10  x y\n"
    table(("NAME",), [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("passed", "told"),
    [(-5, "now"), (0.9, "now"), (1, "1 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"),
     (86400, "1 d ago"), (86400 * 400, "400 d ago")],
)  # fmt: skip
def test_times_are_told_as_people_do(passed: float, told: str) -> None:
    assert ago(1_000_000, 1_000_000 + passed) == told


def test_durations_and_stamps() -> None:
    assert duration(0.0123) == "12.3 ms"
    assert duration(4.2) == "4.20 s"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.250", stamp(1_700_000_000.25))


@given(st.text())
def test_what_is_shown_never_steers_a_terminal(text: str) -> None:
    shown = visible(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    shown.encode()
    assert text.isascii() is False or not text.isprintable() or shown == text


# --- what a script printed -----------------------------------------------------------------------


@both_ways
def test_the_log_has_what_each_call_printed_and_how_it_ended(vifplug: Shell) -> None:
    vifplug.world.on(
        "plug", do="echo 'port added' >&2; printf '\\033]0;gotcha\\007\\n' >&2; printf '\\377\\n' >&2"
    )
    vifplug("plug", vifplug.file(binding()))
    vifplug.world.on("unplug", status=3)
    vifplug("unplug", ID)
    log = vifplug("show", ID, "--log").out
    assert re.search(
        r"^\S+ \S+  plug  recorder  done \(exit 0\) in [\d.]+ ms, generation 1$", log, re.MULTILINE
    )
    assert re.search(r"^\S+ \S+  unplug  recorder  failed \(exit 3\) in ", log, re.MULTILINE)
    assert (
        "    | port added\n" in log
        and "    | \\x1b]0;gotcha\\x07\n" in log
        and "    | the backend said no\n" in log
    )
    assert "\x1b" not in log
    calls = vifplug("show", ID, "--log", "--json").json
    assert [(call["verb"], call["outcome"], call["exit_status"]) for call in calls][::2] == [
        ("plug", "done", 0)
    ]
    assert "\x1b]0;gotcha\x07" in calls[0]["stderr"]  # JSON escapes it


@both_ways
def test_what_a_failing_script_says_does_not_steer_the_terminal(vifplug: Shell) -> None:
    vifplug.world.on("plug", do="printf 'bad \\033[2J news\\n' >&2; exit 1")
    ended = vifplug("plug", vifplug.file(binding()))
    assert "bad \\x1b[2J news" in ended.err and "\x1b" not in ended.err


def test_a_file_name_does_not_steer_the_terminal(vifplug: Shell) -> None:
    seen = _on_terminal("plug", "\x1b]0;gotcha\x07")
    assert "\\x1b]0;gotcha\\x07: cannot be read" in seen and "\x1b]" not in seen


@both_ways
def test_the_log_is_kept_after_unplug(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    vifplug("unplug", ID)
    assert [call["verb"] for call in vifplug("show", ID, "--log", "--json").json] == ["plug", "unplug"]
    assert vifplug("show", ID).status == 66


@both_ways
def test_a_vif_without_calls_says_so(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding(script=None)))
    assert vifplug("show", ID, "--log") == (0, "", f"no script call is on record for {ID}\n")


# --- one JSON document ---------------------------------------------------------------------------


@both_ways
def test_every_command_answers_one_json_document(vifplug: Shell) -> None:
    file = vifplug.file(binding())
    kinds = {
        ("plug", file): dict,
        ("plug", "--all", file): list,
        ("update", file): dict,
        ("list",): list,
        ("show", ID): dict,
        ("show", ID, "--log"): list,
        ("check", ID): list,
        ("xml", ID): dict,
        ("xml", file, "--qemu"): dict,
        ("probe", ID, "192.0.2.1", "--timeout", "0.05"): dict,
        ("scripts",): list,
        ("config",): dict,
        ("schema",): list,
        ("version",): dict,
        ("recover",): list,
        ("gc",): dict,
        ("unplug", ID): dict,
        ("unplug", "--all"): list,
    }
    for arguments, kind in kinds.items():
        for ended in (vifplug("--json", *arguments), vifplug(*arguments, "--json")):
            assert isinstance(ended.json, kind), arguments
            assert ended.status in (0, 1)


@both_ways
def test_an_error_is_a_json_document_too_and_one_line_for_people(vifplug: Shell) -> None:
    for arguments, code in (
        (["show", ID], "not_plugged"),
        (["plgu"], "usage"),
        (["plug", "/"], "invalid_input"),
    ):
        ended = vifplug(*arguments, "--json")
        assert ended.json["error"]["code"] == code
        assert ended.err == f"vifplug: {ended.json['error']['message']}\n"


def test_the_xml_of_a_binding_is_the_golden_one(vifplug: Shell) -> None:
    for name in ("ethernet", "bridge", "everything"):
        folder = Path(__file__).parents[1] / "golden" / name
        ended = vifplug("xml", str(folder / "binding.json"))
        assert ended.out.split() == (folder / "interface.xml").read_text().split()
    assert vifplug("xml", "--qemu", vifplug.file(binding())).out.startswith("-netdev tap,")
    assert vifplug("xml", "-", stdin=(folder / "binding.json").read_bytes()).out == ended.out


def test_the_configuration_is_shown_with_its_origins(vifplug: Shell) -> None:
    shown = {line.split()[0]: line.split()[-1] for line in vifplug("config").out.splitlines()[1:]}
    assert shown["state_dir"] == f"{vifplug.config}:1"
    assert shown["deadlines.grace"] == f"{vifplug.config}:7"
    assert shown["deadlines.plug"] == "default"
    told = vifplug("config", "--json").json
    assert told["file"] == str(vifplug.config)
    assert {"key": "workers", "value": 256, "origin": "default"} in told["keys"]
    vifplug.config.write_text(vifplug("config", "--example").out)
    assert {entry["origin"] for entry in vifplug("config", "--json").json["keys"]} == {"default"}
