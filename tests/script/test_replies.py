"""What a script answers is untrusted: it fits the verb, or the error says what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.errors import BadReply, RetryLater, ScriptFailed
from vifplug.script.contract import Verb
from vifplug.script.replies import failure, parse_reply


@pytest.mark.parametrize("verb", ["plug", "unplug", "update", "activate"])
@pytest.mark.parametrize("stdout", [b"", b"\n", b" \t\r\n", b"{}", b" {}\n"])
def test_nothing_is_a_reply(verb: str, stdout: bytes) -> None:
    assert parse_reply(verb, stdout) == {}


@pytest.mark.parametrize("verb", ["plug", "update"])
def test_plug_and_update_may_answer_fields_of_the_vif(verb: str) -> None:
    assert parse_reply(verb, b'{"vif": {"path": "/run/x", "mtu": 1400}}') == {
        "vif": {"path": "/run/x", "mtu": 1400}
    }


def test_check_says_ok_or_what_drifted() -> None:
    assert parse_reply("check", b"") == {"ok": True}
    drift = b'{"ok": false, "drift": [{"what": "tag", "expected": 5, "found": null}]}'
    assert parse_reply("check", drift)["drift"] == [{"what": "tag", "expected": 5, "found": None}]


@pytest.mark.parametrize(
    ("verb", "stdout", "words"),
    [
        ("plug", b"hello", "not one JSON object"),
        ("plug", b"{} {}", "not one JSON object"),
        ("plug", b"{}\nplugged\n", "not one JSON object"),
        ("plug", b"[1]", "not an object"),
        ("plug", b"null", "not an object"),
        ("plug", b'"\xff"', "not one JSON object"),
        ("plug", b"[" * 100_000, "not one JSON object"),
        ("plug", b'{"vif": 5}', "$.vif"),
        ("plug", b'{"mtu": 1400}', "mtu"),
        ("plug", b'{"vif": {}, "note": "x"}', "note"),
        ("unplug", b'{"vif": {"mtu": 5}}', "vif"),
        ("activate", b'{"ok": true}', "ok"),
        ("check", b"{}", "ok"),
        ("check", b'{"ok": "yes"}', "$.ok"),
        ("check", b'{"ok": false}', "must be true without drift, or false with what drifted"),
        ("check", b'{"ok": true, "drift": [{"what": "x"}]}', "must be true without drift"),
        ("check", b'{"ok": false, "drift": [{}]}', "what"),
        ("info", b"", "nothing to info"),
        ("info", b'{"name": 5}', "$.name"),
    ],
)
def test_any_other_answer_is_refused_with_what_is_wrong(verb: str, stdout: bytes, words: str) -> None:
    with pytest.raises(BadReply) as caught:
        parse_reply(verb, stdout)
    assert words in caught.value.message


@given(stdout=st.binary(), verb=st.sampled_from(list(Verb)))
def test_any_bytes_are_a_reply_or_a_bad_one(stdout: bytes, verb: Verb) -> None:
    try:
        assert isinstance(parse_reply(verb, stdout), dict)
    except BadReply as error:
        assert error.message.isprintable()


def test_an_unknown_code_is_a_plain_failure_that_keeps_it() -> None:
    error = failure("plug", 75, b'{"error": {"code": "on_fire", "message": "hot"}}', "")
    assert type(error) is ScriptFailed
    assert error.context["script_code"] == "on_fire"
    assert error.message == "plug ended with exit status 75: hot"


def test_a_code_alone_is_explained_by_the_last_words() -> None:
    error = failure("plug", 1, b'{"error": {"code": "retry_later"}}', "one\n\ntwo\n")
    assert isinstance(error, RetryLater)
    assert error.message.endswith(": one | two")


def test_of_a_long_log_the_last_five_lines_are_told() -> None:
    error = failure("plug", 1, b"", "".join(f"line{number}\n" for number in range(100)))
    assert error.message.endswith(": line95 | line96 | line97 | line98 | line99")


def test_a_message_is_bounded_and_safe_to_print() -> None:
    message = failure(
        "plug", 1, b'{"error": {"message": "\\u001b[2Jx\\u202e' + b"y" * 5000 + b'"}}', ""
    ).message
    assert message.isprintable()
    assert "\\x1b[2Jx\\u202e" in message
    assert len(message) < 1100


@pytest.mark.parametrize("value", [b"-1", b"1e999", b'"5"', b"true", b"null", b"[]", b"1" * 400])
def test_a_retry_after_that_is_no_number_of_seconds_is_ignored(value: bytes) -> None:
    assert "retry_after" not in failure("plug", 75, b'{"error": {"retry_after": ' + value + b"}}", "").context
