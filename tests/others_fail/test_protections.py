"""Where comparable systems fail their users: what protects ours, and the tests that miss it when it is gone.

Each row takes one protection out, in a copy of the source, and sees each of its tests fail. The
text that it takes out must be there exactly once: who moves a protection moves its row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import Struct

import vifplug

SOURCE = Path(vifplug.__file__).parents[1]
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


class Row(Struct, frozen=True):
    #: what others lack
    what: str
    #: below src/vifplug
    file: str
    old: str
    new: str
    #: below tests
    tests: list[str]


ROWS = [
    Row(
        "a deadline that kills the whole process tree",
        "script/process.py",
        "        kill_marked(self._mark, grace)\n        if self._pid > 0:",
        "        if self._pid > 0:",
        ["script/test_hostile_scripts.py::test_a_daemon_that_left_session_parents_and_environment_is_ended"],
    ),
    Row(
        "a deadline that is hard",
        "script/process.py",
        "    deadline = time.monotonic() + seconds",
        "    deadline = time.monotonic() + seconds + 5",
        ["script/test_hostile_scripts.py::test_a_script_that_ignores_sigterm_is_killed"],
    ),
    Row(
        "one stuck script never blocks another VIF",
        "host/locks.py",
        'with self._hold([f"vif {vif_id}"], wait) as missing:',
        'with self._hold(["every vif"], wait) as missing:',
        ["others_fail/test_callbacks.py::test_a_script_may_plug_and_unplug_another_vif"],
    ),
    Row(
        "a hook that calls back into the host cannot deadlock it: nobody waits for ever",
        "host/locks.py",
        "            left = until - time.monotonic()\n            if left <= 0:\n                return False\n",
        "            left = 1.0\n",
        ["others_fail/test_callbacks.py::test_a_script_that_plugs_its_own_vif_is_told_that_it_is_busy"],
    ),
    Row(
        "unplug gets its own fresh deadline after a plug timed out",
        "host/work.py",
        'self._scripts.call(script, "unplug", row, record.request, log, seconds=seconds)',
        'self._scripts.call(script, "unplug", row, record.request, log, seconds=0.3)',
        ["host/test_plug.py::test_a_hung_plug_is_killed_and_undone_within_its_own_new_deadline"],
    ),
    Row(
        "the intent is on disk first",
        "host/work.py",
        '        with steps.step("intent"):\n            row = self._ledger.begin_plug(',
        "        self._devices.ensure(vif)\n"
        '        with steps.step("intent"):\n            row = self._ledger.begin_plug(',
        [
            "host/test_plug.py::test_the_intent_is_on_disk_before_the_device_and_the_device_before_the_script",
            "crash/test_crash_steps.py::test_a_crash_at_any_boundary_is_recovered_from[plug]",
        ],
    ),
    Row(
        "a crash in the middle of a plug still unplugs",
        "host/work.py",
        "        if row is None or row.record.state is State.PLUGGED:\n            return row\n",
        "        return row\n",
        [
            "host/test_recover.py::test_a_plug_that_a_crash_interrupted_is_unplugged_with_that_very_request",
            "host/test_recover.py::test_a_verb_settles_what_a_crash_left_before_it_begins",
        ],
    ),
    Row(
        "what a dead host's script left running is ended before the next verb",
        "host/work.py",
        "            kill_marked(Mark.from_text(mark))\n        if marks:",
        "            pass\n        if marks:",
        ["host/test_recover.py::test_a_script_that_outlived_its_host_is_ended_before_unplug_is_called"],
    ),
    Row(
        "state that survives power loss",
        "host/database.py",
        'connection.execute("PRAGMA synchronous = FULL")',
        'connection.execute("PRAGMA synchronous = OFF")',
        ["others_fail/test_power_loss.py::test_what_a_step_has_recorded_survives_power_loss_right_after_it"],
    ),
    Row(
        "a device says whose it is before it outlives its maker",
        "host/tap.py",
        "            netlink.configure(name, address=address, mtu=mtu, alias=alias, up=True)\n"
        "            fcntl.ioctl(tun, _TUNSETPERSIST, 1)\n",
        "            fcntl.ioctl(tun, _TUNSETPERSIST, 1)\n"
        "            netlink.configure(name, address=address, mtu=mtu, alias=alias, up=True)\n",
        ["host/test_devices.py::test_a_maker_killed_before_the_end_leaves_nothing"],
    ),
    Row(
        "nothing is written to a ledger that has been replaced",
        "host/database.py",
        "if _identity(self.path) != self._file:",
        "if _identity(self.path) is None:",
        ["host/test_rebuild.py::test_a_host_that_was_open_meanwhile_writes_nowhere_and_spoils_nothing"],
    ),
    Row(
        "a damaged ledger never takes the place of its backup",
        "host/backup.py",
        "copy(self._database.path, self._target, self._check)",
        "copy(self._database.path, self._target)",
        ["host/test_backup.py::test_a_damaged_ledger_is_no_backup"],
    ),
    Row(
        "a rebuilt ledger knows of a backup's VIF only what is still true",
        "host/merge.py",
        'yield self._as_it_is_now(row) if source == "backup" else row, source',
        "yield row, source",
        ["host/test_rebuild.py::test_a_vif_in_the_middle_when_the_backup_was_made_is_not_taken_from_its_guest_later"],
    ),
    Row(
        "a script that says yes to everything is not believed",
        "host/adoption.py",
        "return not self.says_ok(script, row, nobody)",
        "return True",
        ["host/test_rebuild.py::test_a_script_that_says_yes_to_everything_is_not_believed"],
    ),
    Row(
        "a reboot is noticed, by boot id",
        "host/rows.py",
        "lost=boot_id != this_boot",
        "lost=False",
        [
            "host/test_recover.py::test_after_a_simulated_reboot_a_vif_is_shown_as_lost_and_gc_tells_its_backend",
            "host/test_recover.py::test_after_a_simulated_reboot_the_same_vif_is_plugged_anew_without_an_unplug",
        ],
    ),
    Row(
        "garbage collection takes what is its own",
        "host/devices.py",
        "for alias, link in links if alias.startswith(self._prefix)]",
        'for alias, link in links if alias.startswith("vifplug:")]',
        ["host/test_recover.py::test_gc_removes_this_ledgers_devices_that_no_vif_owns_and_no_others"],
    ),
    Row(
        "plug is idempotent",
        "host/host.py",
        "if row is not None and not refresh and self._stands(row, vif):",
        "if False:",
        ["host/test_plug.py::test_the_same_request_again_gives_the_same_result_and_calls_nothing"],
    ),
    Row(
        "named locks from the host",
        "host/scripts.py",
        "self._locks.named(locks, seconds) if locks else contextlib.nullcontext(),",
        "contextlib.nullcontext(),",
        ["host/test_plug.py::test_named_locks_of_a_script_keep_its_verbs_apart"],
    ),
    Row(
        "a generation, so that a late unplug never hits the new owner",
        "host/host.py",
        "rows = [row for row in rows if row.record.generation == generation]",
        "pass",
        ["host/test_plug.py::test_a_late_unplug_of_an_older_plug_does_not_touch_the_newer"],
    ),
    Row(
        "unplug works when the script is gone",
        "host/work.py",
        "            except VifplugError as error:\n                owed = error\n",
        "            except VifplugError as error:\n                raise\n",
        [
            "host/test_plug.py::test_unplug_works_when_the_script_is_gone",
            "host/test_plug.py::test_an_unplug_that_fails_removes_the_device_and_keeps_the_debt",
        ],
    ),
    Row(
        "unplug works by what was plugged, not by what is configured now",
        "host/work.py",
        '"unplug", row, record.request, log',
        '"unplug", row, self._scripts.with_defaults(msgspec.structs.replace(record.request, details={})), log',
        ["host/test_plug.py::test_unplug_uses_the_recorded_request_not_todays_configuration"],
    ),
    Row(
        "live update",
        "host/changes.py",
        "how = How.UPDATE if offered else How.RECORD",
        "how = How.RECORD",
        ["host/test_update.py::test_what_the_script_offers_to_update_it_is_asked_to"],
    ),
    Row(
        "an update that fails is put back",
        "host/work.py",
        "            self._put_back(row, script, verbs, steps, log, error, change.fields)\n",
        "            self._ledger.update_failed(row, error, log)\n",
        ["host/test_update.py::test_an_update_that_fails_is_put_back_and_the_vif_stays"],
    ),
    Row(
        "logs per call, kept",
        "host/ledger.py",
        "[(call.vif_id, call.started, as_json(call)) for call in calls],",
        "[],",
        ["host/test_plug.py::test_the_log_of_a_call_says_what_it_printed_and_how_it_ended"],
    ),
    Row(
        "the executable's owner is checked",
        "script/trust.py",
        "if seen.st_uid not in self._owners:",
        "if False:",
        [
            "script/test_trust.py::test_a_script_of_somebody_else_is_refused",
            "script/test_trust.py::test_a_directory_of_somebody_else_is_refused",
        ],
    ),
    Row(
        "the executable's mode is checked",
        "script/trust.py",
        "if not seen.st_mode & _OTHERS_WRITE:",
        "if True:",
        [
            "script/test_trust.py::test_a_script_that_others_may_write_is_refused",
            "script/test_trust.py::test_a_directory_above_that_others_may_write_is_refused",
            "host/test_plug.py::test_what_is_not_trusted_does_not_run[writable-ScriptNotTrusted]",
        ],
    ),
    Row(
        "the executable's digest is checked",
        "script/catalogue.py",
        "if (pin := self._pins.get(key)) and pin != examined.digest:",
        "if (pin := self._pins.get(key)) and False:",
        ["script/test_catalogue.py::test_a_pinned_script_runs_as_long_as_it_is_what_was_pinned"],
    ),
    Row(
        "udev and network managers cannot take the device's MAC",
        "host/devices.py",
        "            if vif.kept_here:\n                self._restore(netlink, vif, found)\n",
        "",
        [
            "host/test_devices.py::test_what_somebody_changed_on_the_new_device_is_set_back_before_the_plug_is_done"
        ],
    ),
    Row(
        "managed='no' is written out",
        "guest/libvirt.py",
        '"managed": managed}',
        "}",
        ["guest/test_interface_xml.py::test_who_makes_an_ethernet_device_is_written_out"],
    ),
    Row(
        "a missing plug-in is said by name, with what to install",
        "script/catalogue.py",
        "f\"there is no plug script {name!r}: looked in {', '.join(self._directories) or 'no directory at all'}\"",
        '"not found"',
        ["script/test_trust.py::test_a_missing_script_is_named_with_the_places_searched_and_those_like_it"],
    ),
    Row(
        "a changed request is carried out",
        "host/host.py",
        "if change.how is not How.REPLACE:",
        "if True:",
        ["host/test_update.py::test_another_address_makes_another_device_when_no_guest_holds_the_tap"],
    ),
    Row(
        "or refused with the reason, while a guest holds the device",
        "host/devices.py",
        "if self.held_by_guest(vif):",
        "if False:",
        ["host/test_update.py::test_another_device_is_refused_while_a_guest_holds_the_tap"],
    ),
    Row(
        "withdrawal always unplugs, and what could not be undone is never forgotten",
        "host/work.py",
        "                self._ledger.owes(row, owed, log)",
        "                self._ledger.unplugged(row, log)",
        ["host/test_plug.py::test_a_plug_whose_undoing_fails_too_is_a_debt_that_is_said_and_paid_later"],
    ),
    Row(
        "many threads may be the first to plug",
        "model/learn.py",
        "        msgspec.json.Decoder(one)\n",
        "        pass\n",
        ["host/test_first_use.py::test_eight_threads_may_be_the_first_to_plug"],
    ),
]  # fmt: skip


def failed(source: Path, tests: list[str]) -> tuple[str, set[str]]:
    """Run these tests against that source: what pytest printed, and the ids that failed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", "--tb=line"]
    ended = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = ended.stdout.splitlines()
    return ended.stdout + ended.stderr, {
        line.split(" ")[1] for line in lines if line.startswith("FAILED tests/")
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return tmp_path / "src"


def test_with_every_protection_in_place_these_tests_pass(source: Path) -> None:
    printed, found = failed(source, sorted({test for row in ROWS for test in row.tests}))
    assert not found, printed
    assert " passed" in printed.splitlines()[-1], printed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_without_its_protection_each_of_its_tests_fails(source: Path, row: Row) -> None:
    path = source / "vifplug" / row.file
    text = path.read_text()
    assert text.count(row.old) == 1
    path.write_text(text.replace(row.old, row.new))
    printed, found = failed(source, row.tests)
    for test in row.tests:
        assert [one for one in found if one.startswith(f"tests/{test}")], printed
