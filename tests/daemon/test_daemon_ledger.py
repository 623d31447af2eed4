"""vifplugd on a ledger that is damaged: it sets it aside and rebuilds it before it answers anybody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from served import Served
from vifplug.errors import VifplugError
from world import ID, World, binding, links

PAGE = 4096


@pytest.mark.slow
def test_a_page_that_only_a_later_question_would_come_across_is_found_at_the_start(world: World) -> None:
    world.info(verbs=["plug", "unplug", "check"])
    path = Path(world.config.state_dir) / "ledger.db"
    served = Served.of(world)
    with served, served.client() as client:
        client.plug(binding())
        client.plug(binding(2))
    there = links()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'vif'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)
    world.host().close()  # opening it finds nothing wrong
    with served, served.client() as client:
        assert {record.id for record in client.list()} == {ID, binding(2)["id"]}
        client.unplug(str(binding(2)["id"]))
        assert client.check(ID).ok
    assert "the ledger was rebuilt" in served.log()
    assert links().items() <= there.items()
    assert len(links()) == 1
    assert list(path.parent.glob("ledger.damaged-*/rebuilt.json"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["damaged", "taken away"])
def test_a_ledger_that_breaks_under_the_daemon_ends_it_and_the_next_start_mends_it(
    world: World, how: str
) -> None:
    path = Path(world.config.state_dir) / "ledger.db"
    served = Served.of(world)
    with served, served.client() as client:
        client.plug(binding())
        if how == "damaged":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            path.write_bytes(b"\xa5" * path.stat().st_size)
        else:
            path.rename(path.with_name("elsewhere.db"))
        with pytest.raises(VifplugError) as raised:
            client.plug(binding(2))
        assert raised.value.code in ("ledger_corrupt", "ledger_replaced")
        assert served.process is not None
        assert served.process.wait(30) == 74  # which a service manager takes for a reason to start it anew
    with served, served.client() as client:
        assert [record.id for record in client.list()] == [ID]
        assert client.plug(binding(2)).changed
