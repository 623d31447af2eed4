"""Plug and unplug as Nova calls them: the real Nova as an ordinary user, the real vifplugd as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import os_vif
import pytest

from daemons import as_user, until
from nova import exception
from nova_side import (
    ID,
    INSTANCE,
    NETWORK,
    PROJECT,
    TAP,
    a_network,
    a_vif,
    an_instance,
    config,
    driver,
    settings,
    xml,
)
from served import Served
from world import World, links

pytestmark = [pytest.mark.usefixtures("nova"), pytest.mark.real_root]

NOVA, PLUGGERS, OTHER = 64021, 64102, 64022
MULTIQUEUE = {"hw_vif_multiqueue_enabled": "true"}


@pytest.fixture
def served(world: World) -> Iterator[Served]:
    world.folder.chmod(0o755)
    Path(world.config.state_dir).mkdir(mode=0o755, exist_ok=True)
    with Served.of(world, pluggers=[f"@{PLUGGERS}"]) as daemon:
        yield daemon


@pytest.fixture
def compute(served: Served) -> Iterator[Compute]:
    with settings("os_vif_vifplug", socket=served.socket, patience=0.0):
        os_vif.initialize(reset=True)
        yield Compute(served)


class Compute:
    """nova-compute on this host: an ordinary user, who is in the group that may plug."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def __call__(self, work: Callable[[], Any], groups: tuple[int, ...] = (PLUGGERS,)) -> Any:
        """What it returns, or what Nova would report: the name of its exception, and the message."""

        def told() -> Any:
            assert os.geteuid() != 0
            try:
                return work()
            except exception.NovaException as error:
                return type(error).__name__, str(error)

        return as_user(NOVA, told, groups=groups)

    def plug(self, vif: Any = None, instance: Any = None, **who: Any) -> Any:
        return self(lambda: driver().plug(instance or an_instance(), vif or a_vif()), **who)

    def unplug(self, vif: Any = None, instance: Any = None, **who: Any) -> Any:
        return self(lambda: driver().unplug(instance or an_instance(), vif or a_vif()), **who)

    @property
    def records(self) -> list[Any]:
        with self.served.client() as client:
            return client.list()


@contextlib.contextmanager
def held(queues: int = 1) -> Iterator[None]:
    """The tap is open as QEMU opens it: TUNSETIFF with IFF_TAP, IFF_NO_PI, IFF_VNET_HDR and, for several queues,
    IFF_MULTI_QUEUE (linux/if_tun.h)."""
    with contextlib.ExitStack() as files:
        for _ in range(queues):
            file = files.enter_context(Path("/dev/net/tun").open("r+b", buffering=0))
            flags = 0x5002 | (0x100 if queues > 1 else 0)
            fcntl.ioctl(file, 0x400454CA, struct.pack("16sH22x", TAP.encode(), flags))
        yield


# --- a guest's life -------------------------------------------------------------------------------


def test_spawn_and_delete(compute: Compute, world: World) -> None:
    assert compute.plug() is None
    assert list(links()) == [TAP] and links()[TAP].mtu == 1450
    assert compute.unplug() is None
    assert links() == {} and world.ports() == set()
    assert world.asked() == ["plug", "unplug"]


def test_the_script_is_told_who_the_guest_is_and_what_network_it_joins(
    compute: Compute, world: World
) -> None:
    compute.plug()
    request = world.requests()[0]
    assert request["instance"] == {"id": INSTANCE, "name": "instance-00000011", "project_id": PROJECT}
    network = request["network"]
    told = {"id": NETWORK, "label": "blue", "bridge": None, "mtu": 1450, "project_id": PROJECT}
    assert network == told | {"subnets": network["subnets"]}
    first, second = network["subnets"]
    assert (first["cidr"], first["gateway"], first["addresses"]) == ("10.0.0.0/24", "10.0.0.1", ["10.0.0.5"])
    assert first["dns"] == ["10.0.0.2"]
    assert first["routes"] == [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]
    assert (second["cidr"], second["addresses"]) == ("2001:db8::/64", ["2001:db8::5"])
    assert request["vif"]["vnic_type"] == "normal"


def test_the_guest_s_xml_is_that_which_vifplug_has_on_record(compute: Compute) -> None:
    instance = an_instance(3, {"quota:vif_inbound_average": "100"}, **MULTIQUEUE)
    with settings("libvirt", virt_type="kvm"):
        compute.plug(instance=instance)
        with compute.served.client() as client:
            recorded = client.xml(ID)
        assert config(a_vif(), instance).format_dom().find("driver").get("queues") == "3"
        assert "".join(recorded.split()) == "".join(config(a_vif(), instance)._text.split())


def test_a_tap_for_many_queues_is_made_with_many(compute: Compute) -> None:
    instance = an_instance(3, **MULTIQUEUE)
    with settings("libvirt", virt_type="kvm"):
        compute.plug(instance=instance)
    with held(queues=3):
        pass


