"""The tests of the Neutron drivers against the real Neutron, which ./dev neutron-test installs.

The ordinary run has no Neutron and leaves them out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from neutron_server import NeutronServer

#: they need no Neutron: the ordinary run has them, and ./dev neutron-test the others
_WITHOUT = {"test_agent_taps.py", "test_plain.py", "test_plan.py", "test_report.py", "test_template.py"}
# this directory is called neutron too; it is no package, so it has no origin
_spec = find_spec("neutron")
_installed = _spec is not None and _spec.origin is not None
collect_ignore = [
    file.name for file in Path(__file__).parent.glob("test_*.py") if (file.name in _WITHOUT) == _installed
]
if _installed:
    # Neutron's own tests choose how oslo.service makes threads, and have to be the first to do so
    importlib.import_module("neutron.tests.unit")

RULES = """
[ml2_vifplug]
rules = vlan, overlay, macvtap, vhost
reconcile_interval = 3600
[vifplug_rule:vlan]
network_types = vlan
physical_networks = physnet1
plug_script = linux-bridge
detail = bridge: br-{segment.physical_network}
detail = vlan: {segment.segmentation_id}
detail = anti_spoofing: {port.port_security_enabled}
detail = create_bridge: true
min_version = 2
[vifplug_rule:overlay]
network_types = vxlan
plug_script = vxlan-bridge
detail = vni: {segment.segmentation_id}
detail = allowed_address_pairs: {port.allowed_address_pairs}
[vifplug_rule:macvtap]
network_types = flat
vnic_types = macvtap
vif_type = direct
detail = source_dev: eth1
detail = mode: bridge
[vifplug_rule:vhost]
network_types = flat
vif_type = vhostuser
plug_script = openvswitch
detail = path: /run/vhost/{port.id}
detail = mode: server
"""


@pytest.fixture(scope="module")
def neutron(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NeutronServer]:
    """A Neutron with the driver vifplug and the rules above, for all tests of a module."""
    server = NeutronServer(tmp_path_factory.mktemp("neutron"), RULES).start()
    yield server
    server.stop()
