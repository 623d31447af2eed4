"""Guests that end, crash, come and go, on a real libvirtd that does so too: what they had is unplugged."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from daemons import until
from hypervisor import Hypervisor, kept
from served import Served
from vifplug.errors import InvalidInput
from vifplug.host import Host
from vifplug.libvirt import Watcher, attach, define, definition, start
from vifplug.libvirt.definition import Scope, keep, ours
from vifplug.model import read_binding
from vifplug.remote import RemoteHost
from world import ID, TAP, World, binding, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ONE, TWO = (binding(number)["id"] for number in (1, 2))


class Watching:
    """A watcher in a thread; how often it has looked at all."""

    def __init__(self, host: Host, interval: float = 3600) -> None:  # events alone have to do
        self.looks = 0
        self.watcher = Watcher(host, interval=interval)
        self.watcher.on_look = self._looked
        self._thread = threading.Thread(target=self.watcher.run)

    def _looked(self) -> None:
        self.looks += 1

    def __enter__(self) -> Watching:
        self._thread.start()
        until(lambda: self.looks)
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        self._thread.join()


@pytest.fixture
def watching(host: Host) -> Iterator[Watching]:
    with Watching(host) as watching:
        yield watching


@pytest.fixture
def domain(hypervisor: Hypervisor, connection: Any) -> Any:
    return connection.defineXML(hypervisor.guest())


def nothing_plugged(host: Host) -> bool:
    return not host.list() and not links()


@pytest.mark.parametrize("end", ["destroyed", "crashed"])
def test_a_guest_that_ends_is_unplugged_however_it_ends(
    hypervisor: Hypervisor, world: World, host: Host, domain: Any, watching: Watching, end: str
) -> None:
    define(host, domain, [binding(1), binding(2)])
    for _ in range(2):
        start(host, domain)
        assert world.ports() == {ONE, TWO}
        if end == "destroyed":
            domain.destroy()
        else:
            hypervisor.crash("guest")
        until(lambda: nothing_plugged(host))
    assert world.ports() == set()
    assert kept(domain, Scope.CONFIG) == [ONE, TWO], "for the next start"


def test_what_was_attached_to_the_guest_alone_goes_with_it(
    hypervisor: Hypervisor, world: World, host: Host, domain: Any, watching: Watching
) -> None:
    domain.create()
    attach(host, domain, binding(1), live=True)
    hypervisor.crash("guest")
    until(lambda: nothing_plugged(host))


def test_a_transient_domain_takes_its_vifs_along(
    hypervisor: Hypervisor, connection: Any, world: World, host: Host, watching: Watching
) -> None:
    domain = connection.createXML(hypervisor.guest())
    attach(host, domain, binding(1))
    hypervisor.crash("guest")
    until(lambda: nothing_plugged(host))


def test_a_guest_that_lets_go_of_a_device_by_anybodys_wish_is_unplugged(
    hypervisor: Hypervisor, connection: Any, world: World, host: Host, watching: Watching
) -> None:
    domain = connection.defineXML(hypervisor.guest(boots=True))
    domain.create()
    hypervisor.wait_said("guest", "guest: up")
    attach(host, domain, binding(1))
    hypervisor.wait_said("guest", "10.9.0.1")
    domain.detachDeviceAlias(f"ua-vifplug-{ONE}", Scope.LIVE)
    until(lambda: nothing_plugged(host))
    assert domain.isActive()


def test_a_ready_vif_stays_plugged_from_one_run_to_the_next_and_goes_with_the_domain(
    hypervisor: Hypervisor, world: World, host: Host, domain: Any, watching: Watching
) -> None:
    define(host, domain, [binding(1)], ready=True)
    domain.create()
    hypervisor.crash("guest")
    until(lambda: not domain.isActive())
    host.unplug(ONE)  # behind its back
    domain.setAutostart(1)
    keep(domain, ours(read_binding(binding(1)), domain), Scope.CONFIG, ready=True)  # which is an event
    until(lambda: "tap00000001-7d" in links())
    domain.undefine()
    until(lambda: nothing_plugged(host))


def test_a_guest_that_somebody_else_started_is_plugged_as_far_as_it_can_be(
    hypervisor: Hypervisor, world: World, host: Host, domain: Any, watching: Watching
) -> None:
    define(host, domain, [binding(1, vif_type="user")])  # QEMU needs nothing beforehand for it
    domain.create()
    until(lambda: world.ports() == {ONE})
    hypervisor.crash("guest")
    until(lambda: nothing_plugged(host))


def test_what_happened_while_nobody_watched_is_noticed(
    hypervisor: Hypervisor, connection: Any, world: World, host: Host, domain: Any
) -> None:
    define(host, domain, [binding(1)])
    start(host, domain)
    passing = connection.createXML(hypervisor.guest("passing"))
    attach(host, passing, binding(2))
    staying = connection.createXML(hypervisor.guest("staying"))
    attach(host, staying, binding(3))
    for name in ("guest", "passing"):
        hypervisor.crash(name)
    until(lambda: len(connection.listAllDomains(1)) == 1)
    with Watching(host):
        until(lambda: world.ports() == {binding(3)["id"]})
    assert links()["tap00000003-7d"].carrier


def test_a_libvirtd_that_was_killed_is_found_again_with_what_ended_meanwhile(
    hypervisor: Hypervisor, world: World, host: Host, domain: Any, connection: Any, watching: Watching
) -> None:
    define(host, domain, [binding(1)])
    start(host, domain)
    staying = connection.createXML(hypervisor.guest("staying"))
    attach(host, staying, binding(2))
    looks = watching.looks
    hypervisor.kill()
    hypervisor.crash("guest")
    hypervisor.start()
    until(lambda: watching.looks > looks and list(links()) == ["tap00000002-7d"])
    assert world.ports() == {TWO}
    assert links()["tap00000002-7d"].carrier, "a guest that ran on was not touched"
    hypervisor.crash("staying")  # and it hears again
    until(lambda: nothing_plugged(host))


def test_who_is_at_work_is_left_alone_and_who_died_at_it_is_not(
    hypervisor: Hypervisor,
    world: World,
    host: Host,
    domain: Any,
    watching: Watching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    define(host, domain, [binding(1), binding(2)])
    vifs = [ours(read_binding(binding(number)), domain) for number in (1, 2)]
    for vif in vifs:  # somebody is about to start it
        keep(domain, vif, Scope.CONFIG, working=True)
        host.plug(vif)
    keep(domain, vifs[0], Scope.CONFIG)  # and gave up on the one, an event
    until(lambda: list(links()) == ["tap00000002-7d"])
    assert world.ports() == {TWO}


def test_others_vifs_are_left_alone(world: World, host: Host, hypervisor: Hypervisor) -> None:
    host.plug(binding())  # by whoever it was, for a guest of whomever's
    coming = binding(1, alias=f"ua-vifplug-{ONE}", migration={"role": "destination", "phase": "prepare"})
    host.plug(coming)
    with Watching(host):
        pass  # which has looked
    assert world.ports() == {ID, ONE} and TAP in links()


def test_a_domain_of_autostart_that_libvirt_could_not_start_is_started(
    world: World, host: Host, domain: Any
) -> None:
    define(host, domain, [binding(1)])
    domain.setAutostart(1)
    with pytest.raises(Exception, match="doesn't exist"):  # as after a boot, when libvirt starts it
        domain.create()
    with Watching(host):
        until(domain.isActive)
        until(lambda: links().get("tap00000001-7d") and links()["tap00000001-7d"].carrier)


def test_a_watcher_outlives_a_restart_of_vifplugd(hypervisor: Hypervisor, world: World, domain: Any) -> None:
    with Served.of(world) as served:
        host: Any = RemoteHost.at(served.socket, on_step=None, anyway=True)
        try:
            with Watching(host):
                define(host, domain, [binding(1)])
                start(host, domain)
                served.stop()
                hypervisor.crash("guest")
                until(lambda: not domain.isActive())
                served.start()
                until(lambda: nothing_plugged(host))
        finally:
            host.close()


def test_who_died_while_attaching_is_not_waited_for_for_ever(
    world: World, host: Host, domain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definition, "LEASE", 2.0)
    domain.create()
    vif = ours(read_binding(binding(1)), domain)
    keep(domain, vif, Scope.LIVE, working=True)
    host.plug(vif)  # and then it was killed
    with Watching(host, interval=0.1):
        assert world.ports() == {ONE}, "it may be at work yet"
        until(lambda: nothing_plugged(host))


def test_a_hung_script_delays_no_other_vif(
    hypervisor: Hypervisor, world: World, host: Host, domain: Any, watching: Watching
) -> None:
    define(host, domain, [binding(1), binding(2)])
    start(host, domain)
    hung = world.folder / "hung"
    os.mkfifo(hung)
    world.on("unplug", do=f"[ $VIF_ID != {ONE} ] || cat {hung}")
    hypervisor.crash("guest")
    until(lambda: world.ports() == {ONE})
    hung.write_text("")
    until(lambda: nothing_plugged(host))


def test_what_somebody_spoilt_in_a_domain_is_told_and_stops_nothing_else(
    hypervisor: Hypervisor,
    world: World,
    host: Host,
    domain: Any,
    watching: Watching,
    caplog: pytest.LogCaptureFixture,
) -> None:
    define(host, domain, [binding(1, vif_type="user"), binding(2, vif_type="user")])
    spoilt = "<vif until='soon'>{</vif>"
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, spoilt, "x", f"urn:vifplug:vif:{ONE}", Scope.CONFIG
    )
    with pytest.raises(InvalidInput, match=f"the binding of VIF {ONE} in the domain's metadata"):
        start(host, domain)
    domain.create()
    until(lambda: world.ports() == {TWO})
    until(lambda: f"the binding of VIF {ONE} in the domain's metadata" in caplog.text)
    assert define(host, domain, [binding(1, vif_type="user")]).changed, "defined again it is whole"
