"""``./dev``: help, and one clear message where it cannot set itself up."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))
    }
    return subprocess.run(
        command, env=environment | variables, cwd="/", capture_output=True, text=True, check=False
    )


@pytest.fixture
def fresh() -> Iterator[Path]:
    """A checkout that was never set up, at a path with a space in it, which every user may enter."""
    with tempfile.TemporaryDirectory(prefix="vifplug tests ") as folder:
        Path(folder).chmod(0o755)
        checkout = Path(folder) / "checkout"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "tests", "docs")
        shutil.copytree(CHECKOUT, checkout, ignore=ignored)
        yield checkout


def fake_python(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_alone_it_prints_help_under_any_shell(shell: str) -> None:
    done = run(shell, CHECKOUT / "dev")

    assert done.returncode == 0
    assert [
        line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "
    ] == [
        "demo",
        "test",
        "guests",
        "neutron-test",
        "nova-test",
        "cloud",
        "lint",
        "bench",
        "soak",
    ]


def test_an_unknown_command_is_named() -> None:
    done = run(CHECKOUT / "dev", "fly")

    assert done.returncode == 1
    assert done.stderr.endswith("dev: unknown command 'fly'\n")


def test_an_old_python_is_named_with_what_is_needed(fresh: Path, tmp_path: Path) -> None:
    old = fake_python(tmp_path / "python3", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')

    done = run(fresh / "dev", "demo", PYTHON=old)

    assert done.returncode == 1
    assert done.stderr.endswith(
        f"dev: Python 3.11 or newer is needed, and {old} is Python 3.9.2: install one, or set PYTHON to it\n"
    )
    assert not (fresh / ".venv").exists()


@pytest.mark.real_root
def test_a_user_without_python3_venv_is_told_the_package(fresh: Path) -> None:
    bare = fake_python(
        fresh / "python3",
        "case $2 in *ensurepip*) exit 1 ;; *print*) echo python3.11-venv ;; esac",
    )
    fresh.chmod(0o777)

    done = run("setpriv", "--reuid=1234", "--clear-groups", fresh / "dev", "demo", PYTHON=bare)

    assert done.returncode == 1
    assert done.stderr.endswith(
        "dev: missing on this system: python3.11-venv. Install with: sudo apt-get install python3.11-venv\n"
    )


@pytest.mark.real_root
def test_somebody_elses_checkout_is_not_touched(fresh: Path) -> None:

    done = run("setpriv", "--reuid=1234", "--clear-groups", fresh / "dev", "demo")

    assert done.returncode == 1
    assert f"dev: {fresh} is not writable by this user" in done.stderr
    assert "run './dev demo' once as the owner of this checkout" in done.stderr


@pytest.mark.slow
def test_without_a_network_it_says_so(fresh: Path, netns: None) -> None:
    done = run(fresh / "dev", "demo", PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0")

    assert done.returncode == 1
    assert done.stderr.endswith("dev: pip could not install what vifplug needs (is there a network?)\n")
    assert "Traceback" not in done.stderr
