"""A changed request for a VIF that is plugged: carried out live, carried out anew, or refused with the reason."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crashing import agree, at, nothing_runs, two_parts
from vifplug.errors import DeviceTaken, NotPlugged, ScriptFailed, TimedOut, UpdateRefused, VifInUse
from vifplug.host import Host, State
from vifplug.probe import StandInGuest
from world import ID, TAP, World, binding, links

MAC = "fa:16:3e:00:00:00"


def with_details(**details: Any) -> dict[str, Any]:
    return binding(vif_details=details)


@pytest.fixture
def two(world: World) -> Iterator[World]:
    """Its script updates details.tag live, and nothing else."""
    yield two_parts(world)
    nothing_runs()


def verbs(host: Host) -> list[str]:
    return [call.verb for call in host.calls(ID)]


# --- live ----------------------------------------------------------------------------------------


def test_the_mtu_is_changed_by_the_kernel_alone(two: World) -> None:
    host = two.host()
    before = host.plug(binding(mtu=1400))
    index = links()[TAP].index
    after = host.update(binding(mtu=1300))
    assert (after.changed, after.generation) == (True, before.generation)
    assert '<mtu size="1300"' in after.xml
    assert (links()[TAP].mtu, links()[TAP].index) == (1300, index)
    assert verbs(host) == ["plug"]
    assert agree(two, host) == {ID: State.PLUGGED}


def test_an_mtu_that_is_asked_for_no_more_is_the_kernels_own_again(two: World) -> None:
    host = two.host()
    host.plug(binding(mtu=1400))
    assert "<mtu" not in host.update(binding()).xml
    assert links()[TAP].mtu == 1500


def test_what_the_script_offers_to_update_it_is_asked_to(two: World) -> None:
    host = two.host()
    host.plug(with_details(tag=1))
    host.update(with_details(tag=2))
    assert verbs(host) == ["plug", "update"]
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).request.details["tag"] == 2


def test_the_script_is_told_what_changed_and_what_it_answered_before(world: World) -> None:
    world.info(verbs=["plug", "unplug", "update"], update_fields=["details.tag", "mtu"])
    world.on("plug", do="""echo '{"vif": {"mtu": 1342}}'""")
    host = world.host()
    host.plug(with_details(tag=1))
    host.update(with_details(tag=2))
    request = world.requests()[-1]
    assert (request["verb"], request["changes"]) == ("update", ["details.tag"])
    assert request["previous"] == {"vif": {"mtu": 1342}}
    assert request["vif"]["details"] == {"tag": 2}
    host.update({**with_details(tag=2), "mtu": 1300})
    assert world.requests()[-1]["changes"] == ["mtu"]


def test_what_only_the_guest_sees_changes_the_xml_alone(two: World) -> None:
    host = two.host()
    host.plug(binding())
    assert '<link state="down" />' in host.update(binding(link_state="down")).xml
    assert verbs(host) == ["plug"]


def test_an_update_to_what_is_already_there_touches_nothing(two: World) -> None:
    host = two.host()
    host.plug(binding())
    assert not host.update(binding()).changed
    assert verbs(host) == ["plug"]


def test_an_update_under_a_guest_keeps_its_tap_open(two: World) -> None:
    host = two.host()
    host.plug(with_details(tag=1))
    with StandInGuest(TAP, MAC):
        host.update({**with_details(tag=2), "mtu": 1400})
        assert links()[TAP].carrier
    assert agree(two, host) == {ID: State.PLUGGED}


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "field", "why"),
    [
        (with_details(color="red"), "details.color", "recorder does not offer to"),
        (binding(address="fa:16:3e:00:00:77"), "address", "recorder does not offer to"),
        (binding(devname="tapx"), "devname", "recorder does not offer to"),
        (binding(queues=2), "queues", "recorder does not offer to"),
        (binding(script=None), "plug_script", "without a plug script has nobody to change it"),
    ],
    ids=["details", "address", "devname", "queues", "script"],
)
def test_what_nobody_offers_to_update_is_refused_by_name_and_touches_nothing(
    two: World, changed: dict[str, Any], field: str, why: str
) -> None:
    host = two.host()
    host.plug(binding())
    before = links()
    with pytest.raises(UpdateRefused, match=f"(?s){field}.*{why}.*unplug it and plug it again") as caught:
        host.update(changed)
    assert caught.value.context["fields"] == [field]
    assert links() == before
    assert verbs(host) == ["plug"]
    assert agree(two, host) == {ID: State.PLUGGED}


def test_one_field_that_is_not_offered_refuses_the_others_too(two: World) -> None:
    host = two.host()
    host.plug(with_details(tag=1, color="red"))
    with pytest.raises(UpdateRefused) as caught:
        host.update({**with_details(tag=2, color="blue"), "mtu": 1300})
    assert caught.value.context["fields"] == ["details.color"]
    assert links()[TAP].mtu == 1500
    assert agree(two, host) == {ID: State.PLUGGED}


@pytest.mark.parametrize("offered", ["devname", "queues", "plug_script"])
def test_no_script_can_offer_what_would_be_another_device_or_another_script(two: World, offered: str) -> None:
    two.info(verbs=["plug", "unplug", "update"], update_fields=[offered])
    two.script("another", (two.scripts / "recorder").read_text())
    host = two.host()
    host.plug(binding())
    changed = {
        "devname": binding(devname="tapx"),
        "queues": binding(queues=2),
        "plug_script": binding(script="another"),
    }[offered]
    with pytest.raises(UpdateRefused, match=offered):
        host.update(changed)
    assert list(links()) == [TAP]


def test_a_vif_that_is_not_plugged_is_not_updated(two: World) -> None:
    with pytest.raises(NotPlugged, match="plug it first"):
        two.host().update(binding())
    assert links() == {}


# --- failed: put back ----------------------------------------------------------------------------


@pytest.mark.parametrize("old_mtu", [None, 1400])
def test_an_update_that_fails_is_put_back_and_the_vif_stays(two: World, old_mtu: int | None) -> None:
    host = two.host()
    host.plug({**with_details(tag=1), "mtu": old_mtu})
    before = links()[TAP]
    at(two, "update", 1, """case "$request" in *'"tag":2'*) echo no tag 2 here >&2; exit 1;; esac""")
    with pytest.raises(ScriptFailed, match="no tag 2 here"):
        host.update({**with_details(tag=2), "mtu": 1300})
    assert links()[TAP] == before
    assert verbs(host) == ["plug", "update", "update"]
    assert agree(two, host) == {ID: State.PLUGGED}
    record = host.show(ID)
    assert record.request.details["tag"] == 1
    assert record.error is not None
    assert "no tag 2 here" in record.error["message"]


def test_an_update_that_hangs_is_ended_and_put_back(two: World) -> None:
    host = two.host()
    host.plug(with_details(tag=1))
    at(two, "update", 1, """case "$request" in *'"tag":2'*) setsid sleep 1000;; esac""")
    with pytest.raises(TimedOut):
        host.update(with_details(tag=2), seconds=0.2)
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).request.details["tag"] == 1


def test_an_update_that_cannot_be_put_back_says_so_and_the_next_plug_asks_the_script(two: World) -> None:
    """The record says what was; the backend may be half way: the same request again is not a no-op then."""
    host = two.host()
    host.plug(with_details(tag=1))
    at(two, "update", 1, "exit 1")
    with pytest.raises(ScriptFailed, match="going back failed too.*vifplug check"):
        host.update(with_details(tag=2))
    assert host.show(ID).state is State.PLUGGED
    at(two, "update", 1, None)
    assert host.plug(with_details(tag=1)).changed
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).error is None
    assert not host.plug(with_details(tag=1)).changed


def test_a_change_begins_where_the_record_says_once_one_before_it_could_not_be_put_back(two: World) -> None:
    host = two.host()
    host.plug(with_details(color="red"))
    at(two, "plug", 1, "exit 1")
    with pytest.raises(ScriptFailed, match="going back failed too"):
        host.plug(with_details(color="blue"))
    with pytest.raises(ScriptFailed):
        host.update({**with_details(color="red"), "mtu": 1400})
    at(two, "plug", 1, None)
    host.update({**with_details(color="red"), "mtu": 1400})
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).error is None


# --- plug with a changed binding -------------------------------------------------------------------


def test_changed_details_without_an_update_are_unplugged_and_plugged_while_the_tap_stays(two: World) -> None:
    host = two.host()
    first = host.plug(with_details(color="red"))
    index = links()[TAP].index
    at(two, "unplug", 0, f'echo "$request" >> {two.backend}/unplugged')
    with StandInGuest(TAP, MAC):
        again = host.plug(with_details(color="blue"))
    assert (again.changed, again.generation) == (True, first.generation)
    assert links()[TAP].index == index
    assert verbs(host) == ["plug", "unplug", "plug"]
    assert '"color":"red"' in (two.backend / "unplugged").read_text()
    assert agree(two, host) == {ID: State.PLUGGED}


def test_new_details_that_fail_are_unplugged_before_the_old_ones_come_back(two: World) -> None:
    host = two.host()
    host.plug(with_details(color="red"))
    index = links()[TAP].index
    at(two, "plug", 1, """case "$request" in *blue*) echo no blue >&2; exit 1;; esac""")
    at(two, "unplug", 0, f'echo "$request" >> {two.backend}/unplugged')
    with pytest.raises(ScriptFailed, match="no blue"):
        host.plug(with_details(color="blue"))
    assert verbs(host) == ["plug", "unplug", "plug", "unplug", "plug"]
    red, blue = (two.backend / "unplugged").read_text().splitlines()
    assert '"color":"red"' in red
    assert '"color":"blue"' in blue
    assert links()[TAP].index == index
    assert agree(two, host) == {ID: State.PLUGGED}


def test_another_address_makes_another_device_when_no_guest_holds_the_tap(two: World) -> None:
    host = two.host()
    first = host.plug(binding())
    index = links()[TAP].index
    again = host.plug(binding(address="fa:16:3e:00:00:77"))
    assert again.generation > first.generation
    assert links()[TAP].address == "fe:16:3e:00:00:77"
    assert links()[TAP].index != index
    assert agree(two, host) == {ID: State.PLUGGED}


@pytest.mark.parametrize("maker", ["vifplug", "script"])
def test_another_device_is_refused_while_a_guest_holds_the_tap(two: World, maker: str) -> None:
    if maker == "script":
        at(two, "plug", 0, "ip tuntap add $VIF_DEVNAME mode tap; ip link set $VIF_DEVNAME up")
        at(two, "unplug", 0, "ip link delete $VIF_DEVNAME")
    what = with_details(made_by=maker)
    host = two.host()
    host.plug(what)
    with StandInGuest(TAP, MAC, vnet_hdr=maker == "vifplug"):
        before = links()
        with pytest.raises(VifInUse, match=f"a guest holds {TAP} open: address.*[Dd]etach"):
            host.plug({**what, "address": "fa:16:3e:00:00:77"})
        assert links() == before
        assert verbs(host) == ["plug"]
        assert host.check(ID).ok
    host.plug({**what, "address": "fa:16:3e:00:00:77"})
    assert verbs(host)[-2:] == ["unplug", "plug"]
    host.unplug(ID)
    assert links() == {}


@pytest.mark.parametrize("by", ["somebody else", "another VIF", "a VIF that libvirt makes the device of"])
def test_a_new_name_that_is_taken_leaves_the_vif_as_it_is(two: World, by: str) -> None:
    host = two.host()
    host.plug(binding())
    if by == "somebody else":
        subprocess.run(["ip", "link", "add", "tapx", "type", "bridge"], check=True)
    else:
        made_by = "vifplug" if by == "another VIF" else "libvirt"
        host.plug(binding(1, devname="tapx", vif_details={"made_by": made_by}))
    before = links()
    with pytest.raises(DeviceTaken, match="tapx is taken"):
        host.plug(binding(devname="tapx"))
    assert links() == before
    assert verbs(host) == ["plug"]
    assert host.check(ID).ok


def test_another_script_takes_over_when_no_guest_holds_the_tap(two: World) -> None:
    two.script("another", (two.scripts / "recorder").read_text())
    host = two.host()
    host.plug(binding())
    host.plug(binding(script="another"))
    assert [(call.verb, call.script) for call in host.calls(ID)] == [
        ("plug", "recorder"),
        ("unplug", "recorder"),
        ("plug", "another"),
    ]
    assert agree(two, host) == {ID: State.PLUGGED}


# --- interrupts ------------------------------------------------------------------------------------


def test_ctrl_c_in_an_update_ends_the_script_and_goes_back(two: World, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    host = two.host()
    host.plug(with_details(tag=1))
    at(two, "update", 1, f"""case "$request" in *'"tag":2'*) echo > {begun}; sleep 1000;; esac""")

    def interrupt() -> None:
        begun.read_text()
        subprocess.run(["kill", "-INT", str(os.getpid())], check=True)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        host.update(with_details(tag=2))
    interrupter.join(10)
    nothing_runs()
    assert agree(two, host) == {ID: State.PLUGGED}
    assert host.show(ID).request.details["tag"] == 1