def test_a_restart_of_nova_compute_touches_nothing(compute: Compute, world: World) -> None:
    compute.plug()
    before = links()[TAP].index
    vif = a_vif(active=True)  # Neutron has reported it meanwhile
    vif["network"]["subnets"].reverse()
    for _ in range(3):
        assert compute.plug(vif) is None
    assert links()[TAP].index == before and world.asked() == ["plug"]
    assert [record.generation for record in compute.records] == [1]


def test_a_restart_of_the_daemon_and_of_nova_compute_touches_nothing(compute: Compute, world: World) -> None:
    compute.plug()
    compute.served.stop()
    compute.served.start()
    assert compute.plug() is None
    assert world.asked() == ["plug"]


def test_a_resize_unplugs_twice(compute: Compute, world: World) -> None:
    compute.plug()
    assert compute.unplug() is None
    assert compute.unplug() is None
    assert world.asked() == ["plug", "unplug"]


def test_what_was_never_plugged_is_unplugged_without_ado(compute: Compute, world: World) -> None:
    assert compute.unplug() is None
    assert compute.unplug(a_vif("vhostuser", details={"path": 17})) is None  # whatever its details are
    assert world.asked() == []


def test_a_hard_reboot_unplugs_and_plugs_with_what_is_new(compute: Compute, world: World) -> None:
    with settings("libvirt", virt_type="kvm"):
        compute.plug()
        compute.unplug()
        assert compute.plug(instance=an_instance(2, **MULTIQUEUE)) is None
    assert world.requests()[-1]["vif"]["queues"] == 2


def test_a_migration_s_destination_plugs_what_a_restart_there_plugs_later(
    compute: Compute, world: World
) -> None:
    from nova.objects import migrate_data

    source = a_vif(details={"tag": 5})
    moving = migrate_data.VIFMigrateData(
        port_id=ID, vnic_type="normal", vif_type="ethernet", host="here", source_vif=source,
        profile={"migrating_to": "here"}, vif_details={**source["details"], "tag": 6},
    )  # fmt: skip
    moving.supports_os_vif_delegation = True
    assert compute(lambda: driver().plug(an_instance(), moving.get_dest_vif())) is None
    assert world.requests()[0]["vif"]["details"]["tag"] == 6
    assert compute.plug(a_vif(details={"tag": 6}, active=True)) is None
    assert world.asked() == ["plug"]
    assert compute(lambda: driver().unplug(an_instance(), moving.get_dest_vif())) is None  # a rollback
    assert links() == {}


def test_what_neutron_changed_reaches_a_live_vif_at_the_next_restart(compute: Compute, world: World) -> None:
    def vif(mtu: int, average: int) -> Any:
        """As vifplug's mechanism drivers bind it."""
        told = {"mtu": mtu, "bandwidth": {"inbound": {"average": average}}}
        return a_vif(network=a_network(mtu=mtu), details=told)

    compute.plug(vif(1450, 100))
    index = links()[TAP].index
    assert compute.plug(vif(1400, 200)) is None
    assert (links()[TAP].mtu, links()[TAP].index) == (1400, index)
    assert "unplug" not in world.asked()
    assert compute.records[0].vif.bandwidth.inbound.average == 200


@pytest.mark.parametrize(
    ("vif_type", "details"),
    [
        ("bridge", {"bridge": "br-data"}),
        ("network", {"network": "default"}),
        ("direct", {"source_dev": "eth1"}),
        ("hostdev", {"pci_slot": "0000:05:00.1"}),
        ("vhostuser", {"path": "/run/vhost/a"}),
        ("vdpa", {"device": "/dev/vhost-vdpa-0"}),
        ("user", {}),
    ],
)
def test_the_other_seven_types_are_plugged_by_their_script_alone(
    compute: Compute, world: World, vif_type: str, details: dict[str, Any]
) -> None:
    vif = a_vif(vif_type, details=details)
    assert compute.plug(vif) is None
    assert links() == {} and world.ports() == {ID}
    assert compute.plug(vif) is None and world.asked() == ["plug"]
    assert compute.unplug(vif) is None and world.ports() == set()


_GREEN = """
import eventlet
eventlet.monkey_patch()  # before all else, as nova-compute does unless it is told to use threads
import sys
import nova_side, os_vif
nova_side.start()
nova_side.CONF.set_override("socket", sys.argv[1], "os_vif_vifplug")
os_vif.initialize(reset=True)
vifs = [
    nova_side.a_vif(id=f"{n}" * 8 + nova_side.ID[8:], devname=f"tap{n}", address=f"fa:16:3e:00:00:0{n}")
    for n in (1, 2, 3)
]
pool = eventlet.GreenPool()
list(pool.imap(lambda vif: nova_side.driver().plug(nova_side.an_instance(), vif), vifs))
"""


