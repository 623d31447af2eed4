"""The state directory: real file systems where root may mount them, a pointed-to mountinfo for the others."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cli_shell import COMMAND
from doctored import Patient
from vifplug.errors import NoPermission
from world import World, binding


def test_a_state_directory_in_use_is_well(patient: Patient, world: World) -> None:
    with world.host() as host:
        host.plug(binding())
    found = patient.look("state-directory", "ledger", "room", "locks-and-fsync")
    assert not found.at("warning") and not found.at("problem") and not found.unseen()
    assert "the ledger is sound and has 1 VIF" in [finding.found for finding in found.all]


def test_before_the_first_plug_it_is_well_and_nothing_is_made(patient: Patient, world: World) -> None:
    found = patient.look("state")
    assert not found.at("problem")
    assert not Path(world.config.state_dir).exists()
    assert {path.name for path in world.folder.iterdir()} == {"backend", "scripts"}


def test_one_that_others_may_write_is_a_problem_with_the_command_that_mends_it(
    patient: Patient, world: World
) -> None:
    path = Path(world.config.state_dir)
    path.mkdir()
    path.chmod(0o777)
    problem = patient.look("state-directory").one("problem")
    assert "0777" in problem.found
    subprocess.run(problem.do.split(",")[0].split(), check=True)
    assert patient.look("state-directory").is_well()


@pytest.mark.real_root
def test_one_that_belongs_to_another_user_is_a_problem(patient: Patient, world: World) -> None:
    path = Path(world.config.state_dir)
    path.mkdir(0o700)
    os.chown(path, 65534, 65534)
    assert "uid 65534" in patient.look("state-directory").one("problem").found


def test_one_below_a_directory_that_others_may_write_is_a_problem(patient: Patient, world: World) -> None:
    with world.host():
        pass
    assert patient.look("state-directory").is_well()
    world.folder.chmod(0o777)
    problem = patient.look("state-directory").one("problem")
    assert problem.found.startswith(f"{world.folder} above ")
    with pytest.raises(NoPermission):  # as the doctor said
        world.host()


def test_one_that_is_a_file_is_a_problem(patient: Patient, world: World) -> None:
    Path(world.config.state_dir).write_text("")
    assert "not a directory" in patient.look("state-directory").one("problem").found


@pytest.mark.parametrize(
    ("kind", "level"),
    [("ext4", "ok"), ("xfs", "ok"), ("btrfs", "ok"), ("tmpfs", "warning"), ("overlay", "warning"), ("nfs4", "problem"),
     ("cifs", "problem"), ("fuse.sshfs", "problem"), ("9p", "problem"), ("virtiofs", "problem")],
)  # fmt: skip
def test_a_file_system_is_judged_by_a_pointed_to_mountinfo(elsewhere: Patient, kind: str, level: str) -> None:
    (elsewhere.root / "state").mkdir()
    state = (elsewhere.root / "state").resolve()
    elsewhere.write(
        "/proc/self/mountinfo",
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        f"40 27 0:40 / {str(state).replace(' ', chr(92) + '040')} rw shared:7 - {kind} somewhere rw\n"
        f"41 27 0:41 / {state}-other rw - nfs somewhere rw\n",
    )
    found = elsewhere.look("file-system").only
    assert found.level == level and kind in found.found


_ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$1,nr_inodes=$2 tmpfs {folder}
shift 2
VIFPLUG_STATE_DIR={folder}/state exec "$@"
"""


@pytest.mark.parametrize(
    ("size", "inodes", "level", "said"),
    [("512k", "1000", "problem", "bytes are free"), ("8m", "1000", "warning", "8 MiB are free"),
     ("128m", "20", "warning", "inodes are free")],
)  # fmt: skip
def test_a_disk_that_is_nearly_full_is_told(
    tmp_path: Path, size: str, inodes: str, level: str, said: str
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    ended = subprocess.run(
        ["unshare", "--mount", *root, "sh", "-ec", _ON_A_SMALL_DISK.format(folder=folder), "sh", size, inodes, *COMMAND,
         "doctor", "--json", "--only", "room", "--only", "file-system"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    findings = json.loads(ended.stdout)["findings"]
    assert [found["level"] for found in findings if said in found["found"]] == [level]
    assert "tmpfs" in next(found["found"] for found in findings if found["check"] == "file-system")
    assert ended.returncode == (1 if level == "problem" else 0)
