"""The kit is sharp: each case catches a script that is broken in just this way, and good scripts pass them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.broken import GOOD
from conformance.broken.scripts import BROKEN
from vifplug.conformance import CASES, Subject, conform, explained

pytestmark = pytest.mark.slow

BRIDGE = ["ip link add br0 type bridge", "ip link set br0 up"]
#: what more is told of a good script
MORE: dict[str, dict[str, Any]] = {
    "daemon": {"seconds": 3.0},  # it waits for what it started
    "plain": {"changed_details": {"tag": 7}, "perturb": ['rm "/run/plain-$VIF_ID"']},
}


def subject(script: Path, good: str, **more: Any) -> Subject:
    return Subject(
        script=str(script), details={"bridge": "br0"}, setup=BRIDGE, **{**MORE.get(good, {}), **more}
    )


@pytest.mark.parametrize("good", ["plain", "of-2015", "daemon", "sdk", "resident"])
def test_a_good_script_passes(good: str) -> None:
    report = conform(subject(GOOD / good, good))

    assert not [explained(result) for result in report.results if result.verdict == "failed"]
    assert report.ok
    assert report.counted("ok") > 40


def test_every_case_has_a_script_that_it_catches() -> None:
    assert set(BROKEN) == set(CASES)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_script_is_caught_by_its_case(name: str, tmp_path: Path) -> None:
    mutant = BROKEN[name]
    script = tmp_path / "broken"
    script.write_text(mutant.text())
    script.chmod(0o755)

    report = conform(subject(script, mutant.good, **mutant.subject), only=[name])

    (result,) = report.results
    assert result.verdict == "failed", result
    assert not report.ok
