"""What the kernel can do: compared with what ip, tc and nft say in a namespace made by another hand."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from doctored import Patient
from vifplug.config import Device
from vifplug.doctor.checks.kernel import _FAR_INDEX, TRIALS, Trial
from vifplug.doctor.trial import apart, has_generic_family
from world import links

_UNSHARE = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_device_or_filter_is_judged_as_by_hand(patient: Patient, trial: Trial) -> None:
    script = " && ".join(command.replace(";", r"\;") for command in trial.commands)
    by_hand = (
        subprocess.run([*_UNSHARE, "sh", "-c", script], capture_output=True, check=False).returncode == 0
    )
    told = [
        finding for finding in patient.look("devices").all if finding.found.startswith(f"{trial.name} can")
    ]
    assert [finding.level == "ok" for finding in told] == [by_hand]


def test_nothing_of_a_trial_is_left(patient: Patient) -> None:
    before = links()
    patient.look("devices", "tap")
    assert links() == before
    until = time.monotonic() + 10
    while list(Path("/dev").glob(f"tap{_FAR_INDEX}")):  # the kernel clears a namespace when it has time
        assert time.monotonic() < until
        os.sched_yield()


def test_taps_can_be_made_with_one_queue_and_several(patient: Patient) -> None:
    assert [finding.found for finding in patient.look("tap").at("ok")] == [
        "a tap can be made",
        "a tap with several queues can be made",
    ]


def test_a_failure_of_the_work_in_a_namespace_is_the_callers() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        apart(fail)


def test_the_namespace_of_a_trial_is_another(netns: None) -> None:
    def inode() -> int:
        return Path("/proc/thread-self/ns/net").stat().st_ino

    assert apart(inode) != inode()


def test_generic_netlink_families_are_known() -> None:
    assert has_generic_family("nlctrl")
    assert not has_generic_family("vifplug-none")


def test_a_missing_tool_is_said_where_it_was_needed_on_a_host_of_files(elsewhere: Patient) -> None:
    found = elsewhere.look("devices")
    assert found.at("ok") == []
    assert all(
        "cannot be made" in finding.found and "is not installed" in finding.found for finding in found.all
    )


# --- nodes ---------------------------------------------------------------------------------------


def test_the_tun_node_of_this_host_is_well(patient: Patient) -> None:
    assert patient.look("tun-node").is_well()


def test_a_missing_tun_node_is_a_problem_on_a_host_of_files(elsewhere: Patient) -> None:
    assert "modprobe tun" in elsewhere.look("tun-node").one("problem").do
    elsewhere.write("/dev/net/tun", "no device")
    assert "is no device" in elsewhere.look("tun-node").one("problem").found


@pytest.mark.real_root
@pytest.mark.parametrize(("mode", "level"), [(0o600, "warning"), (0o666, "ok")])
def test_whether_the_owner_of_taps_may_open_the_node_is_tried_as_that_user(
    trusted_node: Patient, mode: int, level: str
) -> None:
    node = trusted_node.root / "dev/net/tun"
    os.mknod(node, stat.S_IFCHR, os.makedev(10, 200))
    node.chmod(mode)
    found = trusted_node.look("tun-node", device=Device(owner="nobody")).one(level)
    assert "nobody (device.owner)" in found.found
    if mode == 0o600:
        assert "Permission denied" in found.found and "0600" in found.found


@pytest.fixture
def trusted_node(patient: Patient, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    """A host of files that every user may look into."""
    root = Path(patient.config.state_dir).parent / "root"
    (root / "dev/net").mkdir(parents=True)
    for folder in (root.parent, root):
        folder.chmod(0o755)
    return Patient(patient.config, root)


def test_an_owner_that_is_no_user_is_said(patient: Patient) -> None:
    found = patient.look("tun-node", device=Device(owner="4294967000"))
    assert found.all[0].seen is False and "no user of this host" in found.all[0].found


def test_vhost_and_vdpa_on_a_host_of_files(elsewhere: Patient) -> None:
    assert "modprobe vhost_net" in elsewhere.look("vhost-net").one("note").do
    elsewhere.write("/dev/vhost-net", "")
    elsewhere.write("/dev/vhost-vdpa-0", "")
    assert elsewhere.look("vhost-net").is_well()
    assert elsewhere.look("vdpa").only.items == ["vhost-vdpa-0"]


# --- confinement ---------------------------------------------------------------------------------


def test_a_marked_process_is_found_and_ended_and_none_is_left(patient: Patient) -> None:
    before = _children()
    level = patient.look("confinement").only.level
    all_groups = Path("/proc/self/gid_map").read_text().split() == ["0", "0", "4294967295"]
    assert level == ("ok" if all_groups else "note")  # a user namespace may not know the mark's groups
    assert _children() <= before


def _children() -> set[str]:
    """Those of this process, also the dead that nobody waited for."""
    return {
        child
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text().split()
    }


def test_a_look_keeps_no_descriptor(patient: Patient) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = opened()
    patient.look("kernel")
    assert opened() == before
