"""Scripts written with either SDK, called by the host's own runner: confined, under a deadline, resident."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from callers import VIF, a_request
from sdk_author import Author, Script, traced
from trusted import TrustedDir
from vifplug.config import Config, ScriptSettings
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Runner


def call(script: Script, verb: str = "plug", *, seconds: float = 20.0, **more: Any) -> Call:
    config = at(script)
    found = Catalogue(config).find(script.path.name)
    return Runner(config).call(found, a_request(verb, **more), seconds=seconds, mark=Mark.new())


def at(script: Script) -> Config:
    return TrustedDir(script.path.parent).config(script={"s": ScriptSettings()})


def test_python_gets_the_whole_request_and_its_reply_reaches_the_host(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n"
        "  run('true'); log(request.vif.devname, request.host.name, 4 < request.remaining() <= request.deadline)\n"
        "  return {'mtu': request.vif.mtu - 50}"
    )
    called = call(script, seconds=5.0)

    assert called.reply == {"vif": {"mtu": 1400}}
    assert called.stderr.splitlines()[1] == f"{VIF.devname} host1 True"
    assert traced(called.stderr) == [{"run": ["true"], "exit": 0}]


def test_sh_gets_the_environment_and_its_reply_reaches_the_host(author: Author) -> None:
    called = call(author.sh('plug() { run true; log "$VIF_DEVNAME"; reply mtu $((VIF_MTU - 50)); }'))

    assert called.reply == {"vif": {"mtu": 1400}}
    assert called.stderr.splitlines()[1] == VIF.devname


@pytest.mark.parametrize("language", ["python", "sh"])
def test_an_error_of_either_is_the_hosts_error(author: Author, language: str) -> None:
    script = (
        author.python("@script.verb\ndef plug(request): raise RetryLater('the switch restarts', after=1.5)")
        if language == "python"
        else author.sh("plug() { retry_later 1.5 the switch restarts; }")
    )
    called = call(script)

    assert called.outcome == "retry_later"
    assert called.error is not None
    assert called.error.message.endswith("plug ended with exit status 75: the switch restarts")
    assert called.error.context["retry_after"] == 1.5


def test_the_words_of_a_command_that_failed_reach_the_caller_without_the_trace(author: Author) -> None:
    python = call(author.python("@script.verb\ndef plug(request): run('ip', 'link', 'show', 'nope')"))
    sh = call(author.sh("plug() { run ip link show nope; }"))

    assert python.error is not None
    assert python.error.message.endswith(
        'ip link show nope ended with exit status 1: Device "nope" does not exist.'
    )
    assert sh.error is not None
    assert sh.error.message.endswith(
        'Device "nope" does not exist. | blue: ip link show nope ended with exit status 1'
    )
    assert "#vifplug" not in python.error.message + sh.error.message


@pytest.mark.parametrize("language", ["python", "sh"])
def test_at_the_deadline_the_log_names_the_command(author: Author, language: str) -> None:
    script = (
        author.python("@script.verb\ndef plug(request): run('sleep', '1000')")
        if language == "python"
        else author.sh("plug() { run sleep 1000; }")
    )
    called = call(script, seconds=0.3)

    assert called.outcome == "timed_out"
    assert traced(called.stderr) == [{"run": ["sleep", "1000"], "exit": None}]


def test_a_host_that_sends_a_details_object_gets_it_to_sh_as_json(author: Author) -> None:
    vif = msgspec.structs.replace(VIF, details={"peers": ["10.0.0.1", "10.0.0.2"], "on": True, "tag": 5})
    script = author.sh(
        'plug() { log "$VIF_DETAILS_PEERS $VIF_DETAILS_ON $((VIF_DETAILS_TAG + 1))"; }',
        "detail peers array whom\ndetail on boolean whether\ndetail tag integer which",
    )

    assert call(script, vif=vif).stderr == '["10.0.0.1","10.0.0.2"] true 6\n'


class Marks:
    """Who remembers which processes stay up."""

    def __init__(self) -> None:
        self.up: list[Mark] = []

    def started(self, mark: Mark) -> None:
        self.up.append(mark)

    def ended(self, mark: Mark) -> None:
        self.up.remove(mark)


@pytest.fixture
def resident(author: Author) -> Iterator[tuple[Runner, Script]]:
    script = author.python(
        "import os\n@script.verb\ndef plug(request):\n"
        "  run('echo', request.vif.devname)\n"
        "  if request.attempt == 2: raise BadDetails(f'{os.getpid()}')\n"
        "  if request.attempt == 3: run('sleep', '1000')\n"
        "  if request.attempt == 4: os._exit(3)\n"
        "  return {'mtu': os.getpid()}",
        "resident=True",
    )
    runner = Runner(at(script), registry=Marks())
    yield runner, script
    runner.close()


def ask(resident: tuple[Runner, Script], *, seconds: float = 20.0, **more: Any) -> Call:
    runner, script = resident
    found = Catalogue(at(script)).find("s")
    return runner.call(found, a_request(**more), seconds=seconds, mark=Mark.new(), resident=True)


def test_a_resident_script_answers_call_after_call_from_one_process(resident: tuple[Runner, Script]) -> None:
    first, second = ask(resident), ask(resident)

    assert first.reply == second.reply
    assert first.reply is not None
    os.kill(first.reply["vif"]["mtu"], 0)  # it is up
    assert traced(first.stderr) == traced(second.stderr) == [{"run": ["echo", VIF.devname], "exit": 0}]

    refused = ask(resident, attempt=2)
    assert refused.outcome == "bad_details"
    assert refused.error is not None
    assert refused.error.message.endswith(f": {first.reply['vif']['mtu']}")  # by the same process


@pytest.mark.parametrize(("attempt", "outcome"), [(3, "timed_out"), (4, "failed")])
def test_a_resident_script_that_hangs_or_dies_costs_that_call_alone(
    resident: tuple[Runner, Script], attempt: int, outcome: str
) -> None:
    before = ask(resident)
    bad = ask(resident, attempt=attempt, seconds=0.5 if attempt == 3 else 20.0)
    after = ask(resident)

    assert bad.outcome == outcome
    assert before.outcome == after.outcome == "done"
    assert before.reply != after.reply
