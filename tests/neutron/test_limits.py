"""Several vendors' drivers in one cloud: the operator says which networks are whose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neutron.conf.plugins.ml2 import config as ml2_config
from oslo_config import cfg

from neutron_server import NeutronServer
from vifplug.errors import ConfigError
from vifplug.neutron import options

LIMITS = """
[ml2_vifplug]
rules = bridge
[vifplug_rule:bridge]
physical_networks = data
plug_script = linux-bridge
[vifplug_driver:iovisor]
physical_networks = plumgrid
[vifplug_driver:midonet]
physical_networks = midonet
network_types = flat
"""


@pytest.fixture(scope="module")
def neutron(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NeutronServer]:
    server = NeutronServer(tmp_path_factory.mktemp("limits"), LIMITS, "vifplug,iovisor,midonet").start()
    yield server
    server.stop()


def flat(neutron: NeutronServer, physical_network: str) -> dict[str, Any]:
    provider = {"provider:network_type": "flat", "provider:physical_network": physical_network}
    return neutron.network(name=physical_network, **provider)


@pytest.mark.parametrize(
    ("physical_network", "script"),
    [
        ("data", "linux-bridge"),
        ("plumgrid", "/usr/bin/neutron-iovisor-vif-plug"),
        ("midonet", "/usr/bin/neutron-midonet-vif-plug"),
    ],
)
def test_each_driver_binds_its_own_networks(
    neutron: NeutronServer, physical_network: str, script: str
) -> None:
    port = neutron.port(flat(neutron, physical_network), "compute-1")
    assert port["binding:vif_details"]["vif_plug_script"] == script


def test_a_network_that_is_nobodys_is_not_bound(neutron: NeutronServer) -> None:
    assert neutron.port(flat(neutron, "another"), "compute-1")["binding:vif_type"] == "binding_failed"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "[vifplug_driver:iovisr]\nphysical_networks = x",
            "is not used: [ml2] mechanism_drivers has no iovisr",
        ),
        ("[vifplug_driver:iovisor]\nphysical_network = x", "physical_network: there is no such option"),
        ("[vifplug_driver:iovisor]\nvia_agent = perhaps", "via_agent"),
    ],
)
def test_a_wrong_limit_is_refused_by_name(tmp_path: Path, section: str, message: str) -> None:
    file = tmp_path / "neutron.conf"
    file.write_text(f"[ml2]\nmechanism_drivers = vifplug,iovisor\n{section}\n")
    conf = cfg.ConfigOpts()
    ml2_config.register_ml2_plugin_opts(conf)
    conf(["--config-file", str(file)], project="neutron")
    with pytest.raises(ConfigError, match=re.escape(message)):
        options.read_limits(conf)
