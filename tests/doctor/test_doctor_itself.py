"""vifplug itself: configuration, tools, descriptors, the daemon at its socket, and who may ask it."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from client.stand_in import StandIn, json_answer
from doctored import Patient
from vifplug._version import __version__
from vifplug.config import Config, Daemon
from vifplug.doctor import Place, examine
from vifplug.errors import ConfigError
from world import World


@pytest.fixture
def socket_path(world: World) -> Path:
    path = Path(world.config.socket_path)
    path.parent.mkdir()
    return path


@contextmanager
def _answering(path: Path, answer: bytes) -> Iterator[None]:
    def say(connection: socket.socket) -> None:
        with connection:
            stand_in.read_request(connection)
            connection.sendall(answer)

    stand_in = StandIn(path, [say])
    try:
        yield
    finally:
        stand_in.close()


# --- the daemon ----------------------------------------------------------------------------------


def test_a_daemon_that_does_not_run_is_noted(patient: Patient) -> None:
    note = patient.look("daemon").one("note")
    assert patient.config.socket_path in note.found and "vifplugd" in note.do


def test_a_socket_that_nobody_listens_at_is_a_warning(patient: Patient, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
    assert "nobody listens" in patient.look("daemon").one("warning").found


@pytest.mark.slow
def test_a_daemon_that_runs_is_well_and_one_that_was_killed_a_warning(patient: Patient, world: World) -> None:
    config = world.folder / "vifplug.toml"
    config.write_text(
        f'state_dir = "{world.config.state_dir}"\n[trust]\ndirectories = []\npackaged = false\n'
    )
    start = [sys.executable, "-c", "from vifplug.daemon.main import main; main()", "--config", str(config)]
    with (world.folder / "log").open("w") as log, subprocess.Popen(start, stderr=log) as daemon:
        try:
            until = time.monotonic() + 20
            while not Path(world.config.socket_path).exists():
                assert daemon.poll() is None and time.monotonic() < until, (world.folder / "log").read_text()
                time.sleep(0.01)
            assert f"vifplugd {__version__} answers" in patient.look("daemon").one("ok").found
        finally:
            daemon.kill()
    assert "nobody listens" in patient.look("daemon").one("warning").found


def test_a_daemon_of_this_version_is_well_by_a_stand_in(patient: Patient, socket_path: Path) -> None:
    with _answering(socket_path, json_answer(f'{{"version": "{__version__}"}}')):
        assert f"vifplugd {__version__} answers" in patient.look("daemon").one("ok").found


def test_a_daemon_of_another_version_is_a_warning_by_a_stand_in(patient: Patient, socket_path: Path) -> None:
    with _answering(socket_path, json_answer('{"version": "0.0.1"}')):
        assert "vifplugd is version 0.0.1" in patient.look("daemon").one("warning").found


def test_a_daemon_that_may_not_be_asked_is_not_seen_by_a_stand_in(
    patient: Patient, socket_path: Path
) -> None:
    refusal = json_answer('{"error": {"code": "not_allowed", "message": "readers only"}}', "403 Forbidden")
    with _answering(socket_path, refusal):
        assert patient.look("daemon").unseen() == ["readers only"]


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-hello\r\n", json_answer("{}"), json_answer("[1]"), json_answer("{}", "500 Oh")]
)
def test_something_else_at_the_socket_is_a_problem(
    patient: Patient, socket_path: Path, answer: bytes
) -> None:
    with _answering(socket_path, answer):
        assert "does not answer as vifplugd" in patient.look("daemon").one("problem").found


def test_a_daemon_elsewhere_is_a_warning_on_a_host_of_files(elsewhere: Patient) -> None:
    elsewhere.running("vifplugd")
    assert "vifplugd runs (process 100), but not at" in elsewhere.look("daemon").one("warning").found


# --- roles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_the_group_of_those_who_plug_is_noted_when_it_is_not_there_on_a_host_of_files(
    elsewhere: Patient, there: bool
) -> None:
    elsewhere.write("/etc/group", "root:x:0:\nvifplug:x:990:nova\n" if there else "root:x:0:\n")
    found = elsewhere.look("roles")
    assert found.is_well() if there else "groupadd --system vifplug" in found.one("note").do


def test_names_that_this_host_does_not_know_are_a_warning(patient: Patient) -> None:
    daemon = Daemon(readers=["*"], pluggers=["root", "4711", "@4711"], admins=["nosuchuser", "@nosuchgroup"])
    found = patient.look("roles", daemon=daemon)
    assert [finding.items for finding in found.at("warning")] == [["nosuchuser"], ["@nosuchgroup"]]
    assert len(found.one("ok").items) == 4


# --- what is needed to run -----------------------------------------------------------------------


def test_the_tools_of_this_host_are_there(patient: Patient) -> None:
    assert patient.look("tools").is_well()


def test_missing_tools_are_told_on_a_host_of_files(elsewhere: Patient) -> None:
    found = elsewhere.look("tools")
    assert "ip is not installed" in found.one("warning").found
    assert {finding.found.split()[0] for finding in found.at("note")} == {"nft", "bridge", "sysctl"}


def test_too_few_descriptors_for_the_workers_are_a_warning(patient: Patient) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert patient.look("descriptors", workers=1).is_well()
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        warned = patient.look("descriptors", workers=256).one("warning")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "may open 512 files" in warned.found and "ulimit -n 2112" in warned.do


def test_too_few_descriptors_of_the_daemon_are_a_warning_on_a_host_of_files(elsewhere: Patient) -> None:
    elsewhere.running("vifplugd")
    elsewhere.write(
        "/proc/100/limits", "Max open files            1024                 524288               files\n"
    )
    assert "vifplugd may open 1024 files" in elsewhere.look("descriptors").one("warning").found
    elsewhere.write(
        "/proc/100/limits", "Max open files            16384                16384                files\n"
    )
    assert elsewhere.look("descriptors").is_well()


def test_few_files_for_all_are_a_warning_on_a_host_of_files(elsewhere: Patient) -> None:
    elsewhere.write("/proc/sys/fs/file-max", "4000\n")
    assert "fs.file-max is 4000" in elsewhere.look("descriptors").at("warning")[-1].found


def test_a_wrong_configuration_is_a_problem_for_each_mistake() -> None:
    place = Place(Config(), config_error=ConfigError("x.toml:1: unknown key a\nx.toml:2: unknown key b"))
    findings = examine(place, ["configuration"]).findings
    assert [(finding.level, finding.found) for finding in findings] == [
        ("problem", "x.toml:1: unknown key a"),
        ("problem", "x.toml:2: unknown key b"),
    ]


# --- a check itself ------------------------------------------------------------------------------


def test_a_check_that_fails_is_a_finding_and_the_others_are_made(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vifplug.doctor import CHECKS

    def broken(_: Place) -> Iterator[object]:
        raise ZeroDivisionError("what nobody thought of")

    monkeypatch.setitem(CHECKS, "tools", structs.replace(CHECKS["tools"], look=broken))
    findings = examine(Place(patient.config), ["vifplug"]).findings
    [failed] = [finding for finding in findings if finding.check == "tools"]
    assert failed.level == "warning" and "ZeroDivisionError: what nobody thought of" in failed.found
    assert {finding.check for finding in findings} >= {"configuration", "daemon", "roles", "descriptors"}
