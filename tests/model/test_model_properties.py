"""Whatever comes in: a Vif, or one InvalidInput."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from model.binding_samples import bindings, json_values, port, texts
from vifplug.errors import BadReply, InvalidInput
from vifplug.model import Vif, changed_fields, fold_reply, from_json, read_binding, read_bindings, to_json
from vifplug.model.reply import answers

DEVICE_NAME = re.compile(r"[^\s/:%]{1,15}", re.ASCII)


def read(source: Any) -> Vif | None:
    """The Vif, or None after checking the error; any other exception fails the test."""
    try:
        vif = read_binding(source)
    except InvalidInput as error:
        assert error.message.isprintable()
        assert len(error.message) < 1000
        assert isinstance(error.context["field"], str)
        json.dumps(error.as_dict(), allow_nan=False).encode()
        return None
    assert DEVICE_NAME.fullmatch(vif.devname)
    assert vif.devname not in (".", "..")
    return vif


@given(json_values)
def test_any_value_is_a_vif_or_one_clear_error(value: Any) -> None:
    read(value)


@given(json_values)
def test_any_json_text_is_a_vif_or_one_clear_error(value: Any) -> None:
    read(json.dumps(value))
    read(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_a_vif_or_one_clear_error(source: bytes | str) -> None:
    read(source)
    try:
        read_bindings(source)
    except InvalidInput as error:
        assert error.message.isprintable()


@given(bindings())
def test_a_good_binding_is_accepted_and_survives_its_record(binding: dict[str, Any]) -> None:
    vif = read(json.dumps(binding))
    assert vif is not None
    assert from_json(to_json(vif)) == vif
    assert to_json(from_json(to_json(vif))) == to_json(vif)
    assert read(binding) == vif
    assert changed_fields(vif, vif) == set()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of every value inside ``value``."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path, *(found for step, inner in steps for found in places(inner, (*path, step)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of ``value`` with ``new`` at ``path``."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=300)
@given(bindings(), st.data())
def test_a_good_binding_with_anything_in_one_place_is_a_vif_or_one_clear_error(
    binding: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(places(binding)))
    read(put(binding, path, data.draw(json_values)))


@given(bindings(), texts, json_values, st.sampled_from([(), ("network",), ("vif_details",)]))
def test_a_good_binding_with_any_key_more_is_a_vif_or_one_clear_error(
    binding: dict[str, Any], key: str, value: Any, path: tuple[str, ...]
) -> None:
    binding.setdefault("network", {})
    inner = binding[path[0]] if path else binding
    read(put(binding, path, inner | {key: value}))


@given(st.sampled_from(places(port())), json_values)
def test_a_neutron_port_with_anything_in_one_place_is_a_vif_or_one_clear_error(
    path: tuple[Any, ...], value: Any
) -> None:
    read(put(port(), path, value))


@given(bindings(), st.dictionaries(texts, json_values, max_size=2))
def test_any_reply_is_folded_or_refused(binding: dict[str, Any], fields: dict[str, Any]) -> None:
    vif = read_binding(binding)
    try:
        fold_reply(vif, fields)
    except BadReply as error:
        assert error.message.isprintable()


#: every word that some type lets a script answer, and more that none does
KEYS = [
    "mtu",
    "devname",
    "bridge",
    "source_dev",
    "pci_slot",
    "path",
    "mode",
    "device",
    "id",
    "type",
    "network",
]
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [1400, "br1", "0000:3b:00.1", "/run/s", "client", "bridge", "/dev/vhost-vdpa-1", None, 0, "a/b", {}]
)


@settings(max_examples=300)
@given(bindings(), st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3))
def test_a_reply_never_sets_what_its_type_does_not_allow(
    binding: dict[str, Any], fields: dict[str, Any]
) -> None:
    vif = read_binding(binding)
    try:
        folded = fold_reply(vif, fields)
    except BadReply:
        return
    assert fields.keys() <= set(answers(vif))
    allowed = {name if name in ("mtu", "devname") else f"shape.{name}" for name in fields}
    assert changed_fields(vif, folded) <= allowed
    assert from_json(to_json(folded)) == folded
