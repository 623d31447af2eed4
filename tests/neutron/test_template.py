"""Values with names in braces: what they become, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.errors import ConfigError
from vifplug.neutron import Refused, template

PORT = {
    "id": "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01",
    "mac_address": "fa:16:3e:00:00:01",
    "fixed_ips": [{"a": 1}],
}
SEGMENT = {"segmentation_id": 100, "physical_network": None, "network_type": "vxlan"}
KNOWN = template.facts(PORT, {"mtu": 1450}, SEGMENT)


def filled(value: Any) -> Any:
    return template.fill({"key": value}, KNOWN).get("key", "left out")


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("{segment.segmentation_id}", 100),
        ("vni{segment.segmentation_id}", "vni100"),
        ("{port.id}/{network.mtu}", "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01/1450"),
        ("{port.fixed_ips}", [{"a": 1}]),
        ("{segment.physical_network}", "left out"),
        (["{segment.physical_network}", "{network.mtu}"], [1450]),
        ({"a": {"b": "{network.mtu}"}}, {"a": {"b": 1450}}),
        (7, 7),
        (None, None),
        ("plain", "plain"),
    ],
)
def test_a_value_becomes(value: Any, becomes: Any) -> None:
    template.check(value, "here")
    assert filled(value) == becomes


@pytest.mark.parametrize("value", ["br-{segment.physical_network}", "x{port.fixed_ips}"])
def test_a_text_with_a_hole_in_it_is_refused(value: str) -> None:
    with pytest.raises(Refused, match='detail "key"'):
        filled(value)


@pytest.mark.parametrize("chosen", ["../../etc/passwd", "a/b", "..", "a b", "a\n"])
def test_what_a_tenant_may_choose_leads_to_no_other_path(chosen: str) -> None:
    facts = template.facts({**PORT, "device_id": chosen}, {}, SEGMENT)
    with pytest.raises(Refused, match="\"key\" is '/run/vhost/{port.device_id}', and {port.device_id} is"):
        template.fill({"key": "/run/vhost/{port.device_id}"}, facts)
    assert template.fill({"key": "{port.device_id}"}, facts) == {"key": chosen}


@pytest.mark.parametrize("value", [template.EXAMPLES["port.device_id"], "compute:nova", "dhcp0a.b_c", ""])
def test_what_nova_and_neutron_set_is_taken(value: str) -> None:
    facts = template.facts({**PORT, "device_id": value}, {}, SEGMENT)
    assert template.fill({"key": "x{port.device_id}"}, facts) == {"key": f"x{value}"}


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        "{port}",
        "{port.__class__}",
        "{port.id.x}",
        "{port.id!r}",
        "{port.id:>9}",
        "{0}",
        "{ port.id }",
        "{port.name}",
    ],
)
def test_nothing_but_a_known_name_may_stand_in_braces(value: str) -> None:
    with pytest.raises(ConfigError, match="stands for nothing"):
        template.check([{"deep": value}], "here")


@pytest.mark.parametrize("value", ["{", "}", "a{b", "{{port.id}}", "{port.id"])
def test_a_brace_without_its_partner_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="a brace without its partner"):
        template.check(value, "here")


_names = st.sampled_from(sorted(template.NAMES))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | _names.map("{{{}}}".format),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_values, st.dictionaries(_names, st.text() | st.integers()))
def test_what_is_filled_in_is_never_looked_at_again(value: Any, known: dict[str, Any]) -> None:
    """Whatever a value holds, braces included, arrives as it is; and what passed the check never fails otherwise."""
    try:
        template.check(value, "here")
    except ConfigError:
        return
    facts = {name: known.get(name) for name in template.NAMES} | {"port.device_id": "{port.id}"}
    assert template.fill({"key": "{port.device_id}", "all": value}, facts)["key"] == "{port.id}"


@given(st.text())
def test_a_text_without_braces_stays_as_it_is(text: str) -> None:
    if "{" not in text and "}" not in text:
        assert filled(text) == text
