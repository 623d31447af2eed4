"""What goes wrong on the way: each error with its exit status, said once, for people and for programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cli_shell import Shell
from vifplug import errors
from world import ID, TAP, binding, links


@pytest.mark.parametrize(
    ("exit_status", "status", "code"),
    [(1, 1, "failed"), (65, 65, "bad_details"), (69, 69, "backend_unavailable"), (7, 1, "failed")],
)
def test_a_script_that_fails_decides_the_exit_status(
    vifplug: Shell, exit_status: int, status: int, code: str
) -> None:
    vifplug.world.on("plug", status=exit_status)
    ended = vifplug("plug", "--json", vifplug.file(binding()))
    assert ended.status == status
    assert ended.json["error"]["code"] == code
    assert ended.err.startswith("vifplug: ") and "the backend said no" in ended.err
    assert links() == {} and vifplug("list", "--json").json == []


def test_a_script_that_hangs_ends_with_its_deadline(vifplug: Shell) -> None:
    vifplug.world.on("plug", do="exec sleep 100")
    ended = vifplug("plug", "--seconds", "0.3", vifplug.file(binding()))
    assert ended.status == 124 and ended.out == ""
    assert links() == {}


def test_a_script_that_nobody_installed_is_named(vifplug: Shell) -> None:
    ended = vifplug("plug", vifplug.file(binding(script="nowhere")))
    assert ended.status == 69 and "nowhere" in ended.err


def test_a_script_that_is_not_trusted_is_named_with_the_reason(vifplug: Shell) -> None:
    (vifplug.world.scripts / "recorder").chmod(0o777)
    ended = vifplug("plug", vifplug.file(binding()))
    assert ended.status == 77 and "recorder" in ended.err
    listed = vifplug("scripts")
    assert listed.out.splitlines()[1].split()[:2] == ["recorder", "refused"]
    assert str(vifplug.world.scripts / "recorder") in listed.err
    [entry] = vifplug("scripts", "--json").json
    assert entry["trusted"] is False and entry["reason"] in listed.err


def test_a_device_of_somebody_else_is_left_alone(vifplug: Shell) -> None:
    subprocess.run(["ip", "tuntap", "add", TAP, "mode", "tap"], check=True)
    before = links()
    ended = vifplug("plug", vifplug.file(binding()))
    assert ended.status == 73 and TAP in ended.err
    assert links() == before


def test_failures_among_many_are_listed_and_the_rest_is_plugged(vifplug: Shell) -> None:
    bindings = [binding(1), binding(2, script="nowhere"), binding(3), binding(4, script="gone")]
    ended = vifplug("plug", "--all", vifplug.file(bindings))
    assert ended.status == 1
    assert ended.out.startswith("plugged 2 of 4 VIFs in ")
    assert [bindings[at]["id"] in line for at, line in zip((1, 3), ended.err.splitlines(), strict=True)] == [
        True,
        True,
    ]
    assert set(links()) == {"tap00000001-7d", "tap00000003-7d"}

    answers = vifplug("plug", "--json", "--all", vifplug.file(bindings)).json
    assert [answer["id"] for answer in answers] == [one["id"] for one in bindings]
    assert [answer.get("error", {}).get("code") for answer in answers] == [
        None,
        "script_not_found",
        None,
        "script_not_found",
    ]
    assert [answer.get("changed") for answer in answers] == [False, None, False, None]


def test_an_unplug_that_fails_is_a_debt_until_gc_pays_it(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    vifplug.world.on("unplug", status=1)
    ended = vifplug("unplug", ID)
    assert ended.status == 1 and "on record: 'vifplug gc' tries again" in ended.err
    assert links() == {}
    assert vifplug("list", "--state", "debt").out.splitlines()[1].split()[:4] == [ID, TAP, "ethernet", "debt"]
    assert "the backend said no" in vifplug("show", ID).out
    owing = vifplug("gc")
    assert owing.status == 1 and ID in owing.out and "debt" in owing.out
    vifplug.world.on("unplug")
    paid = vifplug("gc")
    assert (paid.status, paid.out.splitlines()[1].split()[:2]) == (0, [ID, "paid"])
    assert vifplug("gc").out == "nothing to clear\n"
    assert vifplug("list").err == "no VIF is on record\n"


def test_an_unplug_whose_script_is_gone_succeeds_and_says_so(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    (vifplug.world.scripts / "recorder").unlink()
    ended = vifplug("unplug", ID)
    assert ended.status == 0 and ended.out.startswith(f"{ID} unplugged")
    assert "recorder" in ended.err and "'vifplug gc' tries again" in ended.err


def test_an_unplug_of_what_is_not_plugged_is_no_error(vifplug: Shell) -> None:
    assert vifplug("unplug", ID) == (0, f"{ID} is not plugged; nothing to do\n", "")
    vifplug("plug", vifplug.file(binding()))
    assert (
        vifplug("unplug", ID, "--generation", "7").out == f"{ID} has no plug of generation 7; nothing to do\n"
    )
    assert TAP in links()
    assert vifplug("unplug", ID, "--generation", "1").status == 0
    assert links() == {}


def test_drift_ends_with_1_and_is_shown(vifplug: Shell) -> None:
    vifplug("plug", "--all", vifplug.file([binding(mtu=1450), binding(1)]))
    assert vifplug("check", "--all").status == 0
    subprocess.run(["ip", "link", "set", TAP, "mtu", "1400"], check=True)
    ended = vifplug("check", "--all")
    assert ended.status == 1
    assert re.search(rf"^{ID} +drift +device mtu +1450 +1400$", ended.out, re.MULTILINE)
    assert re.search(rf"^{binding(1)['id']} +ok ", ended.out, re.MULTILINE)
    reports = vifplug("check", "--all", "--json").json
    assert {report["id"]: report["ok"] for report in reports} == {ID: False, binding(1)["id"]: True}
    subprocess.run(["ip", "link", "del", TAP], check=True)
    assert vifplug("check", ID).status == 1


def test_a_vif_that_drifted_is_repaired(vifplug: Shell) -> None:
    assert vifplug("repair", ID).status == 66
    vifplug("plug", vifplug.file(binding(mtu=1450)))
    assert vifplug("repair", ID) == (0, f"{ID} ({TAP}) is as it was plugged; nothing to do\n", "")
    subprocess.run(["ip", "link", "del", TAP], check=True)
    ended = vifplug("repair", ID)
    assert (ended.status, ended.err) == (0, "")
    assert re.fullmatch(rf"{ID} \({TAP}\) repaired in [0-9.]+ m?s\n", ended.out)
    assert links()[TAP].mtu == 1450
    assert vifplug("repair", ID, "--json").json["changed"] is False


def test_the_vifs_that_cannot_be_checked_do_not_hide_the_others(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    ended = vifplug("check", ID, binding(1)["id"])
    assert ended.status == 1
    assert re.search(rf"^{ID} +ok ", ended.out, re.MULTILINE)
    assert re.search(rf"^{binding(1)['id']} +not_plugged ", ended.out, re.MULTILINE)


def test_an_update_is_carried_out_or_refused_by_name(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding(script=None, mtu=1500)))
    ended = vifplug("update", vifplug.file(binding(script=None, mtu=1500, queues=4)))
    assert ended.status == 65 and "queues" in ended.err and ended.out == ""
    assert vifplug("update", vifplug.file(binding(1))).status == 66
    vifplug.world.info(protocols=[1], verbs=["plug", "unplug", "update"], update_fields=["mtu"])
    vifplug("plug", vifplug.file(binding(2, mtu=1500)))
    ended = vifplug("update", vifplug.file(binding(2, mtu=1400)))
    assert ended.status == 0, ended.err
    assert '<mtu size="1400" />' in ended.out and links()["tap00000002-7d"].mtu == 1400


def test_a_broken_ledger_is_said_and_left_as_it_is(vifplug: Shell) -> None:
    vifplug("plug", vifplug.file(binding()))
    ledger = Path(vifplug.world.config.state_dir) / "ledger.db"
    ledger.write_bytes(b"not a database at all" * 500)
    for arguments in (["list"], ["plug", vifplug.file(binding(1))], ["unplug", ID]):
        ended = vifplug(*arguments)
        assert ended.status == 74 and len(ended.err.splitlines()) == 1 and str(ledger) in ended.err
    assert list(links()) == [TAP]


# --- every error of the tree ---------------------------------------------------------------------


def _all(kind: type[errors.VifplugError]) -> list[type[errors.VifplugError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _all(child))]


def test_the_exit_statuses_in_the_documentation_are_those_of_the_errors() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    told = {code: int(status) for status, code in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    public = [kind for kind in _all(errors.VifplugError) if kind.__module__ == "vifplug.errors"]
    assert {kind.code: kind.exit_status for kind in public} == {
        code: status for code, status in told.items() if code != "usage"
    }
