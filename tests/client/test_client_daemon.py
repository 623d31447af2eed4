"""The client against vifplugd itself: what Host does, from another process."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from served import Served
from vifplug.client import Answer, Client, client
from vifplug.errors import (
    DaemonUnreachable,
    InvalidInput,
    NotPlugged,
    ScriptNotFound,
    TimedOut,
    TooBusy,
    VifplugError,
)
from vifplug.model import read_binding
from world import ID, TAP, World, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path


@pytest.fixture
def daemon(world: World) -> Iterator[Served]:
    with Served.of(world) as served:
        yield served


@pytest.fixture
def host(daemon: Served) -> Iterator[Client]:
    with daemon.client() as found:
        yield found


@pytest.fixture
def gate(world: World) -> Iterator[Callable[[], None]]:
    """The plug script waits until this is called; ``world.folder / "begun"`` is a pipe that it writes to first."""
    for name in ("begun", "gate"):
        os.mkfifo(world.folder / name)
    world.on("plug", do=f"echo begun > {world.folder}/begun; read line < {world.folder}/gate")

    def go_on() -> None:
        (world.folder / "gate").write_text("\n")

    yield go_on
    world.on("plug")


def begun(world: World) -> None:
    """Return when the script has begun."""
    assert (world.folder / "begun").read_text() == "begun\n"


def _same(struct: Any, answer: Any) -> None:
    if isinstance(struct, msgspec.Struct):
        for name in struct.__struct_fields__:
            _same(getattr(struct, name), getattr(answer, name))
    elif isinstance(struct, list):
        for mine, its in zip(struct, answer, strict=True):
            _same(mine, its)
    else:
        assert struct == answer


# --- what Host does ------------------------------------------------------------------------------


def test_a_vif_is_plugged_looked_at_changed_and_unplugged(world: World, host: Client) -> None:
    world.info(protocols=[1], verbs=["plug", "unplug", "update", "check"], update_fields=["mtu"])
    assert [step.name for step in host.rehearse(binding()).steps][:2] == ["intent", "device"]
    plugged = host.plug(binding(mtu=1450))
    assert plugged.changed and plugged.generation == 1 and f'dev="{TAP}"' in plugged.xml
    assert plugged.vif.type == "ethernet" and plugged.vif.mtu == 1450 and plugged.vif.network.label is None
    assert links()[TAP].mtu == 1450
    assert not host.plug(binding(mtu=1450)).changed
    assert host.plug(binding(mtu=1450), refresh=True).changed
    assert host.update(binding(mtu=1400), seconds=5).vif.mtu == 1400 == links()[TAP].mtu
    assert host.check(ID).ok
    subprocess.run(["ip", "link", "set", TAP, "mtu", "1300"], check=True)
    [drift] = host.check(ID).drift
    assert (drift.what, drift.expected, drift.found) == ("device mtu", 1400, 1300)
    assert host.repair(ID, seconds=5).changed and links()[TAP].mtu == 1400
    assert TAP in host.xml(ID)
    with world.host() as library:
        _same(library.list(), host.list())
        _same(library.show(ID), host.show(ID))
        _same(library.calls(ID), host.calls(ID))
        _same(library.scripts(), host.scripts())
        _same(library.counts(), host.counts())
        assert library.xml(ID) == host.xml(ID)
    assert host.list("debt") == [] and [record.id for record in host.list("plugged")] == [ID]
    late = host.unplug(ID, generation=99)
    assert not late.changed and host.unplug(ID, seconds=5).changed
    assert host.unplug(ID).generation is None and links() == {}


def test_debts_are_owed_paid_and_written_off(world: World, host: Client) -> None:
    world.on("unplug", status=1)
    for number in (1, 2):
        host.plug(binding(number))
        with pytest.raises(VifplugError, match="the backend said no"):
            host.unplug(binding(number)["id"])
    assert host.forget(binding(1)["id"]) == 1
    with pytest.raises(NotPlugged):
        host.forget(binding(1)["id"])
    assert list(host.gc().owing) == [binding(2)["id"]]
    world.on("unplug")
    assert host.gc().paid == [binding(2)["id"]]
    assert host.recover() == []


def test_the_daemon_says_what_it_can_and_what_it_is_at(world: World, host: Client) -> None:
    able = host.capabilities()
    assert able.vif_types[0] == "ethernet" and able.scripts[0].name == "recorder" and 1 in able.protocols
    assert host.status().vifs == [] and host.health().status == "ok"
    host.plug(binding())
    assert host.status().vifs[0].state == "plugged"


@pytest.mark.parametrize("form", ["mapping", "text", "bytes", "Vif", "answer"])
def test_a_binding_comes_in_any_form_that_host_takes(host: Client, form: str) -> None:
    plain = binding(vif_details={"note": "ü \U0001f600"}, mtu=1450)
    given: Any = {
        "mapping": plain,
        "text": json.dumps(plain, ensure_ascii=False),
        "bytes": json.dumps(plain).encode(),
        "Vif": read_binding(plain),
        "answer": Answer(plain),
    }[form]
    assert host.plug(given).vif.details == {"note": "ü \U0001f600"}
    assert not host.plug(plain).changed


def test_errors_are_those_of_the_library(world: World, daemon: Served, host: Client) -> None:
    world.on("plug", status=65)
    cases: list[Callable[[Any], Any]] = [
        lambda on: on.plug(binding(mtu=0)),
        lambda on: on.plug(binding(vif_type="dvs")),
        lambda on: on.plug("{"),
        lambda on: on.plug(b"\xff"),
        lambda on: on.plug("[" * 100_000),
        lambda on: on.plug([]),
        lambda on: on.plug(binding()),
        lambda on: on.plug(binding(script="nowhere")),
        lambda on: on.rehearse(binding(script="nowhere")),
        lambda on: on.update(binding()),
        lambda on: on.show(ID),
        lambda on: on.show("../../etc"),
        lambda on: on.check(ID),
        lambda on: on.calls("ü"),
        lambda on: on.forget(ID),
    ]
    with world.host() as library:
        for number, case in enumerate(cases):
            with pytest.raises(VifplugError) as mine:
                case(library)
            with pytest.raises(VifplugError) as its:
                case(host)
            assert its.value.as_dict() == json.loads(json.dumps(mine.value.as_dict())), number
            assert isinstance(mine.value, type(its.value)) and mine.value.exit_status == its.value.exit_status


# --- steps, traces -------------------------------------------------------------------------------


def test_steps_are_told_while_they_happen(world: World, daemon: Served, gate: Callable[[], None]) -> None:
    steps: list[Any] = []
    threads = set()

    def tell(step: Any) -> None:
        steps.append(step)
        threads.add(threading.current_thread())
        if (step.vif_id, step.name, step.phase) == (ID, "script plug", "begin"):
            begun(world)
            gate()  # the script goes on because its beginning has been told

    with daemon.client(on_step=tell) as host:
        assert host.plug(binding()).changed
        assert [step.name for step in steps if step.phase == "end"] == [
            "intent", "device", "script plug", "reply", "verify", "guest XML", "outcome",
        ]  # fmt: skip
        assert threads == {threading.current_thread()}
        assert all(step.vif_id == ID for step in steps)
        world.on("plug", status=1)
        steps.clear()
        with pytest.raises(VifplugError, match="the backend said no"):
            host.plug(binding(1))
        assert {step.phase for step in steps} == {"begin", "end", "failed"}


def test_the_callers_trace_reaches_the_script(world: World, daemon: Served) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    world.on("plug", do='echo "$TRACEPARENT" >&2')
    with daemon.client(traceparent=trace) as host:
        host.plug(binding())
        [call] = host.calls(ID)
    assert trace.split("-")[1] in call.traceparent and trace.split("-")[1] in call.stderr


# --- many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_step", [None, lambda _: None], ids=["together", "with steps"])
def test_many_are_plugged_and_each_failure_stands_in_its_place(
    world: World, daemon: Served, on_step: Any
) -> None:
    bindings: list[Any] = [binding(number) for number in range(1, 21)]
    bindings[3] = binding(4, mtu=0)
    bindings[7] = binding(8, script="nowhere")
    bindings[9] = '{"id": '
    bindings[11] = '{"id": 1, "id": 2}'
    bindings[13] = read_binding(binding(14))
    bindings[15] = json.dumps(binding(16))
    bindings[16] = {"mtu": float("nan")}
    bindings[17] = []
    done: list[Any] = []
    with daemon.client(on_step=on_step) as host:
        answers = host.plug_all(bindings, on_done=done.append)
        wrong = {
            index: type(answer) for index, answer in enumerate(answers) if isinstance(answer, VifplugError)
        }
        assert wrong == {
            **dict.fromkeys((3, 9, 11, 16, 17), InvalidInput),
            7: ScriptNotFound,
        }
        assert str(answers[3]).startswith("mtu: 0 is not allowed")
        assert [answer.id for answer in answers if not isinstance(answer, VifplugError)] == [
            binding(number)["id"] for number in range(1, 21) if number - 1 not in wrong
        ]
        assert len(done) == 20 and len(links()) == 14
        with world.host() as library:
            again = library.plug_all(bindings[:8])
            assert [str(answer) for answer in again if isinstance(answer, VifplugError)] == [
                str(answers[3]), str(answers[7]),
            ]  # fmt: skip

        done.clear()
        some = [binding(1)["id"], binding(2)["id"], binding(1)["id"], binding(99)["id"]]
        gone = host.unplug_all(some, on_done=done.append)
        assert [answer.id for answer in gone if not isinstance(answer, VifplugError)] == some
        assert [answer.changed for answer in gone if not isinstance(answer, VifplugError)][1::2] == [
            True,
            False,
        ]
        world.on("unplug", status=1)
        rest = host.unplug_all(on_done=done.append)
        assert len(rest) == 12 and all(isinstance(answer, VifplugError) for answer in rest)
        assert host.plug_all([]) == [] == host.unplug_all([])
    assert links() == {}


def test_a_list_longer_than_a_page_is_whole(host: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    host.plug_all([binding(number, script=None) for number in range(1, 8)])
    whole = [record.id for record in host.list()]
    monkeypatch.setattr(client, "_PAGE", 3)
    assert [record.id for record in host.list()] == whole and len(whole) == 7
    assert [record.id for record in host.list(limit=4)] == whole[:4]
    assert [record.id for record in host.list(after=host.list(limit=4)[-1].generation)] == whole[4:]


def test_many_threads_share_one_client(host: Client) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            one = binding(number)
            assert host.plug(one).id == one["id"] == host.show(one["id"]).id
            assert host.unplug(one["id"]).changed
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and links() == {}


def test_many_clients_come_at_once(daemon: Served, host: Client) -> None:
    """More than the daemon's listen(2) queues."""
    host.plug(binding(script=None))
    together = threading.Barrier(300)
    answers: list[Any] = []

    def ask() -> None:
        with daemon.client() as own:
            together.wait()
            try:
                answers.append(own.plug(binding(script=None)).changed)
            except VifplugError as error:
                answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [False] * 300


