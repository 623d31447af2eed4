"""``python3 -m vifplug.neutron.testing PROJECT``: one port, bound by a mechanism's driver in a real Neutron, as JSON.

It is what the REST API shows of the port, and what ``vifplug plug`` takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ...errors import VifplugError
from .server import Neutron


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m vifplug.neutron.testing", description=__doc__)
    parser.add_argument("project", type=Path, help="the directory of the mechanism, with its pyproject.toml")
    parser.add_argument(
        "--type", metavar="TYPE", help="of the network: local, flat, vlan (default), vxlan, gre, geneve"
    )
    parser.add_argument(
        "--physical-network", metavar="NAME", help="as ml2_conf.ini would name it, such as physnet1"
    )
    parser.add_argument("--segment", metavar="NUMBER", type=int, help="VLAN or VNI")
    parser.add_argument("--subnet", metavar="CIDR", default="192.0.2.0/24", help="default: %(default)s")
    parser.add_argument("--address", help="the port's in the subnet; default: any")
    parser.add_argument("--mac", help="the port's; default: any")
    parser.add_argument("--host", default="compute-1", help="where the port is bound; default: %(default)s")
    parser.add_argument("--vnic-type", metavar="TYPE", default="normal", help="default: %(default)s")
    chosen = parser.parse_args()
    try:
        with Neutron(chosen.project) as neutron:
            network = neutron.network(
                chosen.type,
                physical_network=chosen.physical_network,
                segmentation_id=chosen.segment,
                cidr=chosen.subnet,
            )
            fields: dict[str, Any] = {"mac_address": chosen.mac} if chosen.mac else {}
            if chosen.address:
                fields["fixed_ips"] = [{"ip_address": chosen.address}]
            port = neutron.port(network, chosen.host, vnic_type=chosen.vnic_type, **fields)
    except VifplugError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 (a command)
        return error.exit_status
    print(json.dumps({"port": port.rest}, indent=2))  # noqa: T201
    if port.vif_type in ("unbound", "binding_failed"):
        reason = port.why or "no driver of the project is for such a port"
        print(f"the port is not bound on host {chosen.host}: {reason}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
