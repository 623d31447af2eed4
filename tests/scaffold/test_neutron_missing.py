"""vifplug.neutron.testing where there is no Neutron, and for projects that are none: one sentence, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vifplug.errors import InvalidInput
from vifplug.neutron.testing import Neutron, NeutronMissing, missing, needs_neutron
from vifplug.neutron.testing.__main__ import main
from vifplug.neutron.testing.installed import as_if_installed
from vifplug.scaffold import new_mechanism

INSTALL = f"Neutron is not installed for {sys.executable}: python3 -m pip install neutron 'vifplug[neutron]'"


def test_it_says_what_to_install() -> None:
    assert missing() == INSTALL
    assert needs_neutron.args == (True,)
    assert needs_neutron.kwargs == {"reason": INSTALL}
    with pytest.raises(NeutronMissing, match="pip install neutron"), Neutron(drivers=["vifplug"]):
        pass
    with pytest.raises(InvalidInput, match="say a project, or the names of mechanism drivers"):
        Neutron()


def test_a_folder_called_neutron_is_no_neutron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "neutron").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert missing() == INSTALL


def test_the_command_says_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new_mechanism("blue", tmp_path / "blue")
    monkeypatch.setattr(sys, "argv", ["testing", str(tmp_path / "blue")])
    assert main() == NeutronMissing.exit_status
    assert capsys.readouterr() == ("", INSTALL + "\n")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, r"pyproject\.toml cannot be read \(No such file or directory\): say the directory"),
        ("[project", r"pyproject\.toml is no TOML: "),
        ("[tool]", "describes no project: Object missing required field `project`"),
        ("project = 7", "describes no project: Expected `object`, got `int`"),
        ("[project]\nname = 7", "describes no project: Expected `str`, got `int`"),
        (
            "[project]\nname = 'blue'",
            r'names no mechanism driver: it needs \[project\.entry-points\."neutron\.ml2',
        ),
        (
            "[project]\nname = 'blue'\n[project.entry-points.\"neutron.ml2.mechanism_drivers\"]",
            "names no mechanism driver",
        ),
    ],
)
def test_a_project_without_a_driver_is_refused_by_name(
    tmp_path: Path, written: str | None, said: str
) -> None:
    if written is not None:
        (tmp_path / "pyproject.toml").write_text(written)
    with pytest.raises(InvalidInput, match=said):
        Neutron(tmp_path)


def test_its_entry_points_stand_before_those_of_an_installed_copy(tmp_path: Path) -> None:
    """A name that the tests' own environment has installed: two drivers of a name would be loaded twice."""
    from importlib.metadata import entry_points

    project, folder = tmp_path / "project", tmp_path / "folder"
    for made in (project, folder):
        made.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "vifplug"\n[project.entry-points."neutron.ml2.mechanism_drivers"]\nvifplug = "mine:Mine"'
    )
    path = as_if_installed(project, folder)
    assert path == [str(folder), str(project)]

    before = sys.path[:]
    sys.path[:0] = path
    try:
        (found,) = entry_points(group="neutron.ml2.mechanism_drivers", name="vifplug")
    finally:
        sys.path[:] = before
    assert found.value == "mine:Mine"
