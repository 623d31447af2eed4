"""A guest moved between two hosts while it runs: its network follows; a failure leaves both hosts as they were."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from two_hosts import PORT, Movers, OneHost, Pinging, TwoHosts, two_hosts, wait
from vifplug.errors import DestinationUnable, InvalidInput, MigrationFailed
from vifplug.libvirt import Phase, finish, vifs_of
from vifplug.libvirt.definition import Definition, Scope
from vifplug.model import as_binding
from world import binding

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ONE, TWO = (binding(number)["id"] for number in (1, 2))


@pytest.fixture(scope="module")
def pair() -> Iterator[TwoHosts]:
    with two_hosts() as pair:
        for one in pair.both:
            one.start()
        yield pair


@pytest.fixture
def movers(pair: TwoHosts) -> Iterator[Movers]:
    """Two hosts without guests and VIFs."""
    with Movers.between(pair) as movers:
        yield movers


# --- it moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["managed", "peer to peer"])
def test_a_guest_pings_on_as_it_moves(movers: Movers, way: str, record_property: Any) -> None:
    domain = movers.guest(boots=True)
    pinging = Pinging(movers.pair)
    phases: list[Phase] = []
    uri = movers.there.hypervisor.uri
    moved = movers.move(domain, peer_to_peer=None if way == "managed" else uri, on_phase=phases.append)
    pinging.wait()
    lost = pinging.end()
    record_property("pings", str(lost))
    assert lost.gap < 5 and moved.vifs == [ONE] and moved.notes == []
    assert phases == list(Phase)
    assert movers.is_there()
    assert movers.there.world.asked() == ["plug", "activate", "check"]
    first = movers.there.world.requests()[0]
    assert first["migration"] == {"role": "destination", "phase": "prepare"}
    assert first["instance"]["name"] == "guest"
    assert movers.here.world.asked()[-1] == "unplug"


def test_there_and_back_again(movers: Movers) -> None:
    domain = movers.guest()
    movers.move(domain)
    domain = movers.there.domain(movers.connections[2])
    assert domain.isPersistent() and [kept.id for kept in vifs_of(domain)] == [ONE]
    movers.move(domain, back=True)
    assert movers.is_still_here()
    generation = movers.here.records()[0].generation
    assert generation > 1  # plugged anew


def test_a_transient_domain_with_two_vifs_moves(movers: Movers) -> None:
    domain = movers.guest(binding(1), binding(2, vif_details={"tag": 5}))
    domain.undefine()
    assert movers.move(domain).vifs == [ONE, TWO]
    assert movers.is_there(ONE) and movers.there.is_home(TWO)
    assert not movers.there.domain(movers.connections[2]).isPersistent()


def test_an_interface_that_somebody_attached_with_what_plug_answered_moves_too(movers: Movers) -> None:
    xml = movers.hosts[1].plug(binding(1)).xml
    text = movers.here.hypervisor.guest().replace("</devices>", xml + "</devices>")
    domain = movers.connections[1].createXML(text)
    assert movers.move(domain).vifs == [ONE]
    assert movers.is_there()


def test_a_guest_without_vifs_moves_too(movers: Movers) -> None:
    domain = movers.connections[1].createXML(movers.here.hypervisor.guest())
    assert movers.move(domain).vifs == []
    assert movers.there.runs()


def test_the_destination_binds_it_otherwise(movers: Movers) -> None:
    """Another script, other details, another device's name: the guest sees the same card."""
    movers.there.world.script("other", (movers.there.world.scripts / "recorder").read_text())
    other = binding(1, script="other", devname="tapother", vif_details={"tag": 7})
    domain = movers.guest()
    card = Definition.of(domain, Scope.LIVE).interfaces[0].element.find("address")
    movers.move(domain, bindings=[other])
    assert movers.is_there()
    (record,) = movers.there.records()
    assert (record.script and record.script.name, record.vif.devname) == ("other", "tapother")
    domain = movers.there.domain(movers.connections[2])
    (interface,) = Definition.of(domain, Scope.LIVE).interfaces
    assert interface.device == "tapother"
    there = interface.element.find("address")
    assert card is not None and there is not None and card.attrib == there.attrib
    for scope in (Scope.LIVE, Scope.CONFIG):
        (kept,) = Definition.of(domain, scope).kept.values()
        assert as_binding(kept.vif())["vif_details"] == {"tag": 7, "vif_plug_script": "other"}


