"""``vifplug recover --rebuild``, and whose VIF ``show`` says it is."""

from __future__ import annotations

from pathlib import Path

from cli_shell import Shell
from world import ID, binding, links


def damage(vifplug: Shell) -> Path:
    state_dir = Path(vifplug.world.config.state_dir)
    for part in state_dir.glob("ledger.db-*"):
        part.unlink()
    (state_dir / "ledger.db").write_bytes(b"no ledger" * 1000)
    return state_dir


def test_the_error_of_a_damaged_ledger_names_the_command_that_rebuilds_it(vifplug: Shell) -> None:
    vifplug.world.info(verbs=["plug", "unplug", "check"])
    with vifplug.world.host() as host:
        host.plug(binding())
        host.backup()
        host.plug(binding(2))
    state_dir = damage(vifplug)
    refused = vifplug("list")
    assert refused.status == 74
    assert "'vifplug recover --rebuild'" in refused.err
    there = links()
    ended = vifplug("recover", "--rebuild")
    assert ended.status == 1, "not all of the second VIF is known"
    [aside] = state_dir.glob("ledger.damaged-*")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["damage", *["file", "is", "not", "a", "database"]]
    assert lines[1].split() == ["set", "aside", str(aside)]
    assert str(state_dir / "ledger.backup") in lines[2]
    rows = {line.split()[0]: line.split()[1:3] for line in lines if line.startswith(("0", "4"))}
    assert rows == {ID: ["backup", "plugged"], binding(2)["id"]: ["kernel", "plugged"]}
    assert lines[-1] == "nothing was left in the middle"
    assert (
        f"{binding(2)['id']}: the ledger was rebuilt, and of this VIF there was a device alone" in ended.err
    )
    assert "not restored: what was recorded since the backup of" in ended.err
    assert vifplug("check", ID).status == 0
    assert links() == there
    again = vifplug("recover", "--rebuild")
    assert (again.status, again.out.splitlines()) == (
        0, ["the ledger is whole: it was left in place", "nothing was left in the middle"],
    )  # fmt: skip


def test_as_json_it_says_what_came_from_where(vifplug: Shell) -> None:
    with vifplug.world.host() as host:
        host.plug(binding())
        host.backup()
    damage(vifplug)
    ended = vifplug("recover", "--rebuild", "--json")
    assert ended.json["recovered"] == []
    rebuilt = ended.json["rebuilt"]
    assert [(vif["id"], vif["source"], vif["note"]) for vif in rebuilt["vifs"]] == [(ID, "backup", None)]
    assert rebuilt["damage"] == "file is not a database"


def test_gc_makes_the_backup_where_no_daemon_does(vifplug: Shell) -> None:
    backup = Path(vifplug.world.config.state_dir) / "ledger.backup"
    vifplug("plug", vifplug.file(binding()))
    assert not backup.exists()
    assert vifplug("gc").status == 0
    assert backup.exists()
    backup.unlink()
    backup.mkdir()
    ended = vifplug("gc")
    assert ended.status == 1
    assert "no backup of the ledger was made" in ended.err


def test_show_names_the_user_who_plugged_it(vifplug: Shell) -> None:
    with vifplug.world.host() as host:
        host.plug(binding(), owner=0)
        host.plug(binding(2), owner=4_000_000_000)
    assert ["owner", "root", "(0)"] in [line.split() for line in vifplug("show", ID).out.splitlines()]
    other = vifplug("show", str(binding(2)["id"]))
    assert ["owner", "4000000000"] in [line.split() for line in other.out.splitlines()]
    assert vifplug("show", ID, "--json").json["owner"] == 0
