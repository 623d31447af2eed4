"""Many bindings in one input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.binding_samples import PORT, binding, port
from vifplug.errors import InvalidInput
from vifplug.model import read_binding, read_bindings

TWO = [binding(), port(id="5c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01")]


@pytest.mark.parametrize(
    "form",
    [
        lambda items: items,
        tuple,
        iter,
        lambda items: {"ports": items},
        json.dumps,
        lambda items: json.dumps(items, indent=2).encode(),
        lambda items: json.dumps({"ports": items}),
        lambda items: "\n".join(json.dumps(item) for item in items),
        lambda items: "\n\n".join(json.dumps(item) for item in items) + "\n",
        lambda items: "\r\n".join(json.dumps({"port": item}) for item in items),
    ],
)
def test_a_list_a_list_of_ports_and_json_lines_give_the_same_vifs(form: Any) -> None:
    assert [vif.id for vif in read_bindings(form(TWO))] == [item["id"] for item in TWO]


def test_one_binding_alone_is_a_list_of_one() -> None:
    assert read_bindings(json.dumps(binding(), indent=1)) == [read_binding(binding())]
    assert read_bindings(binding()) == [read_binding(binding())]


def test_no_binding_is_a_list_of_none() -> None:
    assert read_bindings("[]") == []


def test_vifs_already_read_pass_through() -> None:
    vif = read_binding(binding())
    assert read_bindings([vif]) == [vif]


def test_a_line_separator_inside_a_text_does_not_end_a_line() -> None:
    items = [binding("user", vif_details={"x": "a\u2028b\x85c"}), TWO[1]]
    lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    assert len(read_bindings(lines)) == 2


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ([binding(), binding(mtu=0)], "[1].mtu"),
        ({"ports": [port(mac_address="x")]}, "ports[0].mac_address"),
        ([{"port": port(mac_address="x")}], "[0].port.mac_address"),
        ([7], "[0]"),
        (binding(mtu=0), "mtu"),
        (json.dumps({"port": port(mac_address="x")}), "port.mac_address"),
        ("7", ""),
        ('"text"', ""),
    ],
)
def test_the_first_wrong_binding_is_named_by_its_place(source: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_bindings(source)
    assert caught.value.context["field"] == field
    assert caught.value.message.startswith(field or "the input")


def test_broken_json_lines_say_which_line() -> None:
    with pytest.raises(InvalidInput, match="line 3, column 2"):
        read_bindings(json.dumps(binding()) + "\n\n{")


def test_one_port_twice_is_an_error_that_names_it_and_both_places() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_bindings([*TWO, binding(id=PORT.upper(), devname="tap1")])
    assert PORT in caught.value.message
    assert "[2]" in caught.value.message
    assert "[0]" in caught.value.message
    assert caught.value.context["field"] == "[2].id"


def test_one_device_for_two_ports_is_an_error_that_names_it_and_both_places() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_bindings({"ports": [*TWO, binding(id=PORT[:-1] + "2")]})
    assert "tap4c1b1b0a-7d" in caught.value.message
    assert "ports[2].devname" in caught.value.message
    assert "ports[0]" in caught.value.message


def test_more_bindings_than_a_host_can_have_are_refused() -> None:
    with pytest.raises(InvalidInput, match="10001 bindings"):
        read_bindings([{}] * 10_001)


def test_more_bytes_than_many_bindings_take_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 67108864 bytes"):
        read_bindings(b" " * (64 * 1024 * 1024 + 1))


def test_one_huge_binding_among_many_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^\[1\] is 1\d{6} bytes long") as caught:
        read_bindings([TWO[1], binding(vif_details={"bridge": "b", "x": "a" * 1_048_576})])
    assert caught.value.context["field"] == "[1]"
