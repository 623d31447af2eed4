"""What a script is given, and what keeps it from starting at all."""

from __future__ import annotations

import os

import pytest
from msgspec import structs

from callers import VIF, Caller, a_request, as_user, in_child
from vifplug.errors import (
    HostError,
    InvalidInput,
    ScriptFailed,
    ScriptNotTrusted,
)
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Runner


@pytest.mark.parametrize("text", [":", "exec 0<&-", "exec 0<&-; sleep 0.05", "head -c 1 >/dev/null"])
def test_a_large_request_that_is_not_read_harms_nobody(call: Caller, text: str) -> None:
    vif = structs.replace(VIF, details={"blob": ["x" * 1000] * 3000})
    ended = call(text, vif=vif)
    assert ended.error is None


def test_a_request_of_megabytes_arrives_whole(call: Caller) -> None:
    vif = structs.replace(VIF, details={"blob": ["x" * 1000] * 3000})
    ended = call("wc -c >&2", vif=vif)
    asked = structs.replace(a_request(vif=vif), deadline=20.0, traceparent=ended.traceparent)
    assert int(ended.stderr) == len(asked.to_json())


def not_started(call: Caller, text: str, **more: object) -> str:
    ended = call(text, **more)  # type: ignore[arg-type]
    assert isinstance(ended.error, ScriptFailed)
    assert (ended.exit_status, ended.signal, ended.outcome) == (None, None, "failed")
    return ended.error.message


def test_a_script_without_a_first_line_is_told_so(call: Caller) -> None:
    path = call.place.write("s", ":")
    path.write_text("echo hello\n")
    config = call.config()
    ended = Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=5, mark=Mark.new())
    assert ended.error is not None
    assert "#! line" in ended.error.message
    assert str(path) in ended.error.message


def test_a_missing_interpreter_is_named(call: Caller) -> None:
    assert "its interpreter '/usr/bin/python9'" in not_started(call, "#!/usr/bin/python9 -I\n")


def test_line_ends_of_another_system_are_recognised(call: Caller) -> None:
    path = call.place.write("s", ":")
    path.write_bytes(b"#!/bin/sh\r\nexit 0\r\n")
    config = call.config()
    ended = Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=5, mark=Mark.new())
    assert ended.error is not None
    assert "carriage return" in ended.error.message


def test_an_interpreter_that_may_not_be_executed_is_named(call: Caller) -> None:
    plain = call.place.path / "interpreter"
    plain.write_text("#!/bin/sh\n")
    plain.chmod(0o644)
    assert f"its interpreter '{plain}'" in not_started(call, f"#!{plain}\n")


@pytest.mark.real_root
def test_a_script_that_another_user_may_not_execute_is_told_so(call: Caller) -> None:
    call.place.write("s", ":", mode=0o744)

    def try_it() -> Call:
        config = call.config()
        return Runner(config).call(Catalogue(config).find("s"), a_request(), seconds=5, mark=Mark.new())

    ended = as_user(try_it)
    assert isinstance(ended.error, ScriptFailed)
    assert "may not be executed by this user" in ended.error.message


def test_an_environment_that_is_too_large_is_said_to_be(call: Caller) -> None:
    details = {f"key{number}": "x" * 100_000 for number in range(80)}
    message = not_started(call, ":", vif=structs.replace(VIF, details=details))
    assert "environment is too large" in message
    assert "VIF_DETAILS_KEY" in message


def test_a_process_out_of_descriptors_says_so(call: Caller) -> None:
    import resource

    call.place.write("s", ":")

    def try_it() -> Call:
        config = call.config()
        script = Catalogue(config).find("s")
        runner = Runner(config)
        runner.call(script, a_request(), seconds=5, mark=Mark.new())
        lowest = os.dup(0)
        os.close(lowest)
        # room for the walk to the script, not for its pipes
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 3, lowest + 3))
        return runner.call(script, a_request(), seconds=5, mark=Mark.new())

    ended = in_child(try_it)
    assert isinstance(ended.error, HostError)
    assert "Too many open files" in ended.error.message


def test_a_detail_that_no_environment_can_carry_starts_nothing(call: Caller) -> None:
    ended = call("echo started >&2", vif=structs.replace(VIF, details={"a": "x\x00y"}))
    assert isinstance(ended.error, InvalidInput)
    assert ended.stderr == ""


def test_trust_is_looked_at_again_for_every_call(call: Caller) -> None:
    path = call.place.write("s", "echo ran >&2")
    config = call.config()
    script = Catalogue(config).find("s")
    path.chmod(0o775)
    ended = Runner(config).call(script, a_request(), seconds=5, mark=Mark.new())
    assert isinstance(ended.error, ScriptNotTrusted)
    assert ended.stderr == ""


def test_a_script_that_changed_since_it_was_found_is_called_with_its_new_digest(call: Caller) -> None:
    path = call.place.write("s", ":")
    config = call.config()
    script = Catalogue(config).find("s")
    path.write_text("#!/bin/sh\n: new\n")
    ended = Runner(config).call(script, a_request(), seconds=5, mark=Mark.new())
    assert ended.error is None
    assert ended.digest != script.digest
