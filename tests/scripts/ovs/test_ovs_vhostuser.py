"""vhost-user ports of a real Open vSwitch with DPDK. The guest's end of the socket is DPDK's virtio-user."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from scripts.ovs.switch import DpdkSwitch, Switch, guest, port, reaches, tap_of
from vifplug.config import ScriptSettings
from vifplug.probe import StandInGuest

NAME = f"vhu{port(1)['id'][:11]}"


def vhostuser(mode: str, bandwidth: dict[str, Any] | None = None, **details: Any) -> dict[str, Any]:
    limits: dict[str, Any] = {"bandwidth": bandwidth} if bandwidth else {}
    return port(1, vif_type="vhostuser", **limits, vif_details={"mode": mode, **details})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["client", "server"])
def test_a_guest_behind_a_vhost_user_socket_reaches_one_at_a_tap(dpdk: DpdkSwitch, mode: str) -> None:
    """The guest's frames come from a tap through a bridge of its own and virtio-user: no guest has to boot."""
    one, other = vhostuser(mode), port(2)
    host = dpdk.host()
    plugged = host.plug(one)
    host.plug(other)
    path = f"{dpdk.folder}/{NAME}"
    assert f'path="{path}"' in plugged.xml
    assert f'mode="{mode}"' in plugged.xml
    assert dpdk.ports() == {NAME, tap_of(other)}

    inside = port(3, vif_details={"bridge": "br-guest", "create_bridge": True, "datapath_type": "netdev"})
    host.plug(inside)
    server = ",server=1" if mode == "server" else ""
    device = f"options:dpdk-devargs=net_virtio_user0,path={path}{server}"
    dpdk.vsctl("add-port", "br-guest", "virtio", "--", "set", "Interface", "virtio", "type=dpdk", device)
    dpdk.until(NAME, lambda interface: interface["status"].get("status") == "connected")

    with StandInGuest(tap_of(inside), one["address"], ["10.0.0.1/24"]) as here, guest(other) as there:
        assert reaches(here, there)
        assert reaches(there, here)
    assert host.check(one["id"]).ok

    host.unplug(one["id"])
    assert dpdk.ports() == {tap_of(other)}


@pytest.mark.slow
def test_the_ports_are_those_of_the_guests_mode_and_path(dpdk: DpdkSwitch) -> None:
    server = vhostuser("server", path="/run/guest/socket")
    assert dpdk.done("plug", server) == {"vif": {"path": "/run/guest/socket", "mode": "server"}}
    interface = dpdk.row("Interface", NAME)
    assert interface is not None
    assert interface["type"] == "dpdkvhostuserclient"
    assert interface["options"] == {"vhost-server-path": "/run/guest/socket"}
    assert interface["external_ids"]["iface-id"] == server["id"]

    # the same VIF asked for the other way round: the port has to be another one
    client = vhostuser("client", path=f"{dpdk.folder}/{NAME}")
    assert dpdk.done("plug", client) == {"vif": {"path": f"{dpdk.folder}/{NAME}", "mode": "client"}}
    interface = dpdk.row("Interface", NAME)
    assert interface is not None
    assert (interface["type"], interface["error"]) == ("dpdkvhostuser", None)

    dpdk.done("unplug", client)
    assert dpdk.ports() == set()


@pytest.mark.slow
def test_bandwidth_is_limited_in_the_switch_because_libvirt_cannot(dpdk: DpdkSwitch) -> None:
    """1000 KiB/s are 8192 kbit/s."""
    limits = {"inbound": {"average": 1000, "burst": 64}, "outbound": {"average": 1000, "burst": 125}}
    limited = vhostuser("client", limits)
    dpdk.done("plug", limited)

    interface = dpdk.row("Interface", NAME)
    assert interface is not None
    assert (interface["ingress_policing_rate"], interface["ingress_policing_burst"]) == (8192, 1024)
    assert dpdk.vsctl("--bare", "--columns=type,other_config", "list", "qos").split() == [
        "egress-policer", "cbs=65536", "cir=1024000",
    ]  # fmt: skip
    assert dpdk.done("check", limited) == {"ok": True}

    dpdk.done("update", vhostuser("client"), changes=["bandwidth"])
    interface = dpdk.row("Interface", NAME)
    assert interface is not None
    assert interface["ingress_policing_rate"] == 0
    assert dpdk.vsctl("list", "qos") == ""

    dpdk.done("update", limited, changes=["bandwidth"])
    dpdk.done("unplug", limited)
    assert dpdk.vsctl("list", "qos") == ""


def test_a_switch_without_dpdk_is_said_before_the_guest_fails(switch: Switch) -> None:
    error = switch.call("plug", vhostuser("client")).error

    assert error is not None
    assert error.code == "backend_unavailable"
    assert "Open vSwitch runs without DPDK on this host, and vhost-user ports need it" in error.message
    assert switch.ports() == set()


def test_a_bridge_in_the_kernel_takes_no_vhost_user_port(switch: Switch) -> None:
    switch.vsctl("--no-wait", "add-br", "br-kernel")

    error = switch.call("plug", vhostuser("client", bridge="br-kernel")).error

    assert error is not None
    assert error.code == "bad_details"
    assert "bridge br-kernel has datapath_type system; vhost-user ports need netdev" in error.message


@pytest.mark.slow
def test_a_representor_joins_a_switch_with_dpdk_by_its_cards_address(dpdk: DpdkSwitch) -> None:
    """A stand-in for the card is all there is (a directory like sysfs), so the real switch refuses it by name."""
    devices = dpdk.folder / "sys/bus/pci/devices"
    for folder in ("0000:03:00.0", "0000:03:00.4"):
        (devices / folder).mkdir(parents=True)
    (devices / "0000:03:00.4/physfn").symlink_to("../0000:03:00.0")
    (devices / "0000:03:00.0/virtfn2").symlink_to("../0000:03:00.4")
    environment = {"OVS_RUNDIR": str(dpdk.folder), "SYSFS_PATH": str(dpdk.folder / "sys")}
    dpdk.config = structs.replace(
        dpdk.config, script={"openvswitch": ScriptSettings(environment=environment)}
    )
    binding = port(1, vif_type="hostdev", vif_details={"pci_slot": "0000:03:00.4"})

    error = dpdk.call("plug", binding).error

    assert error is not None
    assert "0000:03:00.0,representor=[2]" in error.message
    dpdk.done("unplug", binding)
    assert dpdk.ports() == set()
