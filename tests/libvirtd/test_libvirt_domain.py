"""VIFs in a domain's definition, and guests that are started with them, on a real libvirtd."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hypervisor import Hypervisor, in_guest, kept
from vifplug.errors import InvalidInput, LibvirtRefused, ScriptFailed
from vifplug.host import Host
from vifplug.libvirt import Fate, define, start, vifs_of
from vifplug.libvirt.definition import Definition, Scope
from world import TAP, World, binding, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ONE, TWO, THREE = (binding(number)["id"] for number in (1, 2, 3))
FOREIGN = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>"


@pytest.fixture
def off(hypervisor: Hypervisor, connection: Any) -> Any:
    """A domain that is off, with an interface of somebody else's."""
    domain = connection.defineXML(hypervisor.guest())
    domain.attachDeviceFlags(FOREIGN, Scope.CONFIG)
    return domain


def slots(domain: Any) -> list[str | None]:
    """Where on its bus the guest finds each interface."""
    found = Definition.of(domain, Scope.CONFIG).interfaces
    return [one.element.find("address").get("slot") for one in found]  # type: ignore[union-attr]


def test_a_definition_gets_what_is_bound_changes_what_is_bound_otherwise_and_loses_the_rest(
    host: Host, off: Any
) -> None:
    assert define(host, off, [binding(1), binding(2)]).vifs == {ONE: Fate.ADDED, TWO: Fate.ADDED}
    before = slots(off)
    defined = define(host, off, [binding(2, mtu=1400), binding(3)])
    assert defined.vifs == {ONE: Fate.REMOVED, TWO: Fate.CHANGED, THREE: Fate.ADDED}
    assert [vif.id for vif in vifs_of(off)] == [TWO, THREE]
    assert in_guest(off, Scope.CONFIG) == [None, "tap00000002-7d", "tap00000003-7d"]
    assert slots(off)[:2] == [before[0], before[2]], "the guest knows its cards by their places"
    assert '<mtu size="1400"/>' in off.XMLDesc().replace("'", '"')
    assert links() == {} and host.list() == []


def test_defined_again_nothing_is_touched(host: Host, off: Any) -> None:
    define(host, off, [binding(1, mtu=1400), binding(2, vif_type="user")])
    before = off.XMLDesc()
    defined = define(host, off, [binding(2, vif_type="user"), binding(1, mtu=1400)])
    assert not defined.changed
    assert off.XMLDesc() == before


def test_what_libvirt_refuses_leaves_the_definition_as_it_was(host: Host, off: Any) -> None:
    define(host, off, [binding(1)])
    before = off.XMLDesc()
    with pytest.raises(LibvirtRefused, match="libvirt would not attach VIF"):
        define(host, off, [binding(1), binding(2, vif_type="user", vif_details={"backend": "passt"})])
    assert off.XMLDesc() == before


def test_two_bindings_of_one_port_are_refused_before_anything_is_done(host: Host, off: Any) -> None:
    with pytest.raises(InvalidInput, match=f"id: {ONE} is that of two bindings"):
        define(host, off, [binding(1), binding(1)])
    assert kept(off, Scope.CONFIG) == []


def test_a_vif_whose_script_says_where_it_is_is_plugged_to_be_told(
    world: World, host: Host, off: Any
) -> None:
    world.on("plug", do="""echo '{"vif": {"path": "/run/switch/port-1"}}'""")
    define(host, off, [binding(1, vif_type="vhostuser")])
    assert "path='/run/switch/port-1'" in off.XMLDesc()
    assert world.asked() == ["plug", "unplug"]
    assert host.list() == []


def test_what_is_bound_for_a_guest_that_runs_comes_with_its_next_start(
    hypervisor: Hypervisor, host: Host, off: Any
) -> None:
    off.create()
    define(host, off, [binding(1)])
    assert len(in_guest(off)) == 1 and len(in_guest(off, Scope.CONFIG)) == 2
    assert links() == {}


def test_a_start_plugs_first(world: World, host: Host, off: Any) -> None:
    define(host, off, [binding(1), binding(2)])
    started = start(host, off)
    assert started.changed and started.vifs == [ONE, TWO]
    assert links()["tap00000001-7d"].carrier and links()["tap00000002-7d"].carrier
    for scope in Scope:
        assert not any(one.at_work for one in Definition.of(off, scope).kept.values())
    assert not start(host, off).changed


