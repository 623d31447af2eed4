"""`vifplug top`: the picture is true and fits, and the terminal is afterwards what it was."""

from __future__ import annotations

import os
import re
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_shell import COMMAND, Shell
from terminal import Terminal
from vifplug.cli._picture import brief, painted, picture, span
from watched import Watched
from world import World, binding

# --- the picture ---------------------------------------------------------------------------------


def a_script(
    name: str = "recorder", verb: str = "plug", calls: int = 3, failures: int = 0, **times: float
) -> Any:
    times = {"p50": 0.003, "p95": 0.01, "p99": 0.1, **times}
    return SimpleNamespace(script=name, verb=verb, calls=calls, failures=failures, **times)


def running(**facts: Any) -> Any:
    return SimpleNamespace(**{
        "vif_id": "4c1b1b0a-7d5e", "verb": "plug", "since": 997.5, "waiting": False, "step": "script plug",
        "script": "recorder", **facts,
    })  # fmt: skip


def a_status(**facts: Any) -> Any:
    return SimpleNamespace(**{
        "hostname": "compute-7", "version": "0.1.0", "now": 1000.0, "started": 900.0, "vifs": [], "debts": 0,
        "running": [], "queue": SimpleNamespace(at_work=0, rejected={}), "connections": 1, "calls": [], "events": 0,
        **facts,
    })  # fmt: skip


def an_event(kind: str = "plugged", vif_id: str | None = "4c1b1b0a", **data: Any) -> Any:
    return SimpleNamespace(kind=kind, vif_id=vif_id, time=999.0, data=data)


def shown(*args: Any, width: int = 80, **keywords: Any) -> list[str]:
    return [painted(line, width, colours=False) for line in picture(*args, width=width, **keywords)]


def test_the_head_counts_vifs_by_state_and_by_type() -> None:
    vifs = [
        SimpleNamespace(state=state, type=kind, vifs=number)
        for state, kind, number in (
            ("plugged", "ethernet", 40),
            ("plugged", "bridge", 2),
            ("debt", "ethernet", 1),
        )
    ]
    head = shown(a_status(vifs=vifs), None, [])
    assert head[0].startswith("compute-7  vifplugd 0.1.0, up 1 min")
    assert head[1] == "VIFs  42 plugged  1 debt  (41 ethernet, 2 bridge)"


def test_rates_are_told_from_one_picture_to_the_next() -> None:
    before = a_status(now=998.0, calls=[a_script(calls=10)])
    now = a_status(calls=[a_script(calls=25)])
    assert " 7.5 calls/s" in "\n".join(shown(now, before, []))
    # of a daemon that was started anew nothing is known from before
    again = a_status(started=999.0, calls=[a_script(calls=5)])
    assert " 5.0 calls/s" in "\n".join(shown(again, before, []))
    assert " 0.2 calls/s" in "\n".join(shown(now, None, []))


def test_what_runs_says_where_it_is_and_for_how_long() -> None:
    lines = shown(
        a_status(running=[running(), running(verb="unplug", waiting=True, step=None, script=None)]), None, []
    )
    assert "4c1b1b0a plug       2.50s  script plug          recorder" in lines
    assert "4c1b1b0a unplug     2.50s  waiting for the VIF" in lines


def test_what_runs_by_itself_has_no_verb() -> None:
    lines = shown(a_status(running=[running(verb=None, vif_id=None, script=None)]), None, [])
    assert any(re.match(r" {8} -  +2\.50s  script plug", line) for line in lines)


def test_the_areas_stay_where_they_are_while_things_come_and_go() -> None:
    events = [an_event()] * 50
    places = {
        shown(a_status(running=[running()] * number), None, events, height=40).index("EVENTS")
        for number in (0, 1, 5, 100)
    }
    assert len(places) == 1


def test_where_scripts_are_too_many_the_busiest_are_shown() -> None:
    calls = [a_script(f"script-{number:02}", calls=number) for number in range(30)]
    lines = shown(a_status(calls=calls), None, [], height=24)
    names = [line.split()[0] for line in lines if line.startswith("script-")]
    assert names == sorted(names)
    assert names[-1] == "script-29"
    assert "script-00" not in names
    assert f"… {30 - len(names)} more" in lines


