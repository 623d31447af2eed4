"""Attach and detach, in the hands of a real libvirtd and its guests."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import pytest

from daemons import until
from hypervisor import Hypervisor, in_guest, kept
from vifplug.errors import (
    DeviceTaken,
    GuestHolds,
    InvalidInput,
    LibvirtRefused,
    LibvirtUnreachable,
    NotPlugged,
    ScriptFailed,
)
from vifplug.host import Host
from vifplug.libvirt import attach, connect, detach, find_domain, vifs_of
from vifplug.libvirt.definition import Definition, Scope
from world import ID, TAP, World, binding, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]


# --- attach --------------------------------------------------------------------------------------


def test_a_vif_is_plugged_and_attached_to_the_guest_and_its_definition(
    world: World, host: Host, still: Any
) -> None:
    attached = attach(host, still, binding())
    assert (attached.live, attached.config, attached.changed) == (True, True, True)
    assert links()[TAP].carrier, "QEMU has it open"
    assert world.ports() == {ID}
    for scope in Scope:
        assert in_guest(still, scope) == [TAP]
        assert kept(still, scope) == [ID]
    assert host.show(ID).vif.instance.name == "guest"


def test_attached_again_nothing_is_done(world: World, host: Host, still: Any) -> None:
    attach(host, still, binding())
    asked = world.asked()
    assert not attach(host, still, binding()).changed
    assert world.asked() == asked
    assert in_guest(still) == [TAP]


def test_what_was_plugged_before_is_attached_and_not_plugged_again(
    world: World, host: Host, still: Any
) -> None:
    host.plug(binding())
    assert attach(host, still, binding()).changed
    assert world.asked() == ["plug"]


def test_what_somebody_attached_with_the_xml_of_plug_counts(host: Host, still: Any) -> None:
    still.attachDeviceFlags(host.plug(binding()).xml, 3)
    attach(host, still, binding())
    assert in_guest(still) == [TAP]
    assert in_guest(still, Scope.CONFIG) == [TAP]


@pytest.mark.parametrize("scope", Scope)
def test_it_goes_only_where_it_was_asked_to(host: Host, still: Any, scope: Scope) -> None:
    attached = attach(host, still, binding(), live=scope is Scope.LIVE, config=scope is Scope.CONFIG)
    assert (attached.live, attached.config) == (scope is Scope.LIVE, scope is Scope.CONFIG)
    assert in_guest(still, scope) == [TAP]
    assert in_guest(still, ~scope) == kept(still, ~scope) == []
    assert (TAP in links()) == (scope is Scope.LIVE), "for a start to come nothing is plugged yet"


def test_a_domain_that_is_off_gets_it_into_its_definition(
    hypervisor: Hypervisor, connection: Any, host: Host
) -> None:
    domain = connection.defineXML(hypervisor.guest())
    attached = attach(host, domain, binding())
    assert (attached.live, attached.config) == (False, True)
    assert in_guest(domain, Scope.CONFIG) == [TAP]
    assert not attach(host, domain, binding()).changed
    assert links() == {}


def test_a_transient_domain_gets_it_into_its_guest(
    hypervisor: Hypervisor, connection: Any, host: Host
) -> None:
    domain = connection.createXML(hypervisor.guest())
    attached = attach(host, domain, binding())
    assert (attached.live, attached.config) == (True, False)
    assert [one.id for one in vifs_of(domain)] == [ID]
    with pytest.raises(InvalidInput, match="is transient"):
        attach(host, domain, binding(1), config=True)


#: of the first libvirt makes the tap, and finds no bridge for it; the second it takes into no definition
REFUSED = [
    binding(vif_type="bridge", vif_details={"bridge": "no-bridge"}),
    binding(vif_type="user", vif_details={"backend": "passt"}),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_when_libvirt_refuses_the_vif_is_unplugged_and_nothing_is_left(
    world: World, host: Host, still: Any, refused: dict[str, Any]
) -> None:
    with pytest.raises(LibvirtRefused, match=r"libvirt would not attach VIF .*; the VIF was unplugged again"):
        attach(host, still, refused)
    assert world.ports() == set()
    assert world.asked() == ["plug", "unplug"]
    for scope in Scope:
        assert in_guest(still, scope) == kept(still, scope) == []
    assert host.list() == []


@pytest.mark.parametrize("refused", REFUSED)
def test_what_was_plugged_before_libvirt_refused_stays_so(
    world: World, host: Host, still: Any, refused: dict[str, Any]
) -> None:
    host.plug(refused)
    with pytest.raises(LibvirtRefused):
        attach(host, still, refused)
    assert world.ports() == {ID}


def test_when_it_cannot_be_plugged_the_domain_is_as_before(world: World, host: Host, still: Any) -> None:
    world.on("plug", status=1)
    with pytest.raises(ScriptFailed):
        attach(host, still, binding())
    for scope in Scope:
        assert in_guest(still, scope) == kept(still, scope) == []
    assert links() == {}


def test_anothers_interface_with_that_address_is_not_touched(host: Host, still: Any) -> None:
    still.attachDeviceFlags(
        f"<interface type='user'><mac address='{binding()['address']}'/><model type='virtio'/></interface>", 1
    )
    with pytest.raises(
        InvalidInput, match=r"address: fa:16:3e:00:00:00 is that of another interface of domain"
    ):
        attach(host, still, binding())
    assert len(in_guest(still)) == 1
    assert host.list() == []


def test_a_domain_that_is_off_has_no_guest_to_attach_to(
    hypervisor: Hypervisor, connection: Any, host: Host
) -> None:
    domain = connection.defineXML(hypervisor.guest())
    with pytest.raises(InvalidInput, match="domain guest does not run"):
        attach(host, domain, binding(), live=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"alias": "ua-own"}, "alias: 'ua-own' cannot be used here"), ({"address": None}, "address is missing")],
)
def test_what_cannot_be_attached_is_refused_before_anything_is_done(
    host: Host, still: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        attach(host, still, binding(**fields))
    assert kept(still, Scope.LIVE) == []


def test_a_device_name_that_is_taken_is_told_as_everywhere(host: Host, still: Any) -> None:
    subprocess.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"], check=True)
    with pytest.raises(DeviceTaken):
        attach(host, still, binding())
    assert kept(still, Scope.LIVE) == []


# --- detach --------------------------------------------------------------------------------------


def test_a_guest_that_does_not_answer_keeps_its_vif_plugged(world: World, host: Host, still: Any) -> None:
    attach(host, still, binding())
    with pytest.raises(
        GuestHolds, match=r"stays plugged and in domain guest: the guest has not let go of it"
    ):
        detach(host, still, ID, patience=1)
    assert links()[TAP].carrier
    assert world.ports() == {ID}
    for scope in Scope:
        assert in_guest(still, scope) == [TAP]


def test_from_a_guest_that_does_not_answer_it_is_taken_by_force(world: World, host: Host, still: Any) -> None:
    attach(host, still, binding())
    detached = detach(host, still, ID, patience=0.1, force=True)
    assert detached.forced and detached.unplugged
    assert links() == {} and world.ports() == set()
    assert in_guest(still, Scope.CONFIG) == []


def test_a_paused_guest_is_named_as_such(host: Host, still: Any) -> None:
    attach(host, still, binding())
    still.suspend()
    with pytest.raises(GuestHolds, match="it is paused: 'virsh resume guest'"):
        detach(host, still, ID, patience=0.1)


def test_from_a_definition_it_goes_at_once_and_stays_plugged_for_the_guest(
    world: World, host: Host, still: Any
) -> None:
    attach(host, still, binding())
    detached = detach(host, still, ID, config=True)
    assert detached.config and not detached.live and not detached.unplugged
    assert in_guest(still) == [TAP] and in_guest(still, Scope.CONFIG) == []
    assert world.ports() == {ID}


def test_from_a_domain_that_is_off_it_goes_at_once(
    hypervisor: Hypervisor, connection: Any, host: Host, world: World
) -> None:
    domain = connection.defineXML(hypervisor.guest())
    attach(host, domain, binding())
    detached = detach(host, domain, ID)
    assert detached.config and not detached.live
    assert in_guest(domain, Scope.CONFIG) == kept(domain, Scope.CONFIG) == []
    with pytest.raises(NotPlugged, match="has no interface of VIF .*, nor is it plugged"):
        detach(host, domain, ID)


def test_a_vif_of_another_guest_is_not_unplugged(
    hypervisor: Hypervisor, connection: Any, host: Host, still: Any
) -> None:
    attach(host, still, binding())
    other = connection.defineXML(hypervisor.guest("other"))
    with pytest.raises(NotPlugged, match="is plugged, but domain other has no interface of it"):
        detach(host, other, ID)
    assert links()[TAP].carrier


def test_of_a_guest_that_has_ended_it_is_unplugged(
    hypervisor: Hypervisor, host: Host, still: Any, world: World
) -> None:
    attach(host, still, binding())
    hypervisor.crash("guest")
    until(lambda: not still.isActive())
    assert detach(host, still, ID).unplugged
    assert links() == {} and world.ports() == set()


# --- libvirtd gone in the middle -----------------------------------------------------------------


def test_when_libvirtd_dies_in_the_middle_nothing_is_taken_from_the_guest_and_it_can_be_done_again(
    hypervisor: Hypervisor, connection: Any, world: World, host: Host, still: Any
) -> None:
    world.on("plug", do=f"kill -9 {hypervisor.process}")
    try:
        with pytest.raises(
            LibvirtUnreachable, match="the guest may have the interface, so the VIF stays plugged"
        ):
            attach(host, still, binding())
    finally:
        until(lambda: not hypervisor.runs())
        hypervisor.start()
    world.on("plug")
    assert world.ports() == {ID} and TAP in links()
    with closing(connect()) as again:
        domain = find_domain(again, "guest")
        assert attach(host, domain, binding()).changed
        assert in_guest(domain) == in_guest(domain, Scope.CONFIG) == [TAP]
        assert not any(one.at_work for one in Definition.of(domain, Scope.LIVE).kept.values())


def test_when_libvirtd_dies_before_anything_is_done_nothing_is(
    hypervisor: Hypervisor, host: Host, still: Any
) -> None:
    hypervisor.kill()
    try:
        with pytest.raises(LibvirtUnreachable, match="the connection to libvirt broke off"):
            attach(host, still, binding())
    finally:
        hypervisor.start()
    assert host.list() == [] and links() == {}


@pytest.mark.parametrize("persistent", [True, False])
def test_a_guest_that_ends_while_it_is_asked_has_let_go_too(
    hypervisor: Hypervisor, connection: Any, host: Host, persistent: bool
) -> None:
    made = hypervisor.guest()
    domain = connection.defineXML(made) if persistent else connection.createXML(made)
    if persistent:
        domain.create()
    attach(host, domain, binding())
    crash = threading.Timer(0.3, hypervisor.crash, ["guest"])
    crash.start()
    detached = detach(host, domain, ID)
    crash.join()
    assert detached.unplugged and not detached.forced and detached.seconds < 20
    assert host.list() == [] and links() == {}


def test_a_guest_that_refuses_is_told_as_such_stand_in(
    host: Host, still: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU 7.2 tells of no refusal for a card: the event is made up here."""
    attach(host, still, binding())
    removal = sys.modules["vifplug.libvirt.detach"]._Removal
    monkeypatch.setattr(removal, "wait", lambda self, _: self._failed(None, None, self._alias, None))
    with pytest.raises(GuestHolds, match="the guest refuses to let go of it"):
        detach(host, still, ID)
    assert links()[TAP].carrier
