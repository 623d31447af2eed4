"""The units agree with what they are for, with the daemon and with the configuration; systemd finds no fault."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from vifplug.config import Config, Daemon
from vifplug.errors import ConfigError

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
#: `systemd-analyze security` times ten; what is left of it a plug service needs: root, the network, capabilities
EXPOSURE = 33


def settings(unit: str) -> dict[str, list[str]]:
    """What a unit sets, each setting with all its values."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (UNITS / unit).read_text().splitlines():
        if line and line[0] not in "#[":
            name, value = line.split("=", 1)
            found[name].append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units as systemd has them when the command is installed."""
    for unit in ("vifplugd.service", "vifplugd.socket"):
        (tmp_path / unit).write_text((UNITS / unit).read_text().replace("/usr/bin/vifplugd", "/bin/true"))
    return [str(tmp_path / "vifplugd.service"), str(tmp_path / "vifplugd.socket")]


def analyze(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_no_fault(units: list[str]) -> None:
    """No setting is misspelt, unknown or out of place."""
    assert analyze("verify", "--man=no", "--recursive-errors=one", *units) == ""


def test_the_service_is_no_more_exposed_than_it_must_be(units: list[str]) -> None:
    analyze("security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE}", units[0])


def test_the_socket_is_where_callers_look() -> None:
    assert settings("vifplugd.socket")["ListenStream"] == [Config().socket_path]
    assert settings("vifplugd.service")["StateDirectory"] == [Path(Config().state_dir).name]


def test_whoever_connects_is_asked_for_their_role() -> None:
    """The mode of the socket shuts nobody out: users that the configuration names need not share a group."""
    assert settings("vifplugd.socket")["SocketMode"] == ["0666"]
    assert Daemon().pluggers == ["@vifplug"]
    assert "g vifplug -" in (UNITS / "vifplug.sysusers").read_text().splitlines()


def test_a_daemon_that_drains_is_not_killed() -> None:
    (seconds,) = settings("vifplugd.service")["TimeoutStopSec"]

    assert int(seconds) > Daemon().drain


def test_it_may_open_what_its_own_bounds_allow() -> None:
    """A connection is a descriptor; a script that runs is four: both its pipes, its request, itself."""
    (files,) = settings("vifplugd.service")["LimitNOFILE"]

    assert int(files) > 2 * (Daemon().connections + 4 * Daemon().requests)


def test_a_wrong_configuration_is_not_tried_again() -> None:
    assert settings("vifplugd.service")["RestartPreventExitStatus"] == [str(ConfigError.exit_status)]


def test_as_many_may_wait_as_may_be_connected() -> None:
    assert settings("vifplugd.socket")["Backlog"] == [str(Daemon().connections)]
