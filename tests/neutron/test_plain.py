"""Bindings in Nova's own words, for hosts where the agent plugs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.model import Vif, VifType, read_binding
from vifplug.neutron import plain
from vifplug.neutron.plan import Refused

ID = "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"
COMMON = {"port_filter": False, "connectivity": "l2"}


def vif(vif_type: str, **details: Any) -> tuple[Vif, dict[str, Any]]:
    found = {**COMMON, "vif_plug_script": "demo", **details}
    return read_binding({"id": ID, "vif_type": vif_type, "vif_details": found}), found


def test_a_tap_is_all_that_nova_is_told_and_the_rest_stands_under_one_key() -> None:
    found = plain.write(*vif("ethernet", tag=7, mtu=1400))
    inner = {**COMMON, "vif_plug_script": "demo", "tag": 7, "mtu": 1400}
    assert found == ("tap", {**COMMON, "vifplug": {"vif_type": "ethernet", "vif_details": inner}})


def test_a_socket_is_told_in_neutrons_words() -> None:
    vif_type, details = plain.write(*vif("vhostuser", path="/run/v/1", mode="client"))
    assert vif_type == "vhostuser"
    assert (details["vhostuser_socket"], details["vhostuser_mode"]) == ("/run/v/1", "client")
    assert "vif_plug_script" not in details


@pytest.mark.parametrize(
    ("vif_type", "details", "says"),
    [
        ("vhostuser", {}, 'give detail "path"'),
        (
            "vhostuser",
            {"path": "/run/v/1", "mode": "client", "reconnect": 3},
            '"reconnect" is nothing that Nova',
        ),
        ("ethernet", {"made_by": "script"}, "it is Nova that makes the tap"),
        ("direct", {"source_dev": "eth0"}, "direct needs the os-vif plugin"),
        ("ethernet", {"long": "x" * 4000}, "Neutron keeps at most 4095"),
    ],
)
def test_what_nova_has_no_words_for_is_refused(vif_type: str, details: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        plain.write(*vif(vif_type, **details))


@given(
    st.dictionaries(st.text("abcdef", min_size=3, max_size=8), st.integers(0, 9) | st.text("xyz"), max_size=5)
)
def test_what_was_written_is_read_again(more: dict[str, Any]) -> None:
    made, details = vif("ethernet", **more)
    meant = plain.read(*plain.write(made, details))
    assert (meant.vif_type, meant.details, meant.plain) == (VifType.ETHERNET, details, True)


@pytest.mark.parametrize("details", [{}, {"vif_plug_script": "demo"}, {"vifplug": "yes"}, {"vifplug": {}}])
def test_any_other_binding_is_what_it_says(details: dict[str, Any]) -> None:
    meant = plain.read("ethernet", details)
    assert (meant.vif_type, meant.details, meant.plain) == ("ethernet", details, False)
