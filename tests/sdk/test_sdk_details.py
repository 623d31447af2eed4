"""Details against what a script declares of them."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plugscript
from sdk_author import Author, request

DECLARED = """details={
    "bridge": {"type": "string", "pattern": "^[a-z0-9]{1,15}$", "description": "the bridge to join"},
    "tag": {"type": "integer", "minimum": 1, "maximum": 4094, "default": 1},
    "mode": {"type": "string", "enum": ["a", "b"]},
    "peers": {"type": "array", "items": {"type": "string", "pattern": "^[0-9.]+$"}},
}, required=["bridge"]"""
SHOW = "raise Failed(repr([request.vif.details[name] for name in ('bridge', 'tag', 'mode', 'peers')]))"


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({}, "vif_details.bridge is missing (the bridge to join)"),
        ({"bridge": None}, "vif_details.bridge is missing (the bridge to join)"),
        ({"bridge": 5}, "vif_details.bridge must be a string, not 5"),
        ({"bridge": "BR"}, 'vif_details.bridge must match ^[a-z0-9]{1,15}$, not "BR"'),
        ({"bridge": "b", "tag": "5"}, 'vif_details.tag must be an integer, not "5"'),
        ({"bridge": "b", "tag": True}, "vif_details.tag must be an integer, not true"),
        ({"bridge": "b", "tag": 5.0}, "vif_details.tag must be an integer, not 5.0"),
        ({"bridge": "b", "tag": 0}, "vif_details.tag must be at least 1, not 0"),
        ({"bridge": "b", "tag": 4095}, "vif_details.tag must be at most 4094, not 4095"),
        ({"bridge": "b", "mode": "c"}, 'vif_details.mode must be one of "a", "b", not "c"'),
        ({"bridge": "b", "peers": {}}, "vif_details.peers must be an array, not {}"),
        (
            {"bridge": "b", "peers": ["1", "x"]},
            'vif_details.peers must match ^[0-9.]+$ (item 2), not ["1", "x"]',
        ),
    ],
)
@pytest.mark.parametrize("verb", ["plug", "update"])
def test_details_that_do_not_fit_are_refused_before_the_author_is_asked(
    author: Author, verb: str, details: dict[str, Any], message: str
) -> None:
    script = author.python(f"@script.verb\ndef {verb}(request): log('asked')", DECLARED)
    called = script(verb, request(verb, details=details))

    assert called.status == 65
    assert called.error == {"code": "bad_details", "message": message}
    assert "asked" not in called.log


def test_each_declared_detail_is_there_and_others_are_left_alone(author: Author) -> None:
    script = author.python(
        f"@script.verb\ndef plug(request): log(request.vif.details.get('other')); {SHOW}", DECLARED
    )
    called = script("plug", request(details={"bridge": "b", "mode": None, "other": [1]}))

    assert called.error["message"] == "['b', 1, None, None]"
    assert called.log[0] == "[1]"


def test_an_unplug_of_what_was_refused_is_carried_out_without_what_does_not_fit(author: Author) -> None:
    script = author.python(f"@script.verb\ndef unplug(request): {SHOW}", DECLARED)
    called = script("unplug", request("unplug", details={"bridge": 5, "tag": 9999, "mode": "b"}))

    assert called.error["message"] == "[None, 1, 'b', None]"
    assert called.log[0] == "blue: vif_details.bridge must be a string, not 5: it counts as missing"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "detail x: its type is one of string, integer, number, boolean, array, object, not None"),
        ({"type": "text"}, "not 'text'"),
        (
            {"type": "string", "minLength": 3},
            "detail x: 'minLength' would not be checked; what can be said is type",
        ),
        ({"type": "integer", "pattern": "x"}, "detail x: 'pattern' says nothing about a integer"),
        ({"type": "string", "maximum": 3}, "detail x: 'maximum' says nothing about a string"),
        ({"type": "array", "items": {"type": "word"}}, "detail x.items: its type is one of"),
    ],
)
def test_a_declaration_never_promises_what_is_not_checked(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:
        plugscript.Script("blue", details={"x": schema})
    assert words in str(refused.value)


def test_what_is_required_must_be_declared() -> None:
    with pytest.raises(ValueError, match="required detail x is not among details"):
        plugscript.Script("blue", required=["x"])


_NUMBERS = st.integers(-5, 5) | st.floats(-5, 5)
_SCHEMAS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"pattern": st.sampled_from(["^a", "b+$", ""])}
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": _NUMBERS,
            "maximum": _NUMBERS,
            "enum": st.lists(_NUMBERS, min_size=1, max_size=3),
        },
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["boolean", "object", "array"])}),
)
_VALUES = st.recursive(
    _NUMBERS | st.booleans() | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(_SCHEMAS | _SCHEMAS.map(lambda items: {"type": "array", "items": items}), _VALUES)
def test_what_fits_is_what_json_schema_says(schema: dict[str, Any], value: Any) -> None:
    plugscript._check_schema("x", schema)
    fits = next(plugscript._wrongs(value, schema), None) is None

    if fits:
        jsonschema.validate(value, schema)
    elif not _whole_float(value):  # JSON Schema takes 5.0 for an integer; an author would not
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)


def _whole_float(value: Any) -> bool:
    if isinstance(value, list):
        return any(_whole_float(each) for each in value)
    return isinstance(value, float) and value.is_integer()
