"""Input that is no binding at all is refused with one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.binding_samples import binding
from vifplug.errors import InvalidInput
from vifplug.model import read_binding


@pytest.mark.parametrize("text", ["[]", "7", "null", '"{}"', "true", "1.5"])
def test_json_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^the input: .* must be an object: a port binding"):
        read_binding(text)


@pytest.mark.parametrize("value", [None, 7, object(), [], memoryview(b"{}")])
def test_a_python_value_that_is_neither_json_nor_an_object_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="must be an object"):
        read_binding(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1, column 1"),
        ("{", "line 1, column 2"),
        ('{"id": 1,\n "mtu": }', "line 2, column 9"),
        ("{} {}", "line 1, column 4"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": "\t"}', "line 1, column 8"),
        (b"\xff\xfe{\0}\0", "byte 0 is not UTF-8"),
        (b'{"a": "\x80"}', "byte 7 is not UTF-8"),
        ('{"a": ' + "1" * 5000 + "}", "too many digits"),
    ],
)
def test_broken_json_says_where(text: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=r"^the input is not JSON: ") as caught:
        read_binding(text)
    assert reason in caught.value.message


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_deep_nesting_is_refused_in_text(opening: str) -> None:
    with pytest.raises(InvalidInput, match="nested too deeply"):
        read_binding(opening * 100_000)


def test_deep_nesting_is_refused_in_objects_and_just_below_it_is_not() -> None:
    deep: Any = "x"
    for _ in range(62):
        deep = [deep]
    assert read_binding(binding("ethernet", vif_details={"x": deep})).details == {"x": deep}
    with pytest.raises(InvalidInput, match=r"vif_details\.x\[0\].* is nested too deeply"):
        read_binding(binding("ethernet", vif_details={"x": [deep]}))


def test_an_object_that_holds_itself_is_refused() -> None:
    details: dict[str, Any] = {}
    details["self"] = details
    with pytest.raises(InvalidInput, match="nested too deeply"):
        read_binding(binding("ethernet", vif_details=details))


def test_a_key_that_is_twice_in_one_object_is_refused() -> None:
    text = json.dumps(binding())[:-1] + ', "address": "fa:16:3e:00:00:02"}'
    with pytest.raises(InvalidInput, match=r'^"address" is twice in one object'):
        read_binding(text)


def test_a_number_beyond_every_float_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"^vif_details.x: Infinity is not allowed; it must be a finite number"
    ):
        read_binding('{"id": "x", "vif_type": "user", "vif_details": {"x": 1e999}}')


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
def test_a_number_beyond_64_bits_is_refused(number: int) -> None:
    with pytest.raises(InvalidInput, match=r"^vif_details.x: .* an integer of 64 bits"):
        read_binding(binding("ethernet", vif_details={"x": number}))


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 10_000_000])
def test_more_than_a_mebibyte_is_refused_before_it_is_read(size: int) -> None:
    with pytest.raises(
        InvalidInput, match=f"^the input is {size} bytes long; it must be at most 1048576 bytes"
    ):
        read_binding(b"\xff" * size)


def test_an_object_of_more_than_a_mebibyte_is_refused_too() -> None:
    with pytest.raises(InvalidInput, match="bytes long"):
        read_binding(binding("ethernet", vif_details={"x": ["a" * 1000] * 2000}))


def test_keys_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^vif_details: .* an object whose keys are text"):
        read_binding(binding("ethernet", vif_details={7: 1}))