# --- waiting, bounds -----------------------------------------------------------------------------


def test_a_state_is_waited_for(world: World, host: Client, gate: Callable[[], None]) -> None:
    assert host.wait(ID, "unplugged").vif is None
    with pytest.raises(TimedOut) as late:
        host.wait(ID, "plugged", seconds=0.05)
    assert late.value.context == {"vif_id": ID, "state": "unplugged"}
    plugging = threading.Thread(target=host.plug, args=(binding(),))
    plugging.start()
    begun(world)
    gate()
    waited = host.wait(ID, "plugged", seconds=20)
    assert waited.state == "plugged" and waited.vif is not None and waited.vif.generation == 1
    plugging.join()
    assert host.wait(ID).state == "plugged"


def test_a_bound_that_is_reached_says_when_to_come_back(world: World, gate: Callable[[], None]) -> None:
    with Served.of(world, requests=1) as daemon, daemon.client() as host:
        plugging = threading.Thread(target=host.plug, args=(binding(),))
        plugging.start()
        begun(world)
        with pytest.raises(TooBusy) as busy:
            host.plug(binding(1))
        assert busy.value.context["retry_after"] > 0
        gate()
        plugging.join()
        assert host.plug(binding()).changed is False


# --- a daemon that goes --------------------------------------------------------------------------


