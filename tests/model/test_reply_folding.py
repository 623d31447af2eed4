"""What a script answered, folded into the VIF."""

from __future__ import annotations

from typing import Any

import pytest

from model.binding_samples import DETAILS, PORT, binding
from vifplug.errors import BadReply
from vifplug.model import fold_reply, read_binding
from vifplug.model.reply import answers
from vifplug.model.vif import Vhostuser

SCRIPT_MAKES_IT = binding("ethernet", vif_details={"made_by": "script", "vif_plug_script": "mine"})


@pytest.mark.parametrize("vif_type", DETAILS)
def test_every_type_lets_a_script_answer_the_mtu(vif_type: str) -> None:
    vif = read_binding(binding(vif_type, mtu=9000))
    folded = fold_reply(vif, {"mtu": 1400})
    assert folded.mtu == 1400
    assert folded.shape == vif.shape


@pytest.mark.parametrize(
    ("vif_type", "key", "value"),
    [
        ("bridge", "bridge", "br1"),
        ("direct", "source_dev", "eth2"),
        ("hostdev", "pci_slot", "0000:3b:00.2"),
        ("vhostuser", "path", "/run/other"),
        ("vhostuser", "mode", "client"),
        ("vdpa", "device", "/dev/vhost-vdpa-3"),
    ],
)
def test_a_type_lets_a_script_answer_what_only_the_script_knows(vif_type: str, key: str, value: str) -> None:
    vif = read_binding(binding(vif_type))
    assert getattr(fold_reply(vif, {key: value}).shape, key) == value


@pytest.mark.parametrize("given", [{}, None])
def test_nothing_answered_changes_nothing(given: Any) -> None:
    vif = read_binding(binding())
    assert fold_reply(vif, given or {}) == vif


def test_the_rest_of_the_shape_stays() -> None:
    vif = read_binding(binding("vhostuser", vif_details={"vhostuser_mode": "client", "reconnect": 5}))
    assert fold_reply(vif, {"path": "/run/s"}).shape == Vhostuser(path="/run/s", mode="client", reconnect=5)


def test_a_script_that_makes_the_device_names_it() -> None:
    assert fold_reply(read_binding(SCRIPT_MAKES_IT), {"devname": "mine0"}).devname == "mine0"


def test_a_script_that_does_not_make_the_device_cannot_name_it() -> None:
    with pytest.raises(BadReply, match=r"vif\.devname: .* may answer mtu$"):
        fold_reply(read_binding(binding("ethernet")), {"devname": "mine0"})


@pytest.mark.parametrize("vif_type", ["network", "user"])
def test_a_type_that_needs_no_script_takes_the_mtu_alone(vif_type: str) -> None:
    assert answers(read_binding(binding(vif_type))) == ["mtu"]


@pytest.mark.parametrize(
    ("vif_type", "fields", "field", "allowed"),
    [
        ("bridge", {"path": "/run/s"}, "vif.path", "may answer mtu, bridge"),
        ("bridge", {"id": PORT}, "vif.id", "may answer mtu, bridge"),
        ("bridge", {"type": "user"}, "vif.type", "may answer mtu, bridge"),
        ("bridge", {"virtualport": {"type": "openvswitch"}}, "vif.virtualport", "may answer"),
        ("network", {"network": "other"}, "vif.network", "may answer mtu"),
        ("bridge", {"mtu": 0}, "vif.mtu", "68 to 65521"),
        ("bridge", {"mtu": "1500"}, "vif.mtu", "68 to 65521"),
        ("bridge", {"mtu": None}, "vif.mtu", "a value, or left out"),
        ("bridge", {"bridge": "../br"}, "vif.bridge", "a network device name"),
        ("bridge", {"bridge": None}, "vif.bridge", "a value, or left out"),
        ("hostdev", {"pci_slot": "x"}, "vif.pci_slot", "0000:3b:00.1"),
        ("vhostuser", {"path": "relative"}, "vif.path", "an absolute path"),
        ("vhostuser", {"path": "/" + "a" * 107}, "vif.path", "at most 107 bytes"),
        ("vhostuser", {"mode": "both"}, "vif.mode", '"client", "server"'),
        ("vdpa", {"device": "/dev/sda"}, "vif.device", "/dev/vhost-vdpa-N"),
        ("bridge", [], "vif", "an object"),
        ("bridge", {"a\0": 1}, "vif", "without NUL"),
    ],
)
def test_a_reply_that_the_type_does_not_allow_is_refused_by_its_field(
    vif_type: str, fields: Any, field: str, allowed: str
) -> None:
    with pytest.raises(BadReply) as caught:
        fold_reply(read_binding(binding(vif_type)), fields)
    assert caught.value.context["field"] == field
    assert caught.value.message.startswith(f"the script's reply is refused: {field}")
    assert allowed in caught.value.message
    assert caught.value.code == "bad_reply"
