"""A real guest in a real QEMU: it has a name in the graph, and speaks itself in a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests import Elsewhere, ip
from machines import Machine
from plumbed import Plumbed, end
from vifplug.plumbing import State

pytestmark = pytest.mark.slow


def test_a_booted_guest_is_named_and_its_own_frame_is_followed(
    bridged: Plumbed, far: Elsewhere, tmp_path: Path
) -> None:
    far.do(lambda: ip("address add 10.9.0.1/24 dev far0"))
    binding = bridged.binding(anti_spoofing=True)
    binding |= {
        "address": "fa:16:3e:00:00:05",
        "network": {"subnets": [{"cidr": "10.9.0.0/24", "gateway": "10.9.0.1", "addresses": ["10.9.0.5"]}]},
        "instance": {},
    }
    with bridged.host() as host:
        one = host.plug(binding)
    tap = one.vif.devname
    arguments = [
        "-name",
        "guest=shop,debug-threads=on",
        "-netdev",
        f"tap,id=n0,ifname={tap},script=no,downscript=no",
    ]
    arguments += ["-device", f"virtio-net-pci,netdev=n0,mac={one.vif.address}"]
    with Machine(tmp_path, *arguments, boots=True) as machine:
        machine.wait_said("10.9.0.5")

        graph = bridged.graph()
        assert graph.nodes["guest:shop"].state is State.OK
        assert graph.nodes["guest:shop"].words == [f"qemu-system-x86 {machine.pid}"]
        assert graph.marked == []

        found = bridged.trace(one, timeout=3.0)
        assert found.ok and found.probe == "by the guest", found
        assert end(found) == ("uplink", "eth9") and found.hops[-1].out
        assert found.hops[0].name == "shop"

        ip("link set eth9 down")
        cut = bridged.trace(one)
        assert not cut.ok and end(cut) == ("uplink", "eth9") and cut.text == "eth9 is down"


def test_taps_of_others_are_drawn_with_who_holds_them(bridged: Plumbed, tmp_path: Path) -> None:
    ip("tuntap add dev foreign mode tap")
    ip("link set foreign up master br-data")
    tap = "tap,id=n0,ifname=foreign,script=no,downscript=no"
    with Machine(
        tmp_path, "-name", "stranger", "-netdev", tap, "-device", "virtio-net-pci,netdev=n0"
    ) as machine:
        graph = bridged.graph()
    assert ("guest:stranger", "dev:foreign") in {(edge.source, edge.target) for edge in graph.edges}
    assert graph.nodes["guest:stranger"].words == [f"qemu-system-x86 {machine.pid}"]
