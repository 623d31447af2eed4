"""The wheel has all that the checkout has, and its scripts run from where it is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from debian import ROOT, build

PACKAGE = ROOT / "src" / "vifplug"


@pytest.mark.slow
def test_the_wheel_is_whole_and_its_scripts_run(tmp_path: Path) -> None:
    wheel = build("build-wheel", tmp_path)

    ours = {
        str(path.relative_to(PACKAGE.parent))
        for path in (*PACKAGE.rglob("*"), PACKAGE.parent / "plugscript.py")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours - set(zipfile.ZipFile(wheel).namelist()) == set()

    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--target", str(site), str(wheel)], check=True)
    scripts = sorted(path for path in (site / "vifplug" / "scripts").iterdir() if path.is_file())
    assert len(scripts) > 1
    for script in scripts:
        told = subprocess.run([script, "info"], capture_output=True, check=True)
        assert json.loads(told.stdout)["name"] == script.name

    for part in ("systemd", "grafana", "prometheus"):
        share = {path.name: path.read_bytes() for path in (site / "share/vifplug" / part).iterdir()}
        assert share == {path.name: path.read_bytes() for path in (ROOT / "packaging" / part).iterdir()}
    assert {path.name for path in (site / "bin").iterdir()} == {
        "vifplug",
        "vifplugd",
        "vifplug-neutron-agent",
    }
