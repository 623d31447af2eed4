"""vifplug new-mechanism: what it makes, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from debian import Debian, build
from vifplug.cli._frame import run
from vifplug.errors import HostError, InvalidInput
from vifplug.neutron.testing.installed import drivers_of
from vifplug.scaffold import new_mechanism
from world import ID, TAP, links

LANGUAGES = pytest.mark.parametrize("shell", [False, True], ids=["Python", "sh"])


@LANGUAGES
def test_it_makes_all_files_with_nothing_left_to_fill_in(tmp_path: Path, shell: bool) -> None:
    files = new_mechanism("blue-fabric", tmp_path / "made", shell=shell)

    library = "plugscript.sh" if shell else "plugscript.py"
    assert {str(file.relative_to(tmp_path / "made")) for file in files} == {
        "README.md",
        "vifplug/scripts/blue-fabric",
        f"vifplug/blue-fabric/{library}",
        "src/vifplug_blue_fabric.py",
        "tests/test_blue_fabric.py",
        "tests/test_blue_fabric_neutron.py",
        "pyproject.toml",
        "build-deb",
        ".gitignore",
    }
    assert not any(re.search("@[A-Z]+@", file.read_text()) for file in files)
    executable = {file.name for file in files if file.stat().st_mode & 0o100}
    assert executable == {"blue-fabric", "build-deb"}


def test_its_driver_is_ten_lines_and_named_in_pyproject(tmp_path: Path) -> None:
    new_mechanism("blue-fabric-9x", tmp_path / "made")

    (driver,) = (tmp_path / "made" / "src").iterdir()
    lines = [line for line in driver.read_text().split('"""')[-1].splitlines() if line.strip()]
    assert len(lines) <= 10
    assert drivers_of(tmp_path / "made") == {
        "blue-fabric-9x": "vifplug_blue_fabric_9x:BlueFabric9xMechanismDriver"
    }
    assert "class BlueFabric9xMechanismDriver(VifplugMechanismDriver):" in driver.read_text()


def test_the_command_tells_what_it_made_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(["new-mechanism", "blue"]) == 0
    assert "next: cd blue && sudo python3 -m pytest" in capsys.readouterr().out
    assert (tmp_path / "blue" / "vifplug" / "scripts" / "blue").is_file()

    assert run(["new-mechanism", "green", "--shell", "--directory", "a/b", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["directory"] == "a/b"
    assert all(Path(file).is_file() for file in told["files"])


@pytest.mark.parametrize(
    "name",
    ["", "a", "Blue", "blue_fabric", "../blue", "-blue", "blue-", "blue--x", "9p", "a" * 41, "blau\u00df"],
)
def test_a_name_that_cannot_be_is_refused_by_what_it_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(["new-mechanism", "--directory", str(tmp_path / "made"), "--", name]) == 65
    assert "use 2 to 40 lower-case letters, digits and single hyphens" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'linux-bridge' is a plug script that this host has already"):
        new_mechanism("linux-bridge", tmp_path / "made")


@pytest.mark.parametrize("name", ["scripts", "scriptlib", "vifplug"])
def test_a_name_of_vifplugs_own_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is a name of vifplug's own"):
        new_mechanism(name, tmp_path / "made")


@given(name=st.text(max_size=50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_text_is_refused_too(tmp_path: Path, name: str) -> None:
    assume(not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name))
    with pytest.raises(InvalidInput):
        new_mechanism(name, tmp_path / "made")


@pytest.mark.parametrize("kind", ["directory", "empty directory", "file", "dangling link"])
def test_what_is_there_already_is_never_written_to(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "made"
    if kind == "file":
        place.write_text("mine")
    elif kind == "dangling link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
        if kind == "directory":
            (place / "README.md").write_text("mine")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(InvalidInput, match="is there already, and nothing was written"):
        new_mechanism("blue", place)

    assert sorted(tmp_path.rglob("*")) == before


def test_where_it_cannot_write_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(HostError, match=r"file/made cannot be made: .*/file: File exists"):
        new_mechanism("blue", tmp_path / "file" / "made")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@LANGUAGES
def test_what_it_makes_passes_its_own_tests_as_made(tmp_path: Path, shell: bool) -> None:
    new_mechanism("blue-fabric", tmp_path / "made", shell=shell)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=tmp_path / "made",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 50  # the conformance kit's cases among them
    # those of the driver are run by tests/neutron; here is no Neutron, and it is said what to install
    assert f"for {sys.executable}: python3 -m pip install neutron 'vifplug[neutron]'" in done.stdout


@pytest.mark.slow
@LANGUAGES
def test_its_wheel_installs_the_script_below_the_prefix(tmp_path: Path, shell: bool) -> None:
    new_mechanism("blue-fabric", tmp_path / "made", shell=shell)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", "dist", "."], cwd=tmp_path / "made", check=True
    )
    (wheel,) = (tmp_path / "made" / "dist").glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--ignore-installed", "--prefix", str(tmp_path / "local"), str(wheel)],
        check=True,
    )

    script = tmp_path / "local" / "lib" / "vifplug" / "scripts" / "blue-fabric"
    told = subprocess.run([script, "info"], capture_output=True, check=True)
    assert json.loads(told.stdout)["name"] == "blue-fabric"
    (driver,) = (tmp_path / "local" / "lib").glob("python3*/site-packages/vifplug_blue_fabric.py")
    (entry_points,) = driver.parent.glob("vifplug_blue_fabric-*.dist-info/entry_points.txt")
    assert "blue-fabric = vifplug_blue_fabric:BlueFabricMechanismDriver" in entry_points.read_text()


@pytest.mark.slow
@pytest.mark.real_root
def test_its_debian_package_is_found_trusted_and_plugs(tmp_path: Path, netns: None) -> None:
    packages = [build("build-msgspec-deb", tmp_path), build("build-deb", tmp_path)]
    for name, shell in (("blue-fabric", False), ("green", True)):
        new_mechanism(name, tmp_path / name, shell=shell)
        done = subprocess.run(
            ["./build-deb"], cwd=tmp_path / name, capture_output=True, text=True, check=True
        )
        packages.append(tmp_path / name / done.stdout.strip())
    subprocess.run(["ip", "link", "add", "name", "br0", "type", "bridge"], check=True)

    (tmp_path / "debian").mkdir()
    with Debian(tmp_path / "debian") as system:
        system.install(*packages)
        for name in ("blue-fabric", "green"):
            details = {"vif_plug_script": name, "bridge": "br0"}
            binding = {
                "id": ID,
                "vif_type": "ethernet",
                "vif_details": details,
                "address": "fa:16:3e:00:00:01",
            }
            system.run("vifplug", "plug", "-", stdin=json.dumps(binding))
            assert links()[TAP].master == links()["br0"].index
            system.run("vifplug", "unplug", ID)
        assert set(links()) == {"br0"}

        system.run("dpkg", "--purge", "vifplug-blue-fabric", "vifplug-green")
        left = system.run(
            "find", "/usr/lib/vifplug", "-name", "*blue-fabric*", "-o", "-name", "*green*"
        ).stdout
        assert left == ""
