"""``vifplug-neutron-agent`` as an operator meets it: its mistakes, and its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vifplug.neutron.agent import options

PAGE = Path(__file__).parents[2] / "docs" / "openstack-agent.md"
GOOD = "[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1:1//\nhost = cmp1\n"


def agent(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "vifplug.neutron.agent", *arguments],
        check=False, capture_output=True, text=True, timeout=60, env={**os.environ, **(environ or {})},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[DEFAULT]\nhost = cmp1\n", "transport_url is not set: give --config-file with the neutron.conf"),
        (GOOD + "[vifplug_agent]\nplugs = perhaps\n", "perhaps"),
        (GOOD + "[vifplug_agent]\nresync_interval = 0\n", "resync_interval"),
        (GOOD + "[vifplug_agent]\nphysical_networks = a,,b\n", "physical_networks has an empty name"),
        ("transport_url = x\n", "agent.ini"),
        (GOOD.replace("rabbit:", "carrier-pigeon:"), "carrier-pigeon"),
    ],
)
def test_a_mistake_ends_it_with_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "agent.ini"
    file.write_text(text)
    ended = agent("--config-file", str(file))
    assert ended.returncode == 78, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("vifplug-neutron-agent: ")
    assert says in last
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = agent("--config-file", str(tmp_path / "none.ini"))
    assert ended.returncode == 78
    assert f"no such configuration file: {tmp_path}/none.ini" in ended.stderr


def test_its_page_names_every_option_with_its_default() -> None:
    text = PAGE.read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| *(.*?) *\|", text, re.MULTILINE))
    for option in options.OPTIONS:
        default = {None: "", True: "true", False: "false"}.get(option.default, str(option.default))
        assert rows.get(option.name) == default, option.name
