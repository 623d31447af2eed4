"""Each script of the catalogue has its page, and each page tells what the script tells of itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import vifplug

SCRIPTS = sorted(path for path in (Path(vifplug.__file__).parent / "scripts").iterdir() if path.is_file())
PAGES = Path(__file__).parents[2] / "docs" / "scripts"

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)


def info(script: Path) -> dict[str, Any]:
    told = subprocess.run([script, "info"], capture_output=True, check=True).stdout
    return dict(json.loads(told))


def row(name: str) -> str:
    """The script's row in the index."""
    index = (PAGES / "README.md").read_text().splitlines()
    return next((line for line in index if line.startswith(f"| [{name}]({name}.md) |")), "")


@each_script
def test_a_page_describes_every_detail(script: Path) -> None:
    page = (PAGES / f"{script.name}.md").read_text()

    undescribed = [name for name in info(script)["details_schema"]["properties"] if f"`{name}`" not in page]
    assert undescribed == []


@each_script
def test_a_page_has_an_example_binding_of_a_type_that_the_script_serves(script: Path) -> None:
    page = (PAGES / f"{script.name}.md").read_text()
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])

    assert example["vif_type"] in info(script)["vif_types"]
    assert script.name in example["vif_details"]["vif_plug_script"]


@each_script
def test_the_index_names_the_script_and_its_types(script: Path) -> None:
    assert row(script.name)
    assert [kind for kind in info(script)["vif_types"] if kind not in row(script.name)] == []


def test_the_index_names_no_script_that_is_not_there() -> None:
    index = (PAGES / "README.md").read_text()

    linked = {part.partition("]")[0] for part in index.split("| [")[1:]}
    assert linked == {script.name for script in SCRIPTS}