def test_a_plug_whose_daemon_is_killed_is_an_error_and_is_recovered_by_the_next(
    world: World, daemon: Served, gate: Callable[[], None]
) -> None:
    errors: list[VifplugError] = []

    def plug() -> None:
        with daemon.client() as host:
            try:
                host.plug(binding())
            except VifplugError as error:
                errors.append(error)

    plugging = threading.Thread(target=plug)
    plugging.start()
    begun(world)
    daemon.kill()
    plugging.join()
    assert isinstance(errors[0], DaemonUnreachable) and "broke off" in errors[0].message
    world.on("plug")
    daemon.start()
    with daemon.client() as host:
        assert host.wait(ID, "unplugged", 20).state == "unplugged"
        assert host.plug(binding()).changed


def test_a_client_outlives_a_restart_of_the_daemon(daemon: Served, host: Client) -> None:
    host.plug(binding())
    daemon.stop()
    with pytest.raises(DaemonUnreachable, match="does not run"):
        host.list()
    daemon.start()
    assert [record.id for record in host.list()] == [ID]


# --- events --------------------------------------------------------------------------------------


def _until(events: Iterator[Any], kind: str) -> list[Any]:
    found = []
    for event in events:
        found.append(event)
        if event.kind == kind:
            return found
    raise AssertionError(f"no {kind} among {found}")


