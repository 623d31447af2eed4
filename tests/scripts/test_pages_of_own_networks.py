"""The pages of the scripts for the host's own networks: their examples are bindings, their tables are complete."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from guests import SCRIPTS
from vifplug.model import read_binding

PAGES = Path(__file__).parents[2] / "docs" / "scripts"


@pytest.mark.parametrize("name", ["linux-bridge", "vxlan-bridge", "macvtap", "routed", "sriov-vf"])
def test_the_example_is_a_binding_and_the_table_has_every_detail(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    info = json.loads(subprocess.run([SCRIPTS / name, "info"], check=True, capture_output=True).stdout)
    details = info["details_schema"]["properties"]

    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    vif = read_binding(example[1])
    assert vif.plug_script == name
    assert vif.type in info["vif_types"]
    assert vif.details.keys() - {"vlan"} <= details.keys()

    table = page.split("## Details")[1].split("\n## ")[0]
    told = {
        word
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", row)
    }
    assert details.keys() <= told
