"""A log line is one line, says what belongs to it, and gives nothing away."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vifplug.daemon import logs
from vifplug.errors import BadDetails, InvalidInput, ScriptFailed

log = logging.getLogger("vifplug.tests")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("vifplug")
    before = (root.handlers[:], root.level, ours.level, logging.raiseExceptions)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.raiseExceptions = before[3]


def said(form: Any = "json", **options: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.setup(form, stream=stream, **options)
    return stream


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_is_one_json_object() -> None:
    stream = said()
    log.info(
        "plugged %s", "a tap", extra=logs.fields(vif_id="4c1b", seconds=0.25, changed=True, generation=None)
    )
    found = only(stream)
    moment = datetime.fromisoformat(found.pop("time"))
    assert moment.utcoffset() is not None
    assert found == {
        "level": "info", "logger": "vifplug.tests", "message": "plugged a tap",
        "vif_id": "4c1b", "seconds": 0.25, "changed": True, "generation": None,
    }  # fmt: skip


def test_the_time_is_utc_as_rfc_3339_writes_it() -> None:
    stream = said()
    log.info("now")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", only(stream)["time"])


def test_what_is_said_in_a_verb_carries_its_id() -> None:
    stream = said()
    with logs.about(verb_id="00f067aa0ba902b7", verb="plug"):
        log.info("one")
        with logs.about(vif_id="4c1b"):
            log.info("two", extra=logs.fields(verb="unplug"))
    log.info("three")
    one, two, three = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (one["verb_id"], one["verb"]) == ("00f067aa0ba902b7", "plug")
    assert (two["verb_id"], two["verb"], two["vif_id"]) == ("00f067aa0ba902b7", "unplug", "4c1b")
    assert "verb_id" not in three


def test_as_text_a_line_is_for_people() -> None:
    stream = said("text")
    error = {"code": "failed", "message": "no such bridge"}
    log.warning("it failed", extra=logs.fields(vif_id="4c1b", error=error, seconds=None))
    assert re.fullmatch(
        r'\S+Z warning  vifplug\.tests: it failed vif_id=4c1b error\.code=failed error\.message="no such bridge"\n',
        stream.getvalue(),
    )


@pytest.mark.parametrize("form", ["json", "text"])
@settings(deadline=None)
@given(text=st.text())
def test_whatever_a_script_printed_stays_on_its_line(form: Any, text: str) -> None:
    stream = said(form)
    log.error("said: %s", text, extra=logs.fields(stderr_end=text, parts=[text], by={text: text}))
    line = stream.getvalue()
    assert line.endswith("\n")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800-\udfff]", line)
    assert line.count("\n") == 1
    if form == "json":
        assert json.loads(line)["stderr_end"] == text
    line.encode()


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=50,
    )
)
def test_any_value_can_be_logged(value: Any) -> None:
    stream = said()
    log.info("value", extra=logs.fields(value=value))
    assert "value" in json.loads(stream.getvalue(), parse_constant=pytest.fail)


def test_a_long_field_is_cut_and_says_so() -> None:
    stream = said()
    log.info("long", extra=logs.fields(text="x" * 100_000, many=list(range(1000))))
    found = only(stream)
    assert found["text"] == "x" * 2048 + "… 97952 more"
    assert found["many"] == [*range(32), "… 968 more"]


@settings(deadline=None, max_examples=40)
@given(st.integers(min_value=0, max_value=40), st.sampled_from(["x", "\x00", "\ud800", "é", "\u202e"]))
def test_no_line_is_longer_than_the_journal_takes(fields: int, character: str) -> None:
    stream = said()
    log.info(character * 5000, extra=logs.fields(**{f"f{n}": character * 5000 for n in range(fields)}))
    assert len(stream.getvalue()) <= 16384 + 1
    assert json.loads(stream.getvalue())["level"] == "info"


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("name", ["details", "vif_details", "environment", "profile", "request", "reply"])
def test_what_may_be_a_secret_is_not_logged(form: Any, name: str) -> None:
    stream = said(form)
    with logs.about(**{name: {"password": "hunter2"}}):
        log.info("in a verb")
    log.info("a field", extra=logs.fields(**{name: "hunter2", "vif": {name: {"a": "hunter2"}}}))
    assert "hunter2" not in stream.getvalue()
    assert "(not logged)" in stream.getvalue()


def test_an_error_that_quotes_a_detail_is_logged_by_its_code_and_field() -> None:
    for error in (
        InvalidInput("vif_details.key: 'hunter2' is no key", field="vif_details.key", value="hunter2"),
        BadDetails("plug script s: vif_details.key may not be 'hunter2'", script="s", verb="plug"),
    ):
        stream = said()
        log.warning("failed", extra=logs.fields(**logs.error_fields(error.as_dict())))
        assert "hunter2" not in stream.getvalue()
        assert only(stream)["error"]["code"] == error.code
    told = logs.error_fields(ScriptFailed("plug script s: no such bridge", script="s", seconds=1).as_dict())
    assert told == {"error": {"code": "failed", "message": "plug script s: no such bridge", "script": "s"}}


def test_a_bug_is_logged_with_its_traceback_on_the_same_line() -> None:
    stream = said()
    try:
        int("this\nand that")
    except ValueError:
        log.exception("a bug")
    assert "\nValueError: invalid literal" in only(stream)["traceback"]


def test_others_are_heard_from_warnings_on_and_debug_is_for_who_asks() -> None:
    stream = said()
    log.debug("not this")
    logging.getLogger("urllib3").info("nor this")
    logging.getLogger("urllib3").warning("but this")
    assert only(stream)["message"] == "but this"
    stream = said(debug=True)
    log.debug("this now")
    assert only(stream)["message"] == "this now"


def test_under_systemd_each_line_begins_with_its_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        logs.setup("text", debug=True, stream=stream)
        for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG):
            log.log(level, "said")
        stream.seek(0)
        assert [line[:3] for line in stream] == ["<2>", "<3>", "<4>", "<6>", "<7>"]


def test_where_standard_error_is_no_longer_the_journal_there_is_no_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:123456")
    with (tmp_path / "file").open("w+") as stream:
        logs.setup("text", stream=stream)
        log.info("said")
        stream.seek(0)
        assert stream.read(1) != "<"