def test_a_start_plugs_anew_what_an_earlier_run_left(world: World, host: Host, off: Any) -> None:
    """So that who is about to unplug that, by its generation, does not meet the guest's."""
    define(host, off, [binding(1)])
    left = host.plug(vifs_of(off)[0].vif()).generation
    start(host, off)
    assert host.show(ONE).generation > left
    assert not host.unplug(ONE, generation=left).changed
    assert links()["tap00000001-7d"].carrier


def test_a_guest_that_libvirt_cannot_start_leaves_nothing_plugged(world: World, host: Host, off: Any) -> None:
    define(host, off, [binding(1), binding(2, vif_type="bridge", vif_details={"bridge": "no-bridge"})])
    with pytest.raises(LibvirtRefused, match="libvirt would not start domain guest: .*no-bridge"):
        start(host, off)
    assert links() == {} and world.ports() == set() and host.list() == []
    assert not any(one.at_work for one in vifs_of(off))


def test_a_guest_with_a_vif_that_cannot_be_plugged_is_not_started(world: World, host: Host, off: Any) -> None:
    define(host, off, [binding(1), binding(2)])
    world.on("plug", do=f'[ "$VIF_ID" != {TWO} ] || exit 1')
    with pytest.raises(ScriptFailed):
        start(host, off)
    assert not off.isActive()
    assert links() == {} and world.ports() == set()


def test_a_start_writes_what_the_script_says_now_into_the_definition(
    world: World, host: Host, off: Any
) -> None:
    define(host, off, [binding(1)])
    world.on("plug", do="""echo '{"vif": {"mtu": 1380}}'""")
    start(host, off)
    assert "<mtu size='1380'/>" in off.XMLDesc()


def test_ready_means_plugged_while_the_guest_is_off(world: World, host: Host, off: Any) -> None:
    define(host, off, [binding(1)], ready=True)
    assert list(links()) == ["tap00000001-7d"]
    off.create()  # by whomever
    assert links()["tap00000001-7d"].carrier
    off.destroy()
    define(host, off, [binding(1)])
    assert vifs_of(off)[0].ready, "as it was"
    define(host, off, [binding(1)], ready=False)
    assert links() == {} and world.ports() == set()


def test_a_transient_domain_has_no_definition(hypervisor: Hypervisor, connection: Any, host: Host) -> None:
    domain = connection.createXML(hypervisor.guest())
    with pytest.raises(InvalidInput, match="domain guest is transient"):
        define(host, domain, [binding()])
    assert TAP not in links()


def test_a_vif_whose_script_fails_leaves_no_trace_in_the_definition(
    world: World, host: Host, off: Any
) -> None:
    before = off.XMLDesc()
    world.on("plug", status=1)
    with pytest.raises(ScriptFailed):
        define(host, off, [binding(1, vif_type="vhostuser")])
    assert off.XMLDesc().replace("  <metadata/>\n", "") == before and host.list() == []


def test_what_a_script_says_and_libvirt_refuses_is_unplugged_again(
    world: World, host: Host, off: Any
) -> None:
    define(host, off, [binding(1)])
    world.on("plug", do="""echo '{"vif": {"pci_slot": "0000:00:1f.0"}}'""")
    with pytest.raises(LibvirtRefused, match="per-device boot elements cannot be used together with os/boot"):
        define(host, off, [binding(1), binding(2, vif_type="hostdev", boot_order=1)])
    assert kept(off, Scope.CONFIG) == [ONE]
    assert host.list() == [] and world.ports() == set()


def test_two_who_start_a_guest_at_once_start_it_once(
    hypervisor: Hypervisor, world: World, host: Host, off: Any
) -> None:
    define(host, off, [binding(1), binding(2)])
    world.on("plug", do="sleep 0.2")  # both are in the middle of it
    with hypervisor.connected() as other, ThreadPoolExecutor(2) as pool:
        domains = [off, other.lookupByName("guest")]
        both = [pool.submit(start, host, domain) for domain in domains]
        assert sorted(one.result().changed for one in both) == [False, True]
    assert links()["tap00000001-7d"].carrier and links()["tap00000002-7d"].carrier
