"""Plug and unplug: the main path, again and again, and what fails on it."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from vifplug.config import Deadlines
from vifplug.errors import (
    BadDetails,
    BadReply,
    DeviceTaken,
    InvalidInput,
    NotPlugged,
    ScriptFailed,
    ScriptNotFound,
    ScriptNotTrusted,
    TimedOut,
    VifplugError,
)
from vifplug.host import State, Step
from world import ID, TAP, World, binding, links


def nothing_left(world: World) -> bool:
    return not links() and not world.ports() and not world.host().list()


def test_a_vif_is_plugged_by_its_script_and_unplugged(world: World) -> None:
    host = world.host()
    plugged = host.plug(binding(mtu=1400))
    assert plugged.changed
    assert plugged.generation == 1
    assert f'<target dev="{TAP}" managed="no"' in plugged.xml
    link = links()[TAP]
    assert (link.up, link.mtu, link.address) == (True, 1400, "fe:16:3e:00:00:00")
    assert world.ports() == {ID}
    assert [(r.id, r.state, r.device) for r in host.list()] == [(ID, State.PLUGGED, TAP)]
    assert host.xml(ID) == plugged.xml
    unplugged = host.unplug(ID)
    assert unplugged.changed
    assert (unplugged.generation, unplugged.notes) == (1, [])
    assert nothing_left(world)
    assert world.asked() == ["plug", "unplug"]


def test_the_script_is_told_what_the_contract_says(world: World) -> None:
    host = world.host()
    host.plug(binding(mtu=1400, vif_details={"tag": 7}))
    host.unplug(ID)
    plug, unplug = world.requests()
    assert (plug["verb"], plug["generation"], plug["attempt"], plug["previous"]) == ("plug", 1, 1, None)
    assert plug["vif"]["details"] == {"tag": 7}
    assert plug["host"]["boot_id"] == host.boot_id
    assert (unplug["verb"], unplug["generation"]) == ("unplug", 1)
    assert unplug["vif"] == plug["vif"]


def test_the_same_request_again_gives_the_same_result_and_calls_nothing(world: World) -> None:
    host = world.host()
    first = host.plug(binding())
    before = links()
    for _ in range(3):
        again = world.host().plug(binding())
        assert (again.changed, again.generation, again.xml, again.vif) == (False, 1, first.xml, first.vif)
    assert links() == before
    assert world.asked() == ["plug"]


def test_plugged_again_it_needs_no_script_but_a_refresh_calls_it(world: World) -> None:
    host = world.host()
    host.plug(binding())
    again = host.plug(binding(), refresh=True)
    assert (again.changed, again.generation) == (True, 1)
    assert world.asked() == ["plug", "plug"]
    (world.scripts / "recorder").unlink()
    assert not host.plug(binding()).changed


@pytest.mark.parametrize("damage", ["link delete {}", "link set {} mtu 1300", "link set {} down"])
def test_what_the_kernel_lost_is_mended_by_plugging_again(world: World, damage: str) -> None:
    host = world.host()
    first = host.plug(binding(mtu=1400))
    subprocess.run(["ip", *damage.format(TAP).split()], check=True)
    assert not host.check(ID).ok
    again = host.plug(binding(mtu=1400))
    assert (again.changed, again.generation) == (True, first.generation)
    assert host.check(ID).ok
    assert (links()[TAP].mtu, links()[TAP].up) == (1400, True)


def test_unplug_again_or_of_the_unknown_is_fine(world: World) -> None:
    host = world.host()
    assert not host.unplug(ID).changed
    host.plug(binding())
    host.unplug(ID)
    assert not host.unplug(ID).changed
    assert world.asked() == ["plug", "unplug"]


def test_a_late_unplug_of_an_older_plug_does_not_touch_the_newer(world: World) -> None:
    host = world.host()
    old = host.plug(binding()).generation
    host.unplug(ID)
    new = host.plug(binding()).generation
    assert new > old
    assert not host.unplug(ID, generation=old).changed
    assert host.check(ID).ok
    assert world.ports() == {ID}
    assert host.unplug(ID, generation=new).changed


@pytest.mark.parametrize(
    ("status", "error"), [(1, ScriptFailed), (65, BadDetails)], ids=["failed", "bad details"]
)
def test_a_plug_that_fails_is_undone(world: World, status: int, error: type[VifplugError]) -> None:
    world.on("plug", do="touch @/port-$VIF_ID".replace("@", str(world.backend)), status=status)
    with pytest.raises(error, match="the backend said no"):
        world.host().plug(binding())
    assert world.asked() == ["plug", "unplug"]
    assert nothing_left(world)
    assert [call.outcome for call in world.host().calls(ID)] == [error.code, "done"]


def test_a_plug_whose_undoing_fails_too_is_a_debt_that_is_said_and_paid_later(world: World) -> None:
    world.on("plug", do=f"touch {world.backend}/port-$VIF_ID", status=1)
    world.on("unplug", status=69)
    host = world.host()
    with pytest.raises(ScriptFailed, match="undoing it failed too .*the backend said no"):
        host.plug(binding())
    record = host.show(ID)
    assert (record.state, record.attempts) == (State.DEBT, 1)
    assert record.error is not None
    assert record.error["code"] == "backend_unavailable"
    assert links() == {}
    assert list(host.gc().owing) == [ID]
    assert host.show(ID).attempts == 2
    world.on("unplug")
    assert host.gc().paid == [ID]
    assert nothing_left(world)


@pytest.mark.parametrize(
    "details",
    [{"a_b": 1, "a-b": 2}, {"note": "two\nlines"}, {"bridge": "br\n0"}],
    ids=["one name for two", "a new line", "a new line in the bridge"],
)
def test_details_that_no_script_can_be_given_are_refused_before_anything_is_touched(
    world: World, details: dict[str, object]
) -> None:
    steps: list[Step] = []
    with pytest.raises(InvalidInput, match=r"^vif_details") as refused:
        world.host(on_step=steps.append).plug(binding(vif_details=details))
    assert refused.value.context["field"].startswith("vif_details.")
    assert steps == []
    assert world.asked() == []
    assert nothing_left(world)


def test_a_script_that_cannot_be_started_owes_nothing(world: World) -> None:
    world.script("broken", "#!/nope\n")
    with pytest.raises(ScriptFailed, match="its interpreter '/nope'.*is not on this host$"):
        world.host().plug(binding(script="broken"))
    assert nothing_left(world)


def test_a_hung_plug_is_killed_and_undone_within_its_own_new_deadline(world: World) -> None:
    world.on("plug", do=f"touch {world.backend}/port-$VIF_ID; sleep 1000")
    with pytest.raises(TimedOut, match=r"not done after 0\.3 seconds"):
        world.host().plug(binding(), seconds=0.3)
    assert world.asked() == ["plug", "unplug"]
    assert world.requests()[1]["deadline"] > 20
    assert nothing_left(world)


def test_an_answer_that_the_type_does_not_allow_is_refused_and_undone(world: World) -> None:
    world.on("plug", do="""echo '{"vif": {"path": "/run/x.sock"}}'""")
    with pytest.raises(BadReply, match="path"):
        world.host().plug(binding())
    assert world.asked() == ["plug", "unplug"]
    assert nothing_left(world)


def test_an_answer_is_folded_in_and_told_to_the_next_verb(world: World) -> None:
    world.on("plug", do="""echo '{"vif": {"mtu": 1342}}'""")
    host = world.host()
    plugged = host.plug(binding())
    assert plugged.vif.mtu == 1342
    assert '<mtu size="1342"' in plugged.xml
    assert links()[TAP].mtu == 1342
    assert not host.plug(binding()).changed
    host.unplug(ID)
    assert world.requests()[1]["previous"] == {"vif": {"mtu": 1342}}


def test_a_name_taken_by_somebody_else_changes_nothing(world: World) -> None:
    subprocess.run(["ip", "link", "add", TAP, "type", "bridge"], check=True)
    with pytest.raises(DeviceTaken, match=f"{TAP} is taken: a bridge") as taken:
        world.host().plug(binding())
    assert "delete" not in taken.value.message  # of a bridge that may be the host's own
    assert world.asked() == []
    assert list(links()) == [TAP]
    assert world.host().list() == []


def test_a_name_taken_by_another_vif_changes_nothing(world: World) -> None:
    host = world.host()
    host.plug(binding(1, devname="tapx"))
    with pytest.raises(DeviceTaken, match="tapx is taken by VIF 00000001-"):
        host.plug(binding(2, devname="tapx"))
    assert len(host.list()) == 1
    assert world.asked() == ["plug"]


@pytest.mark.parametrize(
    ("name", "error"),
    [("nosuch", ScriptNotFound), ("/bin/sh", ScriptNotTrusted), ("writable", ScriptNotTrusted)],
)
def test_what_is_not_trusted_does_not_run(world: World, name: str, error: type[VifplugError]) -> None:
    world.script("writable", f"#!/bin/sh\ntouch {world.folder}/ran\n").chmod(0o777)
    with pytest.raises(error):
        world.host().plug(binding(script=name))
    assert not (world.folder / "ran").exists()
    assert nothing_left(world)


def test_a_vif_that_no_guest_could_be_shown_is_refused_before_anything(world: World) -> None:
    steps: list[Step] = []
    with pytest.raises(InvalidInput, match="path"):
        world.host(on_step=steps.append).plug(
            {"id": ID, "vif_type": "vhostuser", "vif_details": {}, "address": "fa:16:3e:00:00:01"}
        )
    assert steps == []


def test_a_type_that_the_script_does_not_serve_is_refused_before_anything(world: World) -> None:
    world.info(vif_types=["bridge"])
    with pytest.raises(InvalidInput, match="recorder takes bridge, not ethernet"):
        world.host().plug(binding())
    assert world.asked() == []


def test_a_script_of_another_protocol_is_refused_before_anything(world: World) -> None:
    world.info(protocols=[2])
    with pytest.raises(VifplugError, match="speaks protocol 2; this host speaks 1"):
        world.host().plug(binding())
    assert world.asked() == []


def test_a_script_too_slow_to_say_its_info_is_asked_again_by_the_next_process(world: World) -> None:
    world.info(verbs=["plug", "unplug", "check"])
    text = (world.scripts / "recorder").read_text()
    slow = world.backend / "slow"
    world.script(
        "recorder",
        text.replace("#!/bin/sh\n", f'#!/bin/sh\n[ "$1-$(cat {slow})" = info-yes ] && sleep 1000\n'),
    )
    world.config = structs.replace(world.config, deadlines=Deadlines(info=0.2, grace=0.1))
    slow.write_text("yes")
    host = world.host()
    host.plug(binding())
    assert host.check(ID).script == "no check"
    slow.write_text("no")
    assert world.host().check(ID).script == "asked"


def test_a_script_that_is_slow_to_say_its_info_delays_no_other(world: World) -> None:
    world.info(verbs=["plug", "unplug", "check"])
    asked, released = world.folder / "asked", world.folder / "released"
    for path in (asked, released):
        os.mkfifo(path)
    text = (world.scripts / "recorder").read_text()
    waits = f'#!/bin/sh\n[ "$1" = info ] && echo > {asked} && read line < {released}\n'
    world.script("slow", text.replace("#!/bin/sh\n", waits))
    pipe = os.open(released, os.O_RDWR)
    host = world.host()
    slow = threading.Thread(target=host.plug, args=[binding(1, script="slow")])
    slow.start()
    asked.read_text()
    host.plug(binding(2))
    os.write(pipe, b"go\n")
    slow.join()
    os.close(pipe)
    assert host.check(str(binding(1)["id"])).script == "asked"  # its info came within its deadline


def test_info_is_asked_once_per_digest(world: World) -> None:
    world.info()
    count = world.folder / "count"
    text = (world.scripts / "recorder").read_text()
    world.script(
        "recorder", text.replace("#!/bin/sh\n", f'#!/bin/sh\n[ "$1" = info ] && echo x >> {count}\n')
    )
    for number in range(1, 4):
        world.host().plug(binding(number))
    assert count.read_text() == "x\n"
    world.script("recorder", (world.scripts / "recorder").read_text() + "# new\n")
    world.host().plug(binding(4))
    assert count.read_text() == "x\nx\n"


def test_a_tap_without_a_script_is_just_a_tap(world: World) -> None:
    host = world.host()
    plugged = host.plug(binding(script=None))
    assert plugged.vif.devname == TAP
    assert list(links()) == [TAP]
    host.unplug(ID)
    assert nothing_left(world)


@pytest.mark.parametrize("maker", ["libvirt", "script"])
def test_who_makes_the_device_is_said_and_kept_to(world: World, maker: str) -> None:
    if maker == "script":
        world.on("plug", do="ip tuntap add $VIF_DEVNAME mode tap")
        world.on("unplug", do="ip link delete $VIF_DEVNAME")
    host = world.host()
    host.plug(binding(vif_details={"made_by": maker}))
    assert list(links()) == ([TAP] if maker == "script" else [])
    assert host.show(ID).device is None
    host.unplug(ID)
    assert nothing_left(world)


def test_unplug_works_when_the_script_is_gone(world: World) -> None:
    host = world.host()
    host.plug(binding())
    text = (world.scripts / "recorder").read_text()
    (world.scripts / "recorder").unlink()
    unplugged = host.unplug(ID)
    assert unplugged.changed
    assert "recorder" in unplugged.notes[0]
    assert "on record" in unplugged.notes[0]
    assert links() == {}
    assert host.show(ID).state is State.DEBT
    world.script("recorder", text)
    assert host.gc().paid == [ID]
    assert nothing_left(world)


def test_unplug_uses_the_recorded_request_not_todays_configuration(world: World) -> None:
    import msgspec

    from vifplug.config import ScriptSettings

    config = world.config
    world.config = msgspec.structs.replace(
        config, script={"recorder": ScriptSettings(details={"zone": "old"})}
    )
    world.host().plug(binding())
    world.config = msgspec.structs.replace(
        config, script={"recorder": ScriptSettings(details={"zone": "new"})}
    )
    world.host().unplug(ID)
    assert [request["vif"]["details"] for request in world.requests()] == [{"zone": "old"}, {"zone": "old"}]


def test_an_unplug_that_fails_removes_the_device_and_keeps_the_debt(world: World) -> None:
    host = world.host()
    host.plug(binding())
    world.on("unplug", status=1)
    with pytest.raises(ScriptFailed, match="the backend said no.*on record"):
        host.unplug(ID)
    assert links() == {}
    assert host.show(ID).state is State.DEBT
    world.on("unplug")
    assert host.unplug(ID).changed
    assert nothing_left(world)


def test_a_debt_does_not_block_a_new_plug_which_takes_it_over(world: World) -> None:
    host = world.host()
    host.plug(binding())
    world.on("unplug", status=1)
    with pytest.raises(ScriptFailed):
        host.unplug(ID)
    host.plug(binding())
    assert [record.state for record in host.list()] == [State.PLUGGED]
    assert host.gc().owing == {}
    assert host.check(ID).ok
    world.on("unplug")
    host.unplug(ID)
    assert nothing_left(world)


def test_another_scripts_debt_is_paid_without_touching_the_new_plug(world: World) -> None:
    host = world.host()
    host.plug(binding())
    world.on("unplug", status=1)
    with pytest.raises(ScriptFailed):
        host.unplug(ID)
    host.plug(binding(script=None))
    assert [record.state for record in host.list()] == [State.DEBT, State.PLUGGED]
    world.on("unplug")
    assert host.gc().paid == [ID]
    assert host.check(ID).ok
    assert world.ports() == set()
    assert list(links()) == [TAP]


def test_a_stuck_script_delays_only_its_own_vif(world: World) -> None:
    fifo = world.backend / "fifo"
    os.mkfifo(fifo)
    world.on("plug", do=f'[ "$VIF_ID" = {ID} ] && read x < {fifo}')
    host = world.host()
    stuck = threading.Thread(target=host.plug, args=(binding(),))
    stuck.start()
    for number in range(1, 6):
        host.plug(binding(number))
    assert [r.state for r in host.list() if r.id == ID] == [State.PLUGGING]
    for number in range(1, 6):
        host.unplug(binding(number)["id"])
    with fifo.open("w") as release:
        release.write("\n")
    stuck.join(10)
    assert host.show(ID).state is State.PLUGGED


def test_the_log_of_a_call_says_what_it_printed_and_how_it_ended(world: World) -> None:
    world.on("plug", do="echo hello from the script >&2")
    host = world.host()
    host.plug(binding())
    host.unplug(ID)
    plug, unplug = host.calls(ID)
    assert (plug.verb, plug.outcome, plug.exit_status, plug.stderr) == (
        "plug",
        "done",
        0,
        "hello from the script\n",
    )
    assert unplug.verb == "unplug"
    assert plug.seconds > 0
    assert plug.traceparent.startswith("00-")


def test_retry_later_is_tried_again_within_the_deadline_and_logged(world: World) -> None:
    world.on(
        "plug",
        do=f'[ -f {world.backend}/again ] || {{ touch {world.backend}/again; echo \'{{"error": {{"code": "retry_later",'
        ' "message": "soon", "retry_after": 0.01}}}}\'; exit 75; }',
    )
    host = world.host()
    host.plug(binding())
    assert [(call.attempt, call.outcome) for call in host.calls(ID)] == [(1, "retry_later"), (2, "done")]
    assert [request["attempt"] for request in world.requests()] == [1, 2]


def test_named_locks_of_a_script_keep_its_verbs_apart(world: World) -> None:
    world.info(locks=["shared.{zone}"])
    inside = world.backend / "inside"
    world.on("plug", do=f"mkdir {inside} || exit 1; sleep 0.02; rmdir {inside}")
    answers = world.host().plug_all([binding(number, vif_details={"zone": "a"}) for number in range(1, 9)])
    assert [answer for answer in answers if isinstance(answer, VifplugError)] == []


def test_without_named_locks_they_do_run_side_by_side(world: World) -> None:
    """Eight scripts that all wait for each other: they end only if all run at once."""
    world.info(locks=["shared.{zone}"])
    world.on(
        "plug",
        do=f"touch {world.backend}/here-$VIF_ID; while [ $(ls {world.backend} | grep -c here-) -lt 8 ]; do :; done",
    )
    answers = world.host().plug_all([binding(number) for number in range(1, 9)])
    assert [answer for answer in answers if isinstance(answer, VifplugError)] == []


def test_many_are_plugged_and_unplugged_each_with_its_own_outcome(world: World) -> None:
    bad = binding(3)["id"]
    world.on("plug", do=f'[ "$VIF_ID" = {bad} ] && exit 65')
    host = world.host()
    done: list[object] = []
    answers = host.plug_all([binding(number) for number in range(1, 21)], on_done=done.append)
    assert len(done) == 20
    assert [i for i, answer in enumerate(answers) if isinstance(answer, VifplugError)] == [2]
    assert len(links()) == 19
    unplugged = host.unplug_all()
    assert len(unplugged) == 19
    assert all(not isinstance(answer, VifplugError) for answer in unplugged)
    assert nothing_left(world)


def test_show_of_the_unknown_says_where_to_look(world: World) -> None:
    for ask in (world.host().show, world.host().xml, world.host().calls, world.host().check):
        with pytest.raises(NotPlugged, match=f"VIF {ID} is not on record.*vifplug list"):
            ask(ID)


def test_the_steps_are_told_as_they_happen(world: World) -> None:
    steps: list[Step] = []
    host = world.host(on_step=steps.append)
    host.plug(binding())
    host.unplug(ID)
    ended = [step.name for step in steps if step.phase == "end"]
    assert ended == [
        "intent", "device", "script plug", "reply", "verify", "guest XML", "outcome",
        "intent", "script unplug", "remove device", "outcome",
    ]  # fmt: skip
    assert all(step.seconds >= 0 and step.vif_id == ID for step in steps)


def test_the_intent_is_on_disk_before_the_device_and_the_device_before_the_script(
    world: World, tmp_path: Path
) -> None:
    seen: list[tuple[str, State | None, bool]] = []

    def look(step: Step) -> None:
        if step.phase == "begin":
            records = world.host().list()
            seen.append((step.name, records[0].state if records else None, TAP in links()))

    world.host(on_step=look).plug(binding())
    assert seen[:3] == [
        ("intent", None, False), ("device", State.PLUGGING, False), ("script plug", State.PLUGGING, True),
    ]  # fmt: skip


def test_mending_that_fails_leaves_the_vif_and_says_it_once(world: World) -> None:
    host = world.host()
    host.plug(binding(mtu=1400))
    subprocess.run(["ip", "link", "set", TAP, "mtu", "1300"], check=True)
    world.on("plug", status=69)
    with pytest.raises(VifplugError, match=r"the backend said no$"):
        host.plug(binding(mtu=1400))
    assert world.asked() == ["plug", "plug"]
    assert host.show(ID).state is State.PLUGGED
    assert links()[TAP].mtu == 1400


@pytest.fixture
def few_files() -> Iterator[None]:
    """A process that may have few files open, as under ulimit -n."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 110, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
@pytest.mark.parametrize("script", ["recorder", None], ids=["with a script", "without"])
def test_many_take_no_more_files_than_the_process_may_open(world: World, script: str | None) -> None:
    world.on("plug", do="sleep 0.2")  # so that they are at work at the same time
    host = world.host()
    bindings = [binding(number, script=script) for number in range(1, 61)]
    assert [answer for answer in host.plug_all(bindings) if isinstance(answer, VifplugError)] == []
    assert [answer for answer in host.unplug_all() if isinstance(answer, VifplugError)] == []
    assert nothing_left(world)
