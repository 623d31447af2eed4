"""A nova-compute's side of plug and unplug: the real Nova's libvirt VIF driver, in an environment that has Nova.

``python -m bench.peer_nova CONFIG``: as nova-compute starts, with this nova.conf.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import nova.conf
import os_vif

from nova import config as nova_config
from nova import objects
from nova_side import a_network, a_vif, an_instance, driver

from .peer import BRIDGE, MANY, OWN, SWITCH, UPLINK, serve


def start(config: str) -> None:
    """What nova.cmd.compute.main does, as far as VIFs are concerned."""
    logging.getLogger("oslo_config.cfg").setLevel(logging.ERROR)  # it says that ovs-vsctl is deprecated
    nova_config.parse_args(["nova-compute", "--config-file", config])
    objects.register_all()
    os_vif.initialize()
    nova.conf.CONF.set_override("virt_type", "kvm", "libvirt")


def a_port(number: int, vif_type: str, script: str | None = None, **details: Any) -> Any:
    """The same port for all, but for its id and what names it."""
    id_ = f"{number:08x}-7d5e-4f0a-9c55-2f7a3c1d9e01"
    network = a_network(mtu=1450)
    network["bridge"] = SWITCH if vif_type == "ovs" else None
    address = f"fa:16:3e:00:00:{number:02x}"
    return a_vif(
        vif_type, script, id=id_, address=address, devname=f"tap{id_[:11]}", network=network, details=details
    )


#: one VIF for each contender. Nova's own tap gets its address from the details, as vifplug gives one to every tap
VIFS = {
    "nova-tap": a_port(1, "tap", mac_address="fa:16:3e:00:00:01"),
    "none": a_port(2, "ethernet"),
    "linux-bridge": a_port(3, "ethernet", "linux-bridge", bridge=BRIDGE),
    "own-bridge": a_port(4, "ethernet", "linux-bridge", bridge=OWN, create_bridge=True, uplink=UPLINK),
    "openvswitch": a_port(5, "ethernet", "openvswitch", bridge=SWITCH),
    "each": a_port(6, "ethernet", "openvswitch-each", bridge=SWITCH),
    "os-vif": a_port(7, "ovs", datapath_type="netdev", ovs_create_tap=True),
}


#: as many at once as a host plugs that starts its guests
CROWDS = {
    "none": [a_port(0x10 + number, "ethernet") for number in range(MANY)],
    "nova-tap": [a_port(0x40 + number, "tap", mac_address="fa:16:3e:00:00:01") for number in range(MANY)],
    "openvswitch": [
        a_port(0x70 + number, "ethernet", "openvswitch", bridge=SWITCH) for number in range(MANY)
    ],
    "os-vif": [
        a_port(0xA0 + number, "ovs", datapath_type="netdev", ovs_create_tap=True) for number in range(MANY)
    ],
}


def at_once(threads: ThreadPoolExecutor, one: Callable[[Any], object], vifs: list[Any]) -> None:
    for _ in threads.map(one, vifs):
        pass


def main() -> None:
    start(sys.argv[1])
    instance, vif_driver = an_instance(), driver()
    jobs: dict[str, Callable[[], object]] = {}
    with ThreadPoolExecutor(MANY) as threads:
        for verb in ("plug", "unplug"):
            one = partial(getattr(vif_driver, verb), instance)
            for name, vif in VIFS.items():
                jobs[f"{name} {verb}"] = partial(one, vif)
            for name, vifs in CROWDS.items():
                jobs[f"{name} {verb} all"] = partial(at_once, threads, one, vifs)
        serve(jobs)


if __name__ == "__main__":
    main()
