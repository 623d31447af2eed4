"""The soak of ./dev soak, cut to half a minute: nothing is lost and nothing is left, whatever was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from soak.chaos import RATES, moments
from soak.plan import binding, deeds
from vifplug.model import read_binding

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def folder() -> Iterator[Path]:
    """On the checkout's disk, where /tmp may be in memory and is no place for a trusted script."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="test-soak-", dir=cache))
    yield path
    path.rmdir()  # which fails if the soak left anything in it


@pytest.mark.slow
def test_nothing_is_lost_or_left_under_load_and_kills(folder: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    words = ["--minutes", "0.3", "--seed", "4", "--clients", "10", "--dir", str(folder), "--json", str(found)]
    ended = subprocess.run(
        [sys.executable, "-m", "soak", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(found.read_bytes())
    assert told["wrong"] == []
    for what in ("daemon killed", "client killed", "script killed", "tap deleted"):
        assert told["befell"].get(what, 0) > 0, told
    for kind in ("plugged", "unplugged", "plug-failed", "repaired", "recovered"):
        assert told["events"].get(kind, 0) > 0, told
    assert told["outcomes"]["done"] > 100


def test_a_seed_makes_the_same_plan_again_and_another_seed_another() -> None:
    def plan(seed: int) -> list[object]:
        asked = islice(deeds(seed, client=1, life=0, thread=0, vifs=100), 50)
        return [*asked, *moments(seed, "wild", 60.0, RATES)]

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_whatever_the_plan_binds_is_a_binding() -> None:
    chance = Random(0)
    for number in range(64):
        assert read_binding(binding(number, chance)).id == binding(number, chance)["id"]
