"""What is due for a VIF of a domain, for each thing that libvirt and the ledger can say. No libvirt runs here."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from vifplug.host.results import Record, State
from vifplug.libvirt.definition import Definition, Kept
from vifplug.libvirt.rules import Due, due_while_off, due_while_running, is_ours
from vifplug.model import read_binding
from world import ID, binding

VIF = read_binding(binding(alias=f"ua-vifplug-{ID}"))
PLUGGED = Record(
    id=ID, state=State.PLUGGED, generation=1, vif=VIF, request=VIF, boot_id="b", created=0, changed=0, owner=0
)  # fmt: skip
ARRIVING = structs.replace(
    PLUGGED, request=read_binding(binding(migration={"role": "destination", "phase": "prepare"}))
)
DEBT = structs.replace(PLUGGED, state=State.DEBT)
LOST = structs.replace(PLUGGED, lost=True)
HAS = Definition(
    f"<domain><devices><interface type='ethernet'><alias name='ua-vifplug-{ID}'/></interface></devices></domain>"
)
HAS_NOT = Definition("<domain/>")
#: seconds since 1970; the second is in the year 36812
NEVER, PAST, LATER = 0.0, 1.0, 1.1e12


def kept(*, ready: bool = False, until: float = NEVER) -> Kept:
    return Kept(ID, "{}", ready, until)


@pytest.mark.parametrize(
    ("live", "until", "record", "due"),
    [
        (HAS, NEVER, PLUGGED, Due.NOTHING),
        (HAS, NEVER, None, Due.PLUG),
        (HAS, NEVER, DEBT, Due.PLUG),
        (HAS, NEVER, LOST, Due.PLUG),
        (HAS, LATER, None, Due.LATER),
        (HAS, NEVER, ARRIVING, Due.ACTIVATE),
        (HAS, LATER, ARRIVING, Due.LATER),
        (HAS_NOT, NEVER, PLUGGED, Due.UNPLUG),
        (HAS_NOT, NEVER, LOST, Due.UNPLUG),
        (HAS_NOT, NEVER, None, Due.NOTHING),
        (HAS_NOT, NEVER, DEBT, Due.NOTHING),
        (HAS_NOT, LATER, PLUGGED, Due.LATER),
        (HAS_NOT, PAST, PLUGGED, Due.UNPLUG),
    ],
)
def test_while_a_guest_runs(live: Definition, until: float, record: Record | None, due: Due) -> None:
    assert due_while_running(kept(until=until), live, record, here=True) is due


def test_a_guest_on_its_way_here_is_waited_for() -> None:
    assert due_while_running(kept(), HAS, ARRIVING, here=False) is Due.LATER


@pytest.mark.parametrize(
    ("state", "record", "moved", "due"),
    [
        ({}, PLUGGED, False, Due.UNPLUG),
        ({}, LOST, False, Due.UNPLUG),
        ({}, None, False, Due.NOTHING),
        ({}, DEBT, False, Due.NOTHING),
        ({"until": LATER}, PLUGGED, False, Due.LATER),
        ({}, ARRIVING, False, Due.LATER),
        ({"ready": True}, None, False, Due.PLUG),
        ({"ready": True}, LOST, False, Due.PLUG),
        ({"ready": True}, PLUGGED, False, Due.NOTHING),
        ({"ready": True}, PLUGGED, True, Due.UNPLUG),
        ({"ready": True}, None, True, Due.NOTHING),
        ({"ready": True, "until": LATER}, None, False, Due.LATER),
    ],
)
def test_while_a_domain_is_off(state: dict[str, Any], record: Record | None, moved: bool, due: Due) -> None:
    assert due_while_off(kept(**state), record, moved=moved) is due


@pytest.mark.parametrize(
    ("record", "ours"),
    [
        (PLUGGED, True),
        (structs.replace(PLUGGED, owner=1000), False),
        (structs.replace(PLUGGED, owner=None), False),
        (structs.replace(PLUGGED, vif=read_binding(binding())), False),
        (DEBT, False),
        (ARRIVING, False),
    ],
)
def test_only_what_was_plugged_for_a_domain_by_this_user_is_ours(record: Record, ours: bool) -> None:
    assert is_ours(record, 0) is ours