def test_a_failure_stands_out() -> None:
    status = a_status(calls=[a_script(failures=4)])
    (line,) = [painted(line, 80, colours=True) for line in picture(status, None, [], width=80) if "recorder" in
               painted(line, 80, colours=False)]  # fmt: skip
    assert "\x1b[31m     4\x1b[0m" in line


def test_without_colours_there_is_no_escape() -> None:
    status = a_status(calls=[a_script(failures=4)], running=[running()])
    assert "\x1b" not in "\n".join(shown(status, None, [an_event("plug-failed", error={"message": "no"})]))


names = st.text(max_size=100)
seconds = st.floats(min_value=0, max_value=8e7)
scripts = st.builds(
    a_script,
    name=names,
    verb=names,
    calls=st.integers(min_value=0, max_value=10**9),
    failures=st.integers(min_value=0, max_value=10**6),
    p50=seconds,
    p95=seconds,
    p99=seconds,
)
works = st.builds(
    running, vif_id=st.none() | names, verb=st.none() | names, since=st.floats(min_value=0, max_value=1e4),
    waiting=st.booleans(), step=st.none() | names, script=st.none() | names,
)  # fmt: skip
values = st.none() | names | st.integers() | st.dictionaries(names, names)
events_ = st.builds(
    an_event, kind=names, vif_id=st.none() | names, error=st.dictionaries(names, names), what=values
)


@settings(max_examples=60, deadline=None)
@given(
    status=st.builds(
        a_status, hostname=names, calls=st.lists(scripts, max_size=20, unique_by=lambda one: (one.script, one.verb)),
        running=st.lists(works, max_size=20),
    ),
    events=st.lists(events_, max_size=20),
    width=st.integers(min_value=1, max_value=250),
    height=st.integers(min_value=1, max_value=80),
    notice=st.none() | names,
)  # fmt: skip
def test_it_fits_whatever_there_is_to_show(
    status: Any, events: list[Any], width: int, height: int, notice: str | None
) -> None:
    lines = shown(status, None, events, width=width, height=height, notice=notice)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "".join(lines))


@given(seconds)
def test_a_time_is_brief(moment: float) -> None:
    assert 3 <= len(brief(moment)) <= 7


def test_times_for_people() -> None:
    assert [brief(one) for one in (0, 0.0008, 0.12, 1.2, 59.94, 125, 11220)] == [
        "0.0ms", "0.8ms", "120ms", "1.20s", "59.9s", "2m05s", "3h07m",
    ]  # fmt: skip
    assert [span(one) for one in (9, 125, 11100, 352800)] == ["9 s", "2 min", "3 h 5 min", "4 d 2 h"]


# --- on a host -----------------------------------------------------------------------------------


