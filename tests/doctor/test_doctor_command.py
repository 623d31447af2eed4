"""``vifplug doctor`` as people and programs call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli_shell import COMMAND, Shell
from vifplug.doctor import CHECKS
from vifplug.doctor.examine import chosen
from world import TAP, World, binding

_AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]


@pytest.fixture
def vifplug(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(world, capsys, monkeypatch)


def test_a_host_without_problems_ends_with_0(vifplug: Shell) -> None:
    ended = vifplug("doctor", "--only", "vifs", "--only", "scripts")
    assert (ended.status, ended.err) == (0, "")
    assert "Plug scripts  ok\n" in ended.out and "VIFs and their devices  ok\n" in ended.out
    assert "would run" not in ended.out


def test_a_problem_ends_with_1_and_says_why_and_what_to_do(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    subprocess.run(["ip", "link", "delete", TAP], check=True)
    ended = vifplug("doctor", "--only", "vifs")
    assert ended.status == 1
    lines = ended.out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("  problem "))
    assert TAP in lines[at] and lines[at + 2].strip().startswith("→ plug their bindings again")
    assert lines[-1].startswith("1 problem, ")


def test_what_is_well_is_shown_when_asked(vifplug: Shell) -> None:
    assert "  ok       1 plug script would run" in vifplug("-v", "doctor", "--only", "scripts").out


def test_json_has_every_finding(vifplug: Shell) -> None:
    vifplug.world.script("loose", "#!/bin/sh\n").chmod(0o777)
    ended = vifplug("doctor", "--json", "--only", "script-directories")
    found = ended.json
    assert found["ok"] is True and found["seconds"] > 0 and ended.status == 0
    assert {"level", "found", "why", "do", "items", "seen", "family", "check"} == set(found["findings"][0])
    assert {finding["level"] for finding in found["findings"]} == {"warning", "ok"}


def test_the_checks_are_listed(vifplug: Shell) -> None:
    chosen(())
    told = vifplug("doctor", "--list", "--json").json
    assert [entry["name"] for entry in told] == [check.name for check in chosen(())]
    assert {entry["name"] for entry in told} == set(CHECKS)
    assert "locks-and-fsync" in vifplug("doctor", "--list").out


def test_a_name_that_is_no_check_is_named_with_the_nearest(vifplug: Shell) -> None:
    ended = vifplug("doctor", "--only", "kernle")
    assert ended.status == 65 and "did you mean kernel?" in ended.err
    assert "see 'vifplug doctor --list'" in vifplug("doctor", "--only", "xyzzy").err


def test_a_wrong_configuration_is_a_finding_like_others(vifplug: Shell) -> None:
    vifplug.config.write_text("[trust]\ndirectorys = []\n")
    ended = vifplug("doctor", "--json")
    assert ended.status == 1
    [problem] = [found for found in ended.json["findings"] if found["level"] == "problem"]
    assert "did you mean directories?" in problem["found"]


def test_the_whole_of_this_host_is_understood(vifplug: Shell) -> None:
    """Every check is made, and none is at a loss."""
    found = vifplug("doctor", "--json").json["findings"]
    assert not [finding for finding in found if "could not be made" in finding["found"]]
    # of these a host without VIFs, without a switch, or in a network namespace has nothing to tell
    quiet = {"managed-default", "script-info", "scripts-in-use", "script-settings", "missing-devices", "mtu"}
    quiet |= {"ovs-bridges", "stale-ports", "ovn", "neighbours"}
    assert set(CHECKS) - {finding["check"] for finding in found} <= quiet


def test_nothing_is_changed_by_a_look(vifplug: Shell) -> None:
    before = sorted(path for path in vifplug.world.folder.rglob("*"))
    vifplug("doctor")
    assert sorted(path for path in vifplug.world.folder.rglob("*")) == before


def test_the_other_commands_do_not_load_it(vifplug: Shell) -> None:
    program = (
        "import sys; from vifplug.cli._frame import run; run(['version']);"
        " print([name for name in sys.modules if 'doctor' in name], file=sys.stderr)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
        == "[]\n"
    )


# --- without root --------------------------------------------------------------------------------


def _as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("VIFPLUG")}
    return subprocess.run(
        [*_AS_NOBODY, *COMMAND, *arguments], capture_output=True, text=True, check=False, env=environ, cwd="/"
    )


@pytest.mark.slow
@pytest.mark.real_root
def test_without_root_it_says_what_it_could_not_see(
    netns: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ended = _as_nobody("doctor", "--json")
    assert ended.stderr == "" and ended.returncode in (0, 1)
    found = json.loads(ended.stdout)["findings"]
    unseen = {finding["check"] for finding in found if not finding["seen"]}
    assert {"devices", "tap", "forward-policy", "bridge-chains"} <= unseen
    assert all("root" in finding["do"] for finding in found if finding["check"] in ("devices", "tap"))
    assert not [finding for finding in found if "could not be made" in finding["found"]]
    shown = _as_nobody("doctor").stdout
    assert "Not seen" in shown and "sudo vifplug doctor" in shown


@pytest.mark.real_root
def test_without_root_the_record_of_roots_vifs_is_not_seen(world: World) -> None:
    with world.host() as host:
        host.plug(binding())
    world.folder.chmod(0o755)
    config = world.folder / "vifplug.toml"
    config.write_text(f'state_dir = "{world.config.state_dir}"\n')
    ended = _as_nobody("--config", str(config), "doctor", "--json", "--only", "vifs", "--only", "state")
    found = json.loads(ended.stdout)["findings"]
    unseen = {finding["check"] for finding in found if not finding["seen"]}
    assert {"debts", "lost", "unfinished", "ledger", "locks-and-fsync"} <= unseen
    assert "ok" in {finding["level"] for finding in found if finding["check"] == "state-directory"}
    assert Path(world.config.state_dir, "ledger.db").exists()
