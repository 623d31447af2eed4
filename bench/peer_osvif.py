"""os-vif 4.3.1's Linux bridge plugin, the last one: ``python -m bench.peer_osvif FOLDER``, where that is installed.

Its plug makes a VIF's bridge and puts the host's uplink into it; the tap is left to libvirt. Its unplug does nothing.
"""

from __future__ import annotations

import sys
from functools import partial

import os_vif
from os_vif import objects
from oslo_concurrency import lockutils
from vif_plug_linux_bridge import privsep

from .peer import OTHERS, THERE, serve

_ID = "00000009-7d5e-4f0a-9c55-2f7a3c1d9e01"


def a_vif(bridge: str) -> objects.vif.VIFBridge:
    network = objects.network.Network(
        id="7d2a6a0e-53a3-4a56-8e42-0d7a1c9d3f21",
        bridge=bridge,
        bridge_interface=f"{bridge}-up",
        mtu=1450,
        should_provide_bridge=True,
        should_provide_vlan=False,
        multi_host=False,
        subnets=objects.subnet.SubnetList(objects=[]),
    )
    return objects.vif.VIFBridge(
        id=_ID,
        address="fa:16:3e:00:00:09",
        network=network,
        vif_name=f"tap{_ID[:11]}",
        bridge_name=bridge,
        has_traffic_filtering=True,  # Neutron's: no iptables of its own
        plugin="linux_bridge",
        active=False,
        preserve_on_delete=False,
    )


def main() -> None:
    lockutils.set_defaults(sys.argv[1])
    privsep.vif_plug.set_client_mode(False)
    os_vif.initialize()
    guest = objects.instance_info.InstanceInfo(uuid="0b0f6a3e-8d0b-4d5e-9a52-6a3a0e7f1c11", name="guest")
    own, there = a_vif(OTHERS), a_vif(THERE)
    serve(
        {
            "own-bridge plug": partial(os_vif.plug, own, guest),
            "linux-bridge plug": partial(os_vif.plug, there, guest),
        }
    )


if __name__ == "__main__":
    main()
