"""Every wrong input: one clear line, the right exit status, and nothing changed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli_shell import COMMAND, Shell
from world import ID, binding, links


def _untouched(vifplug: Shell) -> None:
    """No ledger, no device, no call of a script."""
    assert not Path(vifplug.world.config.state_dir).exists()
    assert links() == {}
    assert vifplug.world.asked() == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty; a port binding is a JSON object"),
        (b" \n\t\n", "empty; a port binding is a JSON object"),
        (b'{"id":', "is not JSON: line 1, column 7"),
        (b"\x00\x01\xff\xfe" * 50, "is not JSON"),
        (bytes(range(256)), "is not JSON"),
        (b"[1, 2]", "it must be an object"),
        (b'"text"', "it must be an object"),
        (b"null", "it must be an object"),
        (b"[" * 100_000, "too deep"),
        (b'{"id": NaN}', "NaN"),
        (b" " * 10_000_000 + b"{}", "larger than 1048576 bytes"),
        (binding(id="not-a-uuid"), 'id: "not-a-uuid" is not allowed'),
        (binding(id=None), "id: null is not allowed"),
        (binding(address="01:00:5e:00:00:01"), 'address: "01:00:5e:00:00:01" is not allowed'),
        (binding(address="fa:16"), 'address: "fa:16" is not allowed'),
        (binding(devname="a" * 16), "devname: "),
        (binding(devname="../etc"), "devname: "),
        (binding(devname="tap\n"), "devname: "),
        (binding(mtu=0), "mtu: 0 is not allowed"),
        (binding(mtu=10**9), "mtu: 1000000000 is not allowed"),
        (binding(vif_type="iovisr"), "vif_type: "),
        (binding(vif_type="dvs"), "dvs"),
        (binding(unknown=1), "unknown"),
        (binding(alias="a\0b"), "alias"),
        (binding(instance={"name": "\x1b]0;x\x07"}), "instance.name"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else None,
)
def test_a_binding_that_is_wrong_is_refused(vifplug: Shell, content: Any, told: str) -> None:
    file = vifplug.file(content)
    for arguments in (["plug"], ["update"], ["xml"]):
        ended = vifplug(*arguments, file)
        assert ended.status == 65
        assert ended.out == ""
        assert ended.err.startswith(f"vifplug: {file}: ") and told in ended.err
        assert len(ended.err.splitlines()) == 1
    _untouched(vifplug)


def test_one_wrong_binding_among_many_is_named_and_none_is_plugged(vifplug: Shell) -> None:
    file = vifplug.file([binding(1), binding(2, mtu=0), binding(3)])
    ended = vifplug("plug", "--all", file)
    assert ended.status == 65 and "[1].mtu: 0 is not allowed" in ended.err
    ended = vifplug("plug", "--all", vifplug.file([binding(1), binding(1)]))
    assert ended.status == 65 and "[1].id" in ended.err
    _untouched(vifplug)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/nowhere/x.json", "No such file or directory"),
        ("/tmp", "Is a directory"),
        ("", "a file has a name"),
        ("a\0b", "NUL"),
        ("/dev/zero", "larger than"),
    ],
)
def test_a_place_without_a_binding_is_named(vifplug: Shell, place: str, told: str) -> None:
    ended = vifplug("plug", place)
    assert ended.status == 65 and told in ended.err and len(ended.err.splitlines()) == 1
    _untouched(vifplug)


@pytest.mark.real_root
def test_a_file_that_may_not_be_read_is_named(vifplug: Shell) -> None:
    """As an ordinary user, since root may read everything. The program is loaded while it is still root."""
    file = vifplug.file(binding())
    Path(file).chmod(0)
    program = (
        "import os, sys, grp, pwd, tempfile, traceback, tomllib\n"
        "import vifplug.host.host, vifplug.cli.plug, vifplug.cli.list\n"
        "from vifplug.cli._frame import run\n"
        "assert run(['xml', sys.argv[1]]) == 0; assert run(['config']) == 0\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(run(sys.argv[2:]))"
    )
    vifplug.world.folder.chmod(0o755)

    def as_nobody(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, file, *args], capture_output=True, text=True, check=False
        )

    ended = as_nobody("plug", file)
    assert (ended.returncode, ended.stderr) == (65, f"vifplug: {file}: cannot be read: Permission denied\n")
    ended = as_nobody("list")
    assert ended.returncode == 77
    assert ended.stderr.startswith(
        f"vifplug: the state directory {vifplug.world.config.state_dir} cannot be used"
    )
    assert "or set state_dir to a directory that you can write" in ended.stderr
    _untouched(vifplug)


def test_a_file_name_that_is_no_text_is_told_in_json_too(vifplug: Shell) -> None:
    ended = vifplug.real("plug", "--json", os.fsdecode(b"\xff.json"))
    assert ended.status == 65
    assert ended.err == "vifplug: \\xdcff.json: cannot be read: No such file or directory\n"
    assert os.fsencode(ended.json["error"]["file"]) == b"\xff.json"


def test_a_terminal_is_not_read_without_being_asked(vifplug: Shell) -> None:
    master, slave = pty.openpty()
    ended = vifplug.real("plug", stdin=slave)
    os.close(master)
    os.close(slave)
    assert ended.status == 64
    assert (
        ended.err
        == "vifplug: name a FILE with a port binding, or - to type it in (see vifplug plug --help)\n"
    )


def test_closed_standard_streams_are_no_bug(vifplug: Shell) -> None:
    closed = ["sh", "-c", '"$@" <&- >&-', "sh", *COMMAND]
    ended = subprocess.run([*closed, "plug"], stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (64, 1)
    ended = subprocess.run(
        [*closed, "plug", vifplug.file(binding())], stderr=subprocess.PIPE, text=True, check=False
    )
    assert ended.returncode == 0


# --- which VIF -----------------------------------------------------------------------------------


def test_a_vif_is_meant_by_its_id_its_beginning_or_its_device(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    for text in (ID, ID.upper(), ID[:4], ID[:13], ID[:35], ID[:8].upper(), "tap4c1b1b0a-7d"):
        assert vifplug("show", text, "--json").json["id"] == ID
    assert vifplug("unplug", ID[:3]).status == 66  # too short to be meant for sure


@pytest.mark.parametrize("verb", ["check", "show", "xml", "probe"])
def test_a_vif_that_is_not_on_record_is_said(vifplug: Shell, verb: str) -> None:
    for text in (ID, ID[:8], "tapnothere", ID[:3]):
        ended = vifplug(verb, text)
        assert ended.status == 66 and text in ended.err and len(ended.err.splitlines()) == 1


def test_the_beginning_of_two_ids_names_both(vifplug: Shell) -> None:
    both = [binding(number, id=f"1234000{number}{ID[8:]}") for number in (1, 2)]
    vifplug("plug", "--all", vifplug.file(both))
    ended = vifplug("unplug", "1234")
    assert ended.status == 65
    assert "1234 is the beginning of 2 ids: 12340001-" in ended.err and "(tap12340002-7d)" in ended.err
    assert len(links()) == 2
    assert vifplug("unplug", "12340002").status == 0
    assert list(links()) == ["tap12340001-7d"]


def test_a_device_with_the_name_of_another_ones_beginning_is_ambiguous(vifplug: Shell) -> None:
    vifplug("plug", "--all", vifplug.file([binding(1, devname="4c1b"), binding()]))
    assert vifplug("unplug", "4c1b").status == 65
    assert len(links()) == 2


@pytest.mark.parametrize("text", ["a/b", "a\nb", "x" * 40, "ö", "", " ", "\x1b[2J"])
def test_what_can_be_no_vif_is_refused(vifplug: Shell, text: str) -> None:
    ended = vifplug("unplug", text)
    assert ended.status == 65 and "names no VIF" in ended.err
    assert len(ended.err.splitlines()) == 1 and "\x1b" not in ended.err
    _untouched(vifplug)


@pytest.mark.parametrize(
    "arguments",
    [
        ["unplug"],
        ["unplug", ID, "--all"],
        ["unplug", ID, ID[:4], "--seconds", "1"],
        ["unplug", "--all", "--generation", "1"],
        ["unplug", ID, "--generation", "0"],
        ["check"],
        ["check", ID, "--all"],
        ["plug", "x.json", "--all", "y.json"],
        ["plug", "--all", "y.json", "--refresh"],
        ["plug", "x.json", "--seconds", "0"],
        ["plug", "x.json", "--seconds", "nan"],
        ["plug", "x.json", "--seconds", "soon"],
        ["plug", "x.json", "y.json"],
        ["update"],
        ["list", "--state", "plugd"],
        ["completion", "tcsh"],
        ["plgu"],
        ["--nope"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_refused_with_where_to_read_on(vifplug: Shell, arguments: list[str]) -> None:
    ended = vifplug(*arguments)
    assert ended.status == 64 and ended.out == ""
    assert ended.err.startswith("vifplug: ") and "--help)" in ended.err
    assert len(ended.err.splitlines()) == 1
    _untouched(vifplug)


def test_a_wrong_configuration_is_told_line_by_line(vifplug: Shell) -> None:
    vifplug.config.write_text("workers = 0\n\nworker = 1\n")
    for arguments in (["list"], ["plug", vifplug.file(binding())], ["config"]):
        ended = vifplug(*arguments)
        assert ended.status == 78
        assert [line.split(": ")[1] for line in ended.err.splitlines()] == [
            f"{vifplug.config}:1",
            f"{vifplug.config}:3",
        ]
    assert vifplug("version").status == 0  # what needs no configuration does not read it
    _untouched(vifplug)


# --- anything ------------------------------------------------------------------------------------

_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)


_changed = st.builds(
    lambda field, value: binding() | {field: value},
    st.sampled_from([*binding(), "mtu", "network", "instance"]),
    _json,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), _json, _changed))
def test_xml_answers_anything_with_xml_or_one_line(vifplug: Shell, content: Any) -> None:
    ended = vifplug("xml", "-", stdin=content if isinstance(content, bytes) else json.dumps(content).encode())
    assert ended.status in (0, 65), ended.err
    assert ended.out.startswith("<interface ") if ended.status == 0 else len(ended.err.splitlines()) == 1