def test_under_eventlet_one_vif_does_not_wait_for_another(compute: Compute, world: World) -> None:
    """Each script waits until all three are called."""
    world.on(
        "plug",
        do="touch $backend/here-$VIF_ID; until [ $(ls $backend | grep -c here-) = 3 ]; do sleep 0.01; done",
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _GREEN, compute.served.socket],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert sorted(links()) == ["tap1", "tap2", "tap3"]


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_script_that_fails_is_the_instance_s_trouble_and_no_more(compute: Compute, world: World) -> None:
    world.on("plug", status=1)
    kind, message = compute.plug()
    assert kind == "VirtualInterfacePlugException"  # for which nova-compute, as it starts, goes on
    assert message.startswith(f"VIF {ID} cannot be plugged: ") and "the backend said no" in message
    assert "VIFPlugScript(" not in message
    assert links() == {}


def test_a_script_that_is_not_there_is_named(compute: Compute) -> None:
    kind, message = compute.plug(a_vif(script="nowhere"))
    assert kind == "VirtualInterfacePlugException" and "nowhere" in message


def test_details_that_are_wrong_are_named(compute: Compute) -> None:
    kind, message = compute.plug(a_vif("bridge", details={"bridge": "a/b"}))
    assert kind == "VirtualInterfacePlugException" and "vif_details.bridge" in message


def test_who_may_not_plug_is_told_and_no_instance_is_blamed(compute: Compute) -> None:
    kind, message = compute.plug(groups=(OTHER,))
    assert kind == "InternalError" and "join the group vifplug" in message


def test_a_daemon_that_is_away_ends_nova_compute_and_says_so(compute: Compute) -> None:
    compute.served.stop()
    kind, message = compute.plug()
    assert kind == "InternalError" and "systemctl start vifplugd" in message
    kind, message = compute.unplug()
    assert kind == "VirtualInterfaceUnplugException" and "systemctl start vifplugd" in message


def test_a_daemon_that_comes_back_in_time_is_waited_for(compute: Compute, world: World) -> None:
    compute.served.stop()
    with settings("os_vif_vifplug", patience=30.0):
        later = threading.Timer(0.3, compute.served.start)
        later.start()
        assert compute.plug() is None
        later.join()
    assert world.asked() == ["plug"]


def test_an_unplug_whose_script_fails_leaves_a_debt_and_nova_goes_on(compute: Compute, world: World) -> None:
    """It is on record and tried again by vifplugd; in the middle of a live migration Nova could only fail."""
    compute.plug()
    world.on("unplug", status=1)
    assert compute.unplug() is None
    assert links() == {} and [record.state for record in compute.records] == ["debt"]


def test_a_change_that_the_running_guest_forbids_waits_for_its_restart(
    compute: Compute, world: World
) -> None:
    with settings("libvirt", virt_type="kvm"):
        compute.plug()
        with held():
            assert compute.plug(instance=an_instance(2, **MULTIQUEUE)) is None
            assert world.asked() == ["plug"]


def test_the_device_of_another_guest_is_not_taken_for_one_s_own(compute: Compute) -> None:
    with settings("libvirt", virt_type="kvm"):
        compute.plug()
        with held():
            other = an_instance(2, **MULTIQUEUE)
            other.uuid = "11111111-8d0b-4d5e-9a52-6a3a0e7f1c11"
            kind, message = compute.plug(instance=other)
            assert kind == "VirtualInterfacePlugException" and TAP in message


def test_an_answer_that_the_guest_s_xml_cannot_show_any_more_is_refused(
    compute: Compute, world: World
) -> None:
    world.on("plug", do="""echo '{"vif": {"path": "/run/elsewhere"}}'""")
    kind, message = compute.plug(a_vif("vhostuser", details={"path": "/run/vhost/a"}))
    assert kind == "VirtualInterfacePlugException" and "path=/run/elsewhere" in message
    assert "vif_details" in message
    until(lambda: compute.records == [])
    assert world.asked() == ["plug", "unplug"]


def test_an_answer_that_says_what_the_binding_says_is_fine(compute: Compute, world: World) -> None:
    world.on("plug", do="""echo '{"vif": {"path": "/run/vhost/a"}}'""")
    assert compute.plug(a_vif("vhostuser", details={"path": "/run/vhost/a"})) is None


def test_nothing_here_asks_for_privilege(compute: Compute) -> None:
    """Nova's own tap does; ours must not reach privsep."""
    from unittest import mock

    from oslo_privsep import priv_context

    with mock.patch.object(
        priv_context.PrivContext, "start", side_effect=AssertionError("privsep was asked")
    ):
        assert compute.plug() is None
        assert compute(lambda: xml(a_vif()).tag) == "interface"
        assert compute.unplug() is None
