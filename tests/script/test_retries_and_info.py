"""A verb is tried again while the script asks for it and time lasts; info is asked for without risk."""

from __future__ import annotations

from pathlib import Path

import pytest

from callers import HOST, Caller, a_request
from vifplug.config import ScriptSettings
from vifplug.errors import (
    RetryLater,
)
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import Request, Verb
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Outcome, Runner


def carry_out(call: Caller, text: str, seconds: float) -> Outcome:
    call.place.write("s", text)
    config = call.config()
    seen: list[Call] = []
    outcome = Runner(config).carry_out(
        Catalogue(config).find("s"), a_request(), seconds=seconds, mark=Mark.new(), on_call=seen.append
    )
    assert seen == outcome.calls
    return outcome


def test_retry_later_is_tried_again_with_the_next_attempt_number(call: Caller, tmp_path: Path) -> None:
    again = """grep -q '"attempt":3' && { echo '{"vif": {"mtu": 1400}}'; exit 0; }
        echo '{"error": {"code": "retry_later", "message": "busy", "retry_after": 0.01}}'; exit 75"""
    outcome = carry_out(call, again, 20)
    assert [one.outcome for one in outcome.calls] == ["retry_later", "retry_later", "done"]
    assert [one.attempt for one in outcome.calls] == [1, 2, 3]
    assert outcome.reply == {"vif": {"mtu": 1400}}
    assert outcome.error is None


def test_the_deadline_of_each_attempt_is_what_is_left(call: Caller) -> None:
    outcome = carry_out(call, "cat >&2; exit 75", 0.5)
    import json

    left = [json.loads(one.stderr)["deadline"] for one in outcome.calls]
    assert left[0] == 0.5
    assert left == sorted(left, reverse=True)
    assert len(left) >= 2


def test_retries_end_with_the_deadline(call: Caller) -> None:
    outcome = carry_out(call, """echo '{"error": {"retry_after": 0.4}}'; exit 75""", 1)
    assert isinstance(outcome.error, RetryLater)
    assert outcome.reply == {}
    assert 2 <= len(outcome.calls) <= 3


def test_a_retry_after_the_deadline_is_not_waited_for(call: Caller) -> None:
    outcome = carry_out(call, """echo '{"error": {"retry_after": 3600}}'; exit 75""", 20)
    assert len(outcome.calls) == 1
    assert isinstance(outcome.error, RetryLater)


def test_an_unavailable_backend_is_tried_again_only_if_asked(call: Caller) -> None:
    assert len(carry_out(call, "exit 69", 5).calls) == 1
    asked = """echo '{"error": {"code": "backend_unavailable", "retry_after": 0.01}}'; exit 69"""
    assert len(carry_out(call, asked, 0.3).calls) > 1


def test_other_failures_are_not_tried_again(call: Caller) -> None:
    assert len(carry_out(call, "exit 1", 20).calls) == 1
    assert len(carry_out(call, "exit 65", 20).calls) == 1


def info(call: Caller, text: str, **more: bool) -> object:
    call.place.write("s", text)
    config = call.config(ScriptSettings(**more))  # type: ignore[arg-type]
    return Runner(config).info(Catalogue(config).find("s"))


def test_info_says_what_a_script_is(call: Caller) -> None:
    told = Runner(call.config()).info
    call.place.write(
        "s", 'echo \'{"name": "x", "verbs": ["plug", "unplug", "check"], "locks": ["ovsdb"], "new": 1}\''
    )
    found = told(Catalogue(call.config()).find("s"))
    assert found is not None
    assert (found.name, found.verbs, found.locks, found.protocols) == (
        "x",
        ["plug", "unplug", "check"],
        ["ovsdb"],
        [1],
    )


@pytest.mark.parametrize(
    "text",
    [
        *("exit 64", "exit 1", "kill -9 $$", ":", "echo hello", "echo '[]'", "echo '{}'"),
        *("echo '{\"name\": 1}'", 'echo \'{"name": "x", "locks": ["../../etc"]}\''),
    ],
)
def test_a_script_that_has_no_proper_info_has_none(call: Caller, text: str) -> None:
    assert info(call, text) is None


def test_a_script_that_must_not_be_asked_is_not(call: Caller, tmp_path: Path) -> None:
    ran = call.place.path / "ran"
    assert info(call, f"touch {ran}", info=False) is None
    assert not ran.exists()


def test_info_tells_a_2015_script_nothing_it_could_act_on(call: Caller) -> None:
    config = call.config()
    call.place.write("s", "env >&2; cat >&2")
    request = Request(verb=Verb.INFO, host=HOST, deadline=5)
    ended = Runner(config).call(Catalogue(config).find("s"), request, seconds=5, mark=Mark.new())
    assert "VIF_" not in ended.stderr
    assert '"vif":null' in ended.stderr