def test_a_tap_of_vifplug_s_here_is_a_bridge_port_of_libvirt_s_there(
    movers: Movers, record_property: Any
) -> None:
    """The VIF's type differs between the two hosts: the guest cannot tell."""
    domain = movers.guest(boots=True)
    pinging = Pinging(movers.pair)
    other = binding(1, vif_type="bridge", vif_details={"bridge": "br-data"})
    movers.there.world.on("plug")
    movers.move(domain, bindings=[other])
    pinging.wait()
    lost = pinging.end()
    record_property("pings", str(lost))
    assert movers.there.runs() and not movers.here.has() and movers.here.is_clean()
    (record,) = movers.there.records()
    assert (record.vif.type, record.request.arriving) == ("bridge", False)
    assert movers.there.taps().keys() == {record.vif.devname}


def test_a_script_that_fails_to_activate_is_noted_and_told_again_by_its_daemon(movers: Movers) -> None:
    movers.there.world.on("activate", status=1)
    moved = movers.move(movers.guest())
    (told,) = moved.notes
    assert ONE in told and "the backend said no" in told
    assert movers.there.runs() and movers.here.is_clean()
    movers.there.world.on("activate")
    wait(movers.is_there, 60)


def test_a_backend_that_keeps_the_source_s_port_is_owed_and_noted(movers: Movers) -> None:
    movers.here.world.on("unplug", status=1)
    moved = movers.move(movers.guest())
    assert any("at the source" in told for told in moved.notes)
    assert movers.there.is_home(ONE)
    assert [record.state for record in movers.here.records()] == ["debt"]


# --- it does not begin ---------------------------------------------------------------------------


def unable(movers: Movers, domain: Any, **more: Any) -> str:
    """The destination's no: nothing was done at either side."""
    asked = movers.here.world.asked()
    with pytest.raises(DestinationUnable) as caught:
        movers.move(domain, **more)
    assert movers.here.world.asked() == asked
    assert movers.is_still_here()
    return caught.value.message


def test_a_destination_without_the_script_says_so_before_anything_is_done(movers: Movers) -> None:
    domain = movers.guest()
    script = movers.there.world.scripts / "recorder"
    text = script.read_text()
    script.unlink()
    try:
        said = unable(movers, domain)
    finally:
        movers.there.world.script("recorder", text)
    assert ONE in said and "recorder" in said
    assert movers.there.world.asked() == []


def test_a_destination_whose_script_is_not_trusted_says_so(movers: Movers) -> None:
    domain = movers.guest()
    (movers.there.world.scripts / "recorder").chmod(0o777)
    try:
        assert "may not run" in unable(movers, domain)
    finally:
        (movers.there.world.scripts / "recorder").chmod(0o755)


def with_info(one: OneHost, **fields: Any) -> None:
    """A script that says so of itself: it is asked once for each content of its file."""
    one.world.info(**{"verbs": ["plug", "unplug", "check", "activate"], **fields})
    script = one.world.scripts / "recorder"
    one.world.script("recorder", script.read_text() + f"# {fields}\n")


def test_a_destination_with_an_older_script_says_so_unless_that_will_do(movers: Movers) -> None:
    domain = movers.guest()
    with_info(movers.there, version="1.1.9")
    try:
        said = unable(movers, domain)
        assert "recorder is version 1.1.9 at the destination, older than 1.2 here" in said
        movers.move(domain, allow_older=True)
        assert movers.is_there()
    finally:
        with_info(movers.there, version="1.2")


def test_a_destination_whose_script_does_not_take_the_type_says_so(movers: Movers) -> None:
    domain = movers.guest()
    with_info(movers.there, version="1.2", vif_types=["vhostuser"])
    try:
        assert "takes vhostuser, not ethernet" in unable(movers, domain)
    finally:
        with_info(movers.there, version="1.2.0")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"mtu": 1400}, "mtu 1400"),
        ({"model": "e1000"}, "model e1000"),
        ({"address": "fa:16:3e:00:00:77"}, "address"),
    ],
    ids=["mtu", "model", "address"],
)
def test_what_the_guest_would_see_changed_is_refused_and_the_destination_clean(
    movers: Movers, other: dict[str, Any], what: str
) -> None:
    domain = movers.guest()
    assert what in unable(movers, domain, bindings=[binding(1, **other)])


def test_a_binding_of_a_vif_that_the_guest_has_not_is_refused(movers: Movers) -> None:
    domain = movers.guest()
    with pytest.raises(InvalidInput, match="has no interface"):
        movers.move(domain, bindings=[binding(2)])
    assert movers.is_still_here()


def test_a_domain_that_is_off_is_not_moved(movers: Movers) -> None:
    domain = movers.connections[1].defineXML(movers.here.hypervisor.guest())
    with pytest.raises(MigrationFailed, match="does not run"):
        movers.move(domain)


# --- it fails, or is cancelled -------------------------------------------------------------------