def test_events_are_followed_from_the_call_on_and_since_a_number(host: Client) -> None:
    news = host.events()
    host.plug(binding())
    told = _until(news, "plugged")
    assert [event.kind for event in told if event.kind in ("call", "plugged")] == ["call", "plugged"]
    assert told[-1].vif_id == ID and told[-1].data.generation == 1 and told[0].data.script == "recorder"
    host.unplug(ID)
    _until(news, "unplugged")
    later = _until(host.events(after=told[0].number), "unplugged")
    assert [event.number for event in later] == list(range(told[0].number + 1, later[-1].number + 1))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_events_go_on_over_a_restart_and_none_of_the_new_daemons_is_missed(
    daemon: Served, host: Client, end: str
) -> None:
    news = host.events()
    host.plug(binding())
    _until(news, "plugged")
    getattr(daemon, end)()
    daemon.start()
    with daemon.client() as other:
        other.plug(binding(1))
    told = [event.kind for event in _until(news, "plugged")]
    assert "started" in told and told.index("started") < told.index("plugged")
    news.close()


def test_closing_the_client_ends_its_streams(daemon: Served) -> None:
    host = daemon.client()
    news = host.events()
    ended: list[Any] = []
    reader = threading.Thread(target=lambda: ended.extend(news))
    reader.start()
    host.close()
    reader.join(10)
    assert not reader.is_alive()


def test_a_daemon_that_stays_away_ends_the_stream_with_its_error(daemon: Served) -> None:
    with daemon.client(timeout=0.3) as host:
        news = host.events()
        daemon.stop()
        with pytest.raises(DaemonUnreachable, match="does not run"):
            for _ in news:
                pass


def test_a_stream_that_nobody_reads_any_more_is_closed(daemon: Served) -> None:
    with daemon.client() as host:
        for _ in range(3):
            host.events()
        assert host.health().status == "ok"
