"""The shipped JSON Schemas say what the reader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given, settings

from model.binding_samples import DETAILS, MAC, PORT, bindings
from model.binding_samples import binding as a_binding
from vifplug.errors import InvalidInput
from vifplug.model import read_binding, to_json
from vifplug.model.schema import SHIPPED, write
from vifplug.script.contract import RequestHost, request_for

VALIDATORS = {
    file.stem: jsonschema.Draft202012Validator(json.loads(file.read_bytes()))
    for file in SHIPPED.glob("*.json")
}


def test_the_shipped_schemas_are_those_that_the_structs_make(tmp_path: Path) -> None:
    write(tmp_path)
    shipped = {file.name: file.read_text() for file in SHIPPED.iterdir()}
    assert shipped == {file.name: file.read_text() for file in tmp_path.iterdir()}


@pytest.mark.parametrize("name", VALIDATORS)
def test_each_is_a_json_schema_that_says_what_it_is_of(name: str) -> None:
    schema = VALIDATORS[name].schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    # Python's own anchors mean nothing to other languages
    assert r"\\A" not in json.dumps(schema)
    assert r"\\Z" not in json.dumps(schema)


@settings(max_examples=150)
@given(bindings())
def test_what_the_reader_accepts_is_valid(binding: dict[str, Any]) -> None:
    VALIDATORS["binding"].validate(binding)
    VALIDATORS[f"details-{binding['vif_type']}"].validate(binding["vif_details"])
    VALIDATORS["vif"].validate(json.loads(to_json(read_binding(binding))))


BAD = [
    {"id": "x"},
    {"address": "01:00:5e:00:00:01"},
    {"devname": "a" * 16},
    {"devname": "a/b"},
    {"devname": ".."},
    {"mtu": 0},
    {"mtu": 10**9},
    {"mtu": True},
    {"mtu": "1500"},
    {"queues": 0},
    {"model": "a b"},
    {"driver": {"rx_queue_size": 300}},
    {"bandwidth": {"inbound": {}}},
    {"boot_order": 0},
    {"alias": "net0"},
    {"link_state": "UP"},
    {"network": {"lable": "x"}},
    {"migration": {"role": "source"}},
    {"vif_type": "ovs"},
    {"vif_details": []},
    {"vif_details": {}},
    {"vif_details": {"bridge": None}},
    {"vif_details": {"bridge": "br/0"}},
    {"vif_details": {"bridge_name": "br/0"}},
    {"vif_details": {"bridge": "b", "vlan": 4096}},
    {"vif_details": {"bridge": "b", "vlan": {"tags": []}}},
    {"vif_details": {"bridge": "b", "virtualport": {"type": "802.1Qbg"}}},
    {"vif_details": {"bridge": "b", "vif_plug_script": "../x"}},
    {"vif_details": {"bridge": "b", "mtu": 1}},
    {"qeues": 2},
]


@pytest.mark.parametrize("changes", BAD)
def test_what_the_reader_refuses_in_one_value_is_invalid(changes: dict[str, Any]) -> None:
    bad = a_binding(**changes)
    with pytest.raises(InvalidInput):
        read_binding(bad)
    assert not VALIDATORS["binding"].is_valid(bad)


@pytest.mark.parametrize("key", ["id", "vif_type", "vif_details"])
def test_what_lacks_a_key_that_it_needs_is_invalid(key: str) -> None:
    bad = a_binding()
    del bad[key]
    with pytest.raises(InvalidInput):
        read_binding(bad)
    assert not VALIDATORS["binding"].is_valid(bad)


@pytest.mark.parametrize(
    ("vif_type", "details"),
    [
        ("network", {}),
        ("direct", {}),
        ("direct", {"macvtap_source": "eth1", "macvtap_mode": "x"}),
        ("hostdev", {"pci_slot": "3b:00.1"}),
        ("vhostuser", {"vhostuser_socket": "relative"}),
        ("vdpa", {"device": "/dev/null"}),
        ("user", {"backend": "passt", "port_forwards": [{"proto": "sctp", "start": 1}]}),
        ("ethernet", {"made_by": "me"}),
    ],
)
def test_details_are_judged_by_their_type(vif_type: str, details: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_binding(a_binding(vif_type, vif_details=details))
    assert not VALIDATORS[f"details-{vif_type}"].is_valid(details)
    assert not VALIDATORS["binding"].is_valid(a_binding(vif_type, vif_details=details))
    other = next(name for name in ("user", "ethernet") if name != vif_type)
    assert VALIDATORS["binding"].is_valid(a_binding(other, vif_details=details | {"backend": "slirp"}))


@pytest.mark.parametrize("vif_type", DETAILS)
def test_the_request_of_a_vif_is_valid(vif_type: str) -> None:
    network = {"subnets": [{"id": "a", "addresses": ["192.0.2.7"]}]}
    vif = read_binding(a_binding(vif_type, network=network))
    host = RequestHost(name="host", boot_id=PORT)
    request = request_for("plug", vif, generation=1, host=host, deadline=30.0)
    VALIDATORS["request"].validate(json.loads(request.to_json()))
    assert not VALIDATORS["request"].is_valid({"verb": "plug"})


def test_replies_are_judged_by_their_verb() -> None:
    assert VALIDATORS["reply-plug"].is_valid({"vif": {"mtu": 1400}})
    assert not VALIDATORS["reply-plug"].is_valid({"mtu": 1400})
    assert not VALIDATORS["reply-unplug"].is_valid({"vif": {}})
    assert VALIDATORS["reply-check"].is_valid({"ok": False, "drift": [{"what": "gone"}]})
    assert not VALIDATORS["reply-check"].is_valid({"ok": "yes"})
    assert VALIDATORS["reply-info"].is_valid({"name": "mine", "verbs": ["plug", "unplug"]})
    assert not VALIDATORS["reply-info"].is_valid({"verbs": []})


def test_an_editor_may_use_the_schema_on_a_binding_in_upper_case() -> None:
    VALIDATORS["binding"].validate(a_binding(id=PORT.upper(), address=MAC.upper()))


def test_a_vif_that_lacks_its_shape_is_invalid() -> None:
    vif = msgspec.json.decode(to_json(read_binding(a_binding())))
    VALIDATORS["vif"].validate(vif)
    del vif["shape"]
    assert not VALIDATORS["vif"].is_valid(vif)