def test_one_picture_where_there_is_no_terminal(vifplug: Shell, world: World) -> None:
    with Watched(world) as watched, watched.client() as client:
        client.plug(binding())
        once = vifplug("top", "--once")
        assert vifplug("top").out.splitlines()[1:2] == once.out.splitlines()[1:2]
    assert (once.status, once.err) == (0, "")
    assert "VIFs  1 plugged  (1 ethernet)" in once.out
    assert re.search(r"^recorder +plug +1 +0 ", once.out, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d  plugged +4c1b1b0a  ethernet in ", once.out, re.MULTILINE)


def test_as_json_it_is_what_the_daemon_says(vifplug: Shell, world: World) -> None:
    with Watched(world) as watched, watched.client() as client:
        client.plug(binding())
        said = vifplug("top", "--json").json
    assert said["vifs"] == [{"state": "plugged", "type": "ethernet", "vifs": 1}]
    assert [(one["script"], one["verb"], one["calls"]) for one in said["calls"]] == [("recorder", "plug", 1)]


@pytest.mark.parametrize(
    "args", [("top",), ("top", "--once"), ("top", "--json"), ("events",), ("events", "-f")]
)
def test_without_a_daemon_it_says_what_to_start(vifplug: Shell, args: tuple[str, ...]) -> None:
    ended = vifplug(*args)
    assert ended.status == 69
    assert "systemctl start vifplugd" in ended.err
    assert vifplug.world.config.socket_path in ended.err


def has(*words: str) -> Any:
    return lambda screen: all(word in "\n".join(screen) for word in words)


def top(*args: str, **environment: str) -> Terminal:
    return Terminal([*COMMAND, "top", "--interval", "0.1", *args], environment=environment)


def restored(terminal: Terminal) -> bool:
    return terminal.modes() == terminal.before and terminal.sent.endswith("\x1b[?7h\x1b[?25h\x1b[?1049l")


def test_it_shows_what_happens_while_it_happens(vifplug: Shell, world: World) -> None:
    os.mkfifo(world.backend / "go")
    world.on("plug", do=f"read line < {world.backend}/go")
    with Watched(world) as watched, watched.client() as client, top() as terminal:
        terminal.until(has("VIFs  0 plugged", "nothing runs"))
        import threading

        plug = threading.Thread(target=client.plug, args=(binding(),))
        plug.start()
        terminal.until(has("1 at work", "4c1b1b0a plug", "script plug"))
        (world.backend / "go").write_text("go\n")
        plug.join()
        terminal.until(has("VIFs  1 plugged", "nothing runs", "plugged         4c1b1b0a"))
        terminal.type("q")
        assert terminal.ended() == 0
        assert restored(terminal)


def test_it_follows_the_size_of_its_terminal(vifplug: Shell, world: World) -> None:
    with Watched(world), top() as terminal:
        assert len(terminal.until(has("VIFs"))) <= 24
        terminal.resize(50, 12)
        screen = terminal.until(lambda screen: max(map(len, screen)) <= 50)
        assert len(screen) <= 12
        terminal.resize(200, 50)
        terminal.until(lambda screen: max(map(len, screen)) > 80)
        terminal.type("q")
        assert terminal.ended() == 0


def test_nothing_is_cleared_before_it_is_drawn_again(vifplug: Shell, world: World) -> None:
    with Watched(world), top() as terminal:
        terminal.until(lambda _: terminal.sent.count("\x1b[?2026l") >= 3)
        terminal.type("q")
        terminal.ended()
    assert "\x1b[2J" not in terminal.sent


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_terminal_is_as_before_when_a_signal_ends_it(
    vifplug: Shell, world: World, number: int, status: int
) -> None:
    with Watched(world), top() as terminal:
        terminal.until(has("VIFs"))
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(number)
        assert terminal.ended() == status
        assert restored(terminal)


def test_stopped_by_ctrl_z_it_gives_the_terminal_back_until_it_goes_on(vifplug: Shell, world: World) -> None:
    with Watched(world), top() as terminal:
        terminal.until(has("VIFs"))
        terminal.type("\x1a")
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert terminal.modes() == terminal.before
        terminal.sent = ""
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until(has("VIFs"))
        assert "\x1b[?1049h" in terminal.sent
        terminal.type("q")
        assert terminal.ended() == 0
        assert restored(terminal)


@pytest.mark.parametrize(("environment", "colours"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_left_out_when_asked_for(
    vifplug: Shell, world: World, environment: dict[str, str], colours: bool
) -> None:
    with Watched(world), top(**environment) as terminal:
        terminal.until(has("VIFs"))
        terminal.type("q")
        terminal.ended()
    assert bool(re.search(r"\x1b\[(1|2|3\d)m", terminal.sent)) is colours


def test_it_waits_for_a_daemon_that_has_gone_and_says_so(vifplug: Shell, world: World) -> None:
    with Watched(world) as watched, top() as terminal:
        terminal.until(has("VIFs"))
        watched.stop()
        terminal.until(has("vifplugd does not run"))
        watched.start()
        terminal.until(lambda screen: has("VIFs")(screen) and not has("does not run")(screen))
        terminal.type("q")
        assert terminal.ended() == 0
