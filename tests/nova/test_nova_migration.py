"""A live migration to this host, as nova-compute at its destination asks for it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import os_vif
import pytest
from nova.compute import task_states
from nova.objects import migrate_data
from nova.virt.libvirt import driver as nova_driver

from nova_side import CONF, ID, TAP, a_vif, an_instance, driver, settings
from served import Served
from taker import Taker
from world import World, links

pytestmark = [pytest.mark.usefixtures("nova"), pytest.mark.real_root]

PREPARE = {"role": "destination", "phase": "prepare"}


@pytest.fixture
def told(world: World) -> World:
    world.info(verbs=["plug", "unplug", "check", "activate"])
    return world


@contextlib.contextmanager
def on_this_host(served: Served, patience: float = 0.0) -> Iterator[None]:
    with settings("os_vif_vifplug", socket=served.socket, patience=patience):
        os_vif.initialize(reset=True)
        yield


@pytest.fixture
def served(told: World) -> Iterator[Served]:
    with Served.of(told, arrival_grace=0.01, on_drift="repair") as daemon, on_this_host(daemon):
        yield daemon


def migrating(**fields: Any) -> Any:
    """The instance as the destination's nova-compute has it, before the guest has moved."""
    instance = an_instance()
    instance.host, instance.task_state = "elsewhere", task_states.MIGRATING
    for name, value in fields.items():
        setattr(instance, name, value)
    return instance


def moved() -> Any:
    return migrating(host=CONF.host, task_state=None)


def at_destination() -> Any:
    """The VIF as pre_live_migration of the destination gets it."""
    moving = migrate_data.VIFMigrateData(
        port_id=ID, vnic_type="normal", vif_type="ethernet", host="here", source_vif=a_vif(details={"tag": 5}),
        profile={"migrating_to": "here"}, vif_details={**a_vif()["details"], "tag": 6},
    )  # fmt: skip
    moving.supports_os_vif_delegation = True
    return moving.get_dest_vif()


def prepare(instance: Any = None) -> None:
    """LibvirtDriver._pre_live_migration_plug_vifs, with the driver's real VIF driver."""
    stand_in = mock.Mock(vif_driver=driver())
    stand_in.plug_vifs = lambda *args: nova_driver.LibvirtDriver.plug_vifs(stand_in, *args)
    data = mock.MagicMock()
    data.__contains__.return_value = True
    data.vifs = [mock.Mock(get_dest_vif=at_destination)]
    nova_driver.LibvirtDriver._pre_live_migration_plug_vifs(stand_in, instance or migrating(), [], data)


def finish(*vifs: Any, error: Exception | None = None) -> None:
    """LibvirtDriver.post_live_migration_at_destination, on a stand-in for the driver."""
    stand_in = mock.Mock(instance_claimed_mdevs={})
    stand_in._reattach_instance_vifs.side_effect = error
    found = list(vifs) or [a_vif(details={"tag": 6})]
    nova_driver.LibvirtDriver.post_live_migration_at_destination(stand_in, None, migrating(), found)
    stand_in._qemu_monitor_announce_self.assert_called_once()


def record(served: Served) -> Any:
    with served.client() as client:
        return client.show(ID)


def test_the_destination_is_plugged_and_activated_when_the_guest_has_moved(
    served: Served, told: World
) -> None:
    prepare()
    assert told.requests()[0]["migration"] == PREPARE
    assert record(served).request.migration.phase == "prepare"
    with Taker(TAP):
        finish()
        assert told.asked() == ["plug", "activate"]
        driver().plug(moved(), a_vif(details={"tag": 6}, active=True))  # a restart of nova-compute
        assert told.asked() == ["plug", "activate"]
    assert record(served).request.migration is None


def test_a_vif_that_is_none_of_ours_is_not_activated(served: Served, told: World) -> None:
    finish(a_vif("ovs", script=None), a_vif("bridge", script=None))
    assert told.asked() == []


def test_what_nova_s_own_code_raises_comes_through_and_the_guest_is_known_to_be_here(
    served: Served, told: World
) -> None:
    prepare()
    with pytest.raises(OSError, match="of its own"):
        finish(error=OSError("of its own"))
    assert told.asked() == ["plug", "activate"]


def test_a_daemon_that_is_away_fails_no_migration_and_is_told_at_the_next_start(
    served: Served, told: World, caplog: pytest.LogCaptureFixture
) -> None:
    prepare()
    served.stop()
    finish()
    assert "its guest is on this host" in caplog.text and "vifplug activate" in caplog.text
    served.start()
    driver().plug(moved(), a_vif(details={"tag": 6}))
    assert told.asked() == ["plug", "activate"]
    assert record(served).request.migration is None


def test_a_daemon_that_comes_back_in_time_is_told(served: Served, told: World) -> None:
    prepare()
    served.stop()
    with on_this_host(served, patience=30.0):
        later = threading.Timer(0.3, served.start)
        later.start()
        finish()
        later.join()
    assert told.asked() == ["plug", "activate"]


def test_a_script_that_fails_to_activate_fails_no_migration(
    served: Served, told: World, caplog: pytest.LogCaptureFixture
) -> None:
    told.on("activate", status=1)
    prepare()
    finish()
    assert "the backend said no" in caplog.text
    assert TAP in links()


def test_a_migration_that_failed_and_of_which_nova_says_nothing_is_given_up(
    served: Served, told: World
) -> None:
    """As with storage that it takes for shared: the destination is never unplugged."""
    with served.client() as client:
        events = client.events()
        prepare()
        with Taker(TAP):
            client.plug({"id": f"1{ID[1:]}", "vif_type": "ethernet", "devname": "tap1"})
            subprocess.run(["ip", "link", "set", "tap1", "down"], check=True)
            while next(events).kind != "repaired":  # then it has heard, too, that the tap is taken
                pass
            client.unplug(f"1{ID[1:]}")
        while (event := next(events)).kind != "arrival-given-up":
            pass
        assert event.vif_id == ID
        assert client.list() == []
    assert links() == {} and told.asked() == ["plug", "unplug"]


def test_a_rollback_unplugs(served: Served, told: World) -> None:
    prepare()
    driver().unplug(migrating(), at_destination())
    assert links() == {} and told.asked() == ["plug", "unplug"]


@pytest.mark.parametrize("fields", [{"host": None}, {"task_state": None}, {"host": "here"}], ids=str)
def test_any_other_plug_says_nothing_of_a_migration(
    served: Served, told: World, fields: dict[str, Any]
) -> None:
    with settings(host="here"):
        driver().plug(migrating(**fields), a_vif())
    assert told.requests()[0]["migration"] is None


def test_a_guest_that_is_here_is_not_taken_for_one_that_is_still_to_come(served: Served, told: World) -> None:
    driver().plug(moved(), a_vif(details={"tag": 6}))
    prepare()
    assert record(served).request.migration is None
    assert told.asked() == ["plug"]
