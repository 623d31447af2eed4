"""The table of historic Nova VIF types: each row folds into one of the eight, and is proven by a case."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest import golden
from vifplug.errors import InvalidInput, UnsupportedVifType
from vifplug.guest import interface_xml
from vifplug.model import read_binding
from vifplug.model.historic import TABLE, HistoricType
from vifplug.model.nova import find_row, fold

INSTANCE = {
    "uuid": "0b6f0f0e-2f0b-4a0e-9d0c-7a3f5b1c2d3e",
    "display_name": "web-1",
    "project_id": "5d0c1a2b7e8f49c1a3b4c5d6e7f80910",
}
POSSIBLE = [row.name for row in TABLE if row.vif_type is not None]

#: the issue's table: each name that Nova had, the types it folds into, and its script
NAMES: dict[str, set[tuple[str, str | None]]] = {
    "tap": {("ethernet", None)},
    "iovisor": {("ethernet", "iovisor")},
    "midonet": {("ethernet", "midonet")},
    "ivs": {("ethernet", "ivs"), ("bridge", "ivs")},
    "ovs": {
        ("bridge", None),
        ("ethernet", "openvswitch"),
        ("bridge", "openvswitch"),
        ("vdpa", "openvswitch"),
    },
    "vrouter": {("ethernet", "vrouter")},
    "bridge": {("bridge", "linux-bridge")},
    "vhostuser": {("vhostuser", None), ("vhostuser", "openvswitch"), ("vhostuser", "fp-vdev")},
    "macvtap": {("direct", None)},
    "hw_veb": {("hostdev", "sriov-vf"), ("direct", "sriov-vf")},
    "802.1qbg": {("direct", None)},
    "802.1qbh": {("direct", None), ("hostdev", None)},
    "hostdev_physical": {("hostdev", None)},
    "ib_hostdev": {("hostdev", "ebrctl")},
    "mlnx_direct": {("direct", "ebrctl")},
    "hyperv": {("None", None)},
    "dvs": {("None", None)},
}


def nova_vif(name: str) -> dict[str, Any]:
    return json.loads((golden.GOLDEN / f"historic-{name}" / "nova-vif.json").read_text())  # type: ignore[no-any-return]


def folded(name: str) -> dict[str, Any]:
    path = golden.GOLDEN / f"historic-{name}" / "host.json"
    host = json.loads(path.read_text()) if path.exists() else {}
    return fold(
        nova_vif(name),
        instance=INSTANCE,
        netdev_of=host.get("netdev", {}).__getitem__,
        vdpa_of=host.get("vdpa", {}).__getitem__,
    )


def test_the_table_has_every_name_with_its_types_and_scripts() -> None:
    rows: dict[str, set[tuple[str, str | None]]] = {}
    for row in TABLE:
        rows.setdefault(row.nova_type, set()).add((str(row.vif_type), row.plug_script))
    assert rows.keys() == NAMES.keys()
    for name, expected in NAMES.items():
        assert expected <= rows[name], name


def test_each_row_has_a_golden_folder_and_each_folder_a_row() -> None:
    assert {f"historic-{row.name}" for row in TABLE} == set(golden.HISTORIC)


def test_each_row_with_a_script_says_what_that_script_does_and_no_other_says_anything() -> None:
    for row in TABLE:
        assert bool(row.plug) == (row.plug_script is not None), row.name
        # the bridge is the network's and stays
        assert bool(row.unplug) == (row.plug_script not in (None, "linux-bridge")), row.name


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_novas_vif_selects_its_own_row(row: HistoricType) -> None:
    if row.vif_type is None:
        with pytest.raises(UnsupportedVifType, match=f"{row.nova_type}.*no libvirt host has it"):
            find_row(nova_vif(row.name))
    else:
        assert find_row(nova_vif(row.name)) == (row, row.vif_type)


@pytest.mark.parametrize("name", POSSIBLE)
def test_novas_vif_folds_into_its_golden_binding(name: str, accept_golden: bool) -> None:
    text = json.dumps(folded(name), indent=2, ensure_ascii=False) + "\n"
    path = golden.GOLDEN / f"historic-{name}" / "binding.json"
    if accept_golden:
        path.write_text(text)
        (path.parent / "interface.xml").write_text(interface_xml(read_binding(text)))
    assert text == path.read_text()


@pytest.mark.parametrize("row", [row for row in TABLE if row.vif_type], ids=lambda row: row.name)
def test_the_binding_is_one_that_vifplug_reads_with_the_rows_type_and_script(row: HistoricType) -> None:
    vif = read_binding(folded(row.name))
    assert vif.type == row.vif_type
    assert vif.plug_script == row.plug_script


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_says_in_words_when_it_holds(row: HistoricType) -> None:
    assert row.when.startswith(f"type is {row.nova_type}")
    assert ("vnic_type" in row.when) == any("vnic_type" in test for test in row.selects)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"type": "ivz"}, 'did you mean "ivs"'),
        ({"type": None}, "not bound"),
        ({"type": "unbound"}, "not bound"),
        ({"type": "binding_failed"}, "no mechanism driver"),
        ({"type": "vrouter", "vnic_type": "baremetal"}, 'no form for vnic_type "baremetal"'),
        ({"type": ["tap"]}, "Nova's types are tap"),
    ],
)
def test_a_type_that_cannot_be_plugged_is_refused_with_the_reason(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UnsupportedVifType, match=sentence):
        fold(nova_vif("tap") | change)


@pytest.mark.parametrize(
    ("name", "lost", "field"),
    [
        ("vhostuser", "details", "details.vhostuser_socket"),
        ("macvtap", "details", "details.macvtap_source"),
        ("hostdev_physical", "profile", "profile.pci_slot"),
        ("802.1qbg", "qbg_params", "qbg_params.managerid"),
        ("bridge", "network", "network.bridge"),
        ("tap", "id", "id"),
    ],
)
def test_what_novas_vif_lacks_is_named_as_nova_names_it(name: str, lost: str, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field} is missing") as caught:
        fold(nova_vif(name) | {lost: None})
    assert caught.value.context["field"] == field


def test_a_device_that_only_the_host_knows_must_be_looked_up() -> None:
    with pytest.raises(InvalidInput, match="netdev_of"):
        fold(nova_vif("hw_veb-macvtap"))


def test_agilio_ovs_is_ovs_but_for_its_forwarder() -> None:
    agilio = nova_vif("ovs") | {"type": "agilio_ovs"}
    assert fold(agilio) == fold(nova_vif("ovs"))
    with pytest.raises(UnsupportedVifType):
        fold(agilio | {"vnic_type": "virtio-forwarder"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    name=st.sampled_from([row.name for row in TABLE]),
    key=st.sampled_from(
        ["id", "type", "address", "details", "profile", "network", "qbg_params", "devname", "vnic_type"]
    ),
    value=JSON,
)
def test_no_vif_of_novas_however_broken_ends_in_anything_but_a_binding_or_one_clear_error(
    name: str, key: str, value: Any
) -> None:
    try:
        read_binding(fold(nova_vif(name) | {key: value}, netdev_of={"0000:3b:00.1": "eth0"}.__getitem__))
    except InvalidInput as error:
        assert error.message
