"""The benchmark runs, says what it says it says, and leaves nothing behind. How fast anything is, no test can tell."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bench.figures import Results

ROOT = Path(__file__).parent.parent


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """On the checkout's disk, where /tmp may be in memory and is no place for a trusted script."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="test-bench-", dir=cache))  # several workers may run these tests
    yield path
    path.rmdir()  # which fails if the benchmark left anything in it


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """What one quick run printed, and what it wrote."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    ended = bench("--quick", "--json", str(file), "--dir", str(folder))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, file.read_bytes()


@pytest.mark.slow
def test_every_part_is_in_the_json_and_the_json_has_the_documented_shape(run: tuple[str, bytes]) -> None:
    results = msgspec.json.decode(run[1], type=Results)
    assert results.quick
    assert {figure.part for figure in results.figures} == {
        "one VIF",
        "runner",
        "VIF with a script",
        "burst",
        "VIFs on record",
        "resident",
        "start",
        "daemon",
        "daemon: many clients",
        "daemon: VIFs on record",
        "daemon: keeper",
    }
    for figure in results.figures:
        ours, *others = figure.timings
        assert set(figure.ratios) == set(others)
        for timing in figure.timings.values():
            assert 0 < timing.low <= timing.median <= timing.high
        for who in others:
            expected = figure.timings[ours].median / figure.timings[who].median
            assert figure.ratios[who] == pytest.approx(expected, abs=0.01)
        for aim in figure.aims:
            assert aim.met == (aim.value <= aim.limit)


@pytest.mark.slow
def test_every_aim_is_printed_with_whether_it_was_met(run: tuple[str, bytes]) -> None:
    printed, written = run
    aims = [aim for figure in msgspec.json.decode(written, type=Results).figures for aim in figure.aims]
    verdicts = [line.split()[0] for line in printed.splitlines() if line.startswith(("  met ", "  MISSED "))]
    assert verdicts == ["met" if aim.met else "MISSED" for aim in aims]
    assert f"{verdicts.count('met')} of {len(verdicts)} aims met" in printed.splitlines()[-1]


@pytest.mark.slow
def test_nothing_is_left_in_the_directory(run: tuple[str, bytes], folder: Path) -> None:
    assert list(folder.iterdir()) == []


def test_a_directory_in_memory_is_refused() -> None:
    ended = bench("--quick", "--dir", "/dev/shm")
    assert ended.returncode == 1
    assert ended.stderr.startswith("bench: /dev/shm is in memory (tmpfs)")
    assert not list(Path("/dev/shm").glob("bench-*"))


@pytest.mark.parametrize("file", ["results.json", "peers.json", "guests.json"])
def test_the_recorded_results_have_the_documented_shape_and_are_of_a_whole_run(file: str) -> None:
    recorded = msgspec.json.decode((ROOT / "bench" / file).read_bytes(), type=Results)
    assert not recorded.quick
    parts = {figure.part for figure in recorded.figures}
    assert parts == {Path(file).stem} or (file == "results.json" and not parts & {"peers", "guests"})
