"""docs/a-mechanism-in-an-afternoon.md, done: every command and every file of the page, in one shell, from an installed
vifplug to a guest that pings. Real are the packages, Neutron, kernel and QEMU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import guest_image
from debian import ROOT, Debian, build
from guests import Elsewhere

PAGE = (ROOT / "docs" / "a-mechanism-in-an-afternoon.md").read_text()
#: each block of the page with its language and, for a file, its name: the last one named before it
BLOCKS = [
    (
        match[2],
        (re.findall(r"`((?:vifplug|src|tests)/[\w./-]+)`", PAGE[: match.start()]) or [""])[-1],
        match[3],
    )
    for match in re.finditer(r"^(```)(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
#: Python as the page's first commands make it: with Neutron. That of the test, for there is no index to install from
PYTHON = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="it installs packages into a copy of this system: run ./dev neutron-test as root",
)


def whole() -> str:
    """All of the page as one script, that says before each block of commands what number it has."""
    parts = ["export PATH=/root/bin:$PATH HOME=/root; cd /root"]
    number = 0
    for language, file, text in BLOCKS:
        if language == "sh":
            number += 1
            if number > 1:
                parts.append(f"echo; echo '=== {number}'\n{text}")
        elif language == "python":
            parts.append(f"cat >{file} <<'END OF FILE'\n{text}END OF FILE")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def said() -> Iterator[dict[int, str]]:
    """What each block of commands printed; under 0 the devices that are left on the host."""
    host = Elsewhere()
    with tempfile.TemporaryDirectory(prefix="vifplug-afternoon-", dir="/run") as folder:
        yield host.do(partial(done, Path(folder)))
    host.close()


def done(folder: Path) -> dict[int, str]:
    """The page done on a system and in a network of its own."""
    packages = [build(script, folder) for script in ("build-msgspec-deb", "build-deb")]
    with Debian(folder) as system:
        system.install(*packages)
        system.write("/root/bin/python3", PYTHON, "755")
        system.run("ln", "-s", str(ROOT), "/root/vifplug")
        guest = guest_image.made()
        script = whole().replace("cd red-fabric\n", f"cd red-fabric; cp -R {guest} guest\n")  # made only once
        ended = system.run("bash", "-euc", script, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    parts = re.split(r"^=== (\d+)\n", ended.stdout, flags=re.MULTILINE)
    left = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {0: left} | {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_page_is_made_of_commands_and_files() -> None:
    languages = [language for language, _, _ in BLOCKS]
    assert languages.count("python") == 4 and set(languages) == {"sh", "python", "ini"}
    files = [file for language, file, _ in BLOCKS if language == "python"]
    assert files == [
        "vifplug/scripts/red-fabric",
        "tests/test_red_fabric.py",
        "src/vifplug_red_fabric.py",
        "tests/test_red_fabric_neutron.py",
    ]
    assert BLOCKS[0][2].startswith("python3 -m venv ")  # in whose place the test's own Python stands


def told(said: dict[int, str], part: str) -> str:
    """What was printed by the block that has this in it."""
    shells = [text for language, _, text in BLOCKS if language == "sh"]
    (number,) = [number for number, text in enumerate(shells, 1) if part in text]
    return said[number]


def test_the_mechanism_passes_as_made_and_as_written(said: dict[int, str]) -> None:
    for command, least in (
        ("cd red-fabric", 80),
        ("pytest tests/test_red_fabric.py", 2),
        ("pytest tests/test_red_fabric_neutron.py", 4),
    ):
        passed = re.search(r"(\d+) passed", told(said, command))
        assert passed is not None and int(passed[1]) >= least, told(said, command)
        assert "pip install" not in told(said, command)  # which is said where the driver's tests are skipped


def test_the_kit_finds_no_fault_with_the_script(said: dict[int, str]) -> None:
    assert " 0 failed" in told(said, "vifplug conform"), told(said, "vifplug conform")


def test_the_installed_script_is_trusted(said: dict[int, str]) -> None:
    assert re.search(r"red-fabric +trusted +0\.1\.0", told(said, "vifplug scripts")), told(
        said, "vifplug scripts"
    )


def test_the_port_is_plugged_and_pings(said: dict[int, str]) -> None:
    plugged = told(said, "vifplug plug port.json")
    assert '<mac address="fa:16:3e:00:00:05" />' in plugged and 'managed="no"' in plugged
    assert "ip link add name red1007 type bridge" in plugged  # --dry-run says so
    assert "failed" not in told(said, "vifplug probe")
    assert "3 received" in told(said, "ping -c 3")


def test_nothing_is_left_of_the_guest_on_the_host(said: dict[int, str]) -> None:
    assert [line.split(": ")[1] for line in said[0].splitlines()] == ["lo"]


def test_its_configuration_is_what_neutron_is_given() -> None:
    (ini,) = [text for language, _, text in BLOCKS if language == "ini"]
    assert ini == "[ml2]\nmechanism_drivers = red-fabric\n"
