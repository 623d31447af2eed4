"""Many VIFs without a script go together; whatever is out of the ordinary goes its own way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from vifplug.errors import DeviceFailed, VifplugError
from vifplug.host import Host, Step, Unplugged
from vifplug.host.database import Database
from vifplug.host.devices import Devices
from vifplug.host.netlink import Netlink
from vifplug.host.results import State
from world import World, binding, links


def plug(host: Host, *numbers: int, script: str | None = None) -> list[str]:
    answers = host.plug_all([binding(number, script) for number in numbers])
    assert not [answer for answer in answers if isinstance(answer, VifplugError)], answers
    return [binding(number)["id"] for number in numbers]


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many writes each commit held."""
    seen: list[int] = []
    commit = Database._commit

    def counted(self: Database, writes: list[object]) -> object:
        seen.append(len(writes))
        return commit(self, writes)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "_commit", counted)
    return seen


def test_many_take_two_commits_and_one_removal(
    world: World, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[int] = []
    delete = Netlink.delete

    def counted(self: Netlink, indexes: list[int]) -> None:
        deleted.append(len(indexes))
        delete(self, indexes)

    monkeypatch.setattr(Netlink, "delete", counted)
    with world.host() as host:
        plug(host, *range(1, 41))
        commits.clear()
        answers = host.unplug_all()
        assert all(isinstance(answer, Unplugged) and answer.changed for answer in answers)
        assert (len(answers), len(commits), deleted) == (40, 2, [40])
        assert (host.list(), links()) == ([], {})


def test_those_with_a_script_are_asked_and_the_answers_are_in_the_order_of_the_ids(world: World) -> None:
    with world.host() as host:
        plain, scripted = plug(host, 1, 3, 5), plug(host, 2, 4, script="recorder")
        never = binding(9)["id"]
        done: list[Unplugged | VifplugError] = []
        ids = [plain[0], scripted[0], never, plain[1], scripted[1], plain[2], plain[0]]
        answers = host.unplug_all(ids, on_done=done.append)
        assert [answer.id for answer in answers if isinstance(answer, Unplugged)] == ids
        assert [answer.changed for answer in answers if isinstance(answer, Unplugged)] == [
            True, True, False, True, True, True, False,
        ]  # fmt: skip
        assert len(done) == len(ids)
        assert world.asked().count("unplug") == 2
        assert (host.list(), links()) == ([], {})


def test_one_that_is_at_work_elsewhere_is_waited_for_and_holds_up_no_other(world: World) -> None:
    with world.host() as host:
        busy, *others = plug(host, 1, 2, 3)
        left: list[set[str]] = []

        def done(answer: Unplugged | VifplugError) -> None:
            left.append({record.id for record in host.list()})
            if len(left) == 2:  # both others are through: now the one that was held may go
                lock.__exit__(None, None, None)

        lock = host._locks.vif(busy, 1)
        lock.__enter__()
        answers = host.unplug_all([busy, *others], on_done=done)
        assert all(isinstance(answer, Unplugged) and answer.changed for answer in answers)
        assert left[1] == {busy}


def test_when_the_kernel_refuses_each_gets_its_own_answer_and_debt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.host() as host:
        ids = plug(host, 1, 2, 3)

        def refuse(self: Devices, items: list[str]) -> list[bool | BaseException]:
            raise DeviceFailed("the kernel refused")

        with monkeypatch.context() as patched:
            patched.setattr(Devices, "_remove_all", refuse)
            host._devices._removals._work = lambda items: refuse(host._devices, items)
            answers = host.unplug_all()
        assert all(isinstance(answer, DeviceFailed) for answer in answers)
        assert {record.id for record in host.list(State.DEBT)} == set(ids)
    with world.host() as host:
        assert set(host.gc().paid) == set(ids)
        assert links() == {}


def test_all_or_none_of_the_intents_are_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.host() as host:
        plug(host, 1, 2, 3)

        class Broken(Exception):
            pass

        def fail(step: Step) -> None:
            if (step.name, step.phase) == ("remove device", "begin"):
                assert {record.state for record in host.list()} == {State.UNPLUGGING}
                raise Broken

        with pytest.raises(Broken), world.host(on_step=fail) as other:
            other.unplug_all()
        assert {record.state for record in host.list()} == {State.UNPLUGGING}
        assert {recovered.now for recovered in host.recover()} == {"unplugged"}
        assert (host.list(), links()) == ([], {})


def test_writes_that_are_gathered_are_made_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "state")
    gathering = database.gathering()
    gathering.write(lambda c: c.execute("INSERT INTO info VALUES ('a', '{}')"))
    assert database.query("SELECT * FROM info") == []
    gathering.write(lambda c: c.execute("INSERT INTO info VALUES ('a', 'twice')"))
    with pytest.raises(sqlite3.IntegrityError):
        gathering.commit()
    assert database.query("SELECT * FROM info") == []
    database.close()