def test_a_plug_that_fails_at_the_destination_leaves_it_clean(movers: Movers) -> None:
    domain = movers.guest(binding(1), binding(2))
    movers.there.world.on("plug", do=f"[ $VIF_ID != {TWO} ] || exit 1")
    with pytest.raises(Exception, match="the destination could not be plugged"):
        movers.move(domain)
    assert movers.is_still_here(ONE) and movers.here.is_home(TWO)


@pytest.mark.parametrize("way", ["managed", "peer to peer"])
def test_a_migration_that_libvirt_refuses_leaves_source_and_destination_as_they_were(
    movers: Movers, way: str
) -> None:
    domain = movers.guest()
    peer = None if way == "managed" else movers.there.hypervisor.uri
    with pytest.raises(MigrationFailed, match="runs at the source as before"):
        movers.move(domain, peer_to_peer=peer, uri="tcp:10.88.0.99:1")  # where nobody is
    assert movers.is_still_here()
    movers.move(domain, peer_to_peer=peer)  # and it can still move
    assert movers.is_there()


def test_a_destination_s_qemu_that_dies_on_the_way_leaves_both_as_they_were(movers: Movers) -> None:
    domain = movers.guest(boots=True)

    def crash() -> None:
        wait(lambda: domain.jobStats().get("memory_processed", 0))
        movers.there.hypervisor.crash("guest")

    crasher = threading.Thread(target=crash)
    crasher.start()
    with pytest.raises(MigrationFailed, match="runs at the source as before"):
        movers.move(domain, parameters=slowly())
    crasher.join()
    wait(movers.is_still_here)


def slowly() -> dict[str, int]:
    """MiB a second: a guest that has booted takes half a minute."""
    return {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 1}


def test_a_migration_that_takes_too_long_is_cancelled(movers: Movers) -> None:
    domain = movers.guest(boots=True)
    pinging = Pinging(movers.pair)
    with pytest.raises(MigrationFailed, match="was cancelled.*runs at the source as before"):
        movers.move(domain, parameters=slowly(), seconds=1.0)
    assert movers.is_still_here()
    pinging.wait()
    assert pinging.end().lost <= 2


def test_ctrl_c_cancels(movers: Movers) -> None:
    domain = movers.guest(boots=True)

    def interrupt() -> None:
        wait(lambda: domain.jobStats().get("memory_processed", 0))
        os.kill(os.getpid(), signal.SIGINT)  # to the main thread, as a terminal's

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        movers.move(domain, parameters=slowly())
    interrupter.join()
    assert movers.is_still_here()


# --- finish --------------------------------------------------------------------------------------


def test_finish_does_what_was_left_and_again_nothing(movers: Movers) -> None:
    class Dead(Exception):
        pass

    def die(phase: Phase) -> None:
        if phase is Phase.MOVED:
            raise Dead

    domain = movers.guest()
    with pytest.raises(Dead):
        movers.move(domain, on_phase=die)
    assert movers.there.records()[0].request.arriving and movers.here.records()
    arrived = movers.there.domain(movers.connections[2])
    for _ in range(2):
        done = finish(movers.hosts[1], movers.connections[1], movers.hosts[2], arrived)
        assert (done.vifs, done.notes) == ([ONE], [])
        assert movers.is_there()


def test_what_runs_at_the_source_is_not_finished(movers: Movers) -> None:
    domain = movers.guest()
    with pytest.raises(MigrationFailed, match="at the source too"):
        finish(movers.hosts[1], movers.connections[1], movers.hosts[2], domain)
    assert movers.is_still_here()


def test_the_page_s_program_moves_a_guest(movers: Movers, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
    program = page.split("```python\n")[1].split("```")[0]
    assert movers.here.served is not None and movers.there.served is not None
    for named, one in (
        ("/run/vifplug/vifplugd.sock", movers.here.served.socket),
        ("/run/vifplug/host2.sock", movers.there.served.socket),
        ("qemu:///system", movers.here.hypervisor.uri),
        ("qemu+ssh://host2/system", movers.there.hypervisor.uri),
    ):
        assert named in program
        program = program.replace(named, one)
    movers.guest()
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102
    assert PORT in capsys.readouterr().out
    for one in ("here", "there", "source", "destination"):
        names[one].close()
    assert movers.is_there()


def test_the_page_s_four_calls_move_a_vif(movers: Movers) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
    program = page.split("```python\n")[2].split("```")[0]
    here, there = movers.hosts[1], movers.hosts[2]
    generation = here.plug(binding(1)).generation
    names = {"here": here, "there": there, "binding": binding(1), "vif_id": PORT, "generation": generation}
    exec(program, names)  # noqa: S102
    assert movers.here.is_clean()
    assert not movers.there.records()[0].request.arriving
