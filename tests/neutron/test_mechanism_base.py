"""Neutron's own tests of a mechanism driver, as its own drivers pass them, passed by ours."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest import mock

from neutron.tests.unit.plugins.ml2 import _test_mech_agent as base
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from vifplug.neutron import VifplugMechanismDriver, options, report

SCRIPT = {
    "name": "demo",
    "trusted": True,
    "digest": None,
    "reason": None,
    "info": {"version": "1", "vif_types": ["ethernet"]},
}


class DemoMechanismDriver(VifplugMechanismDriver):
    """A vendor's driver."""

    plug_script = "demo"
    network_types = ("local", "flat", "vlan", "gre")
    vnic_types = ("normal", "direct")

    def details(self, context: Any, segment: Any) -> dict[str, Any]:  # noqa: ARG002 (ML2's context says more than it needs)
        return {"tag": segment.get("segmentation_id", 0)}


def agent(
    host: str, *, alive: bool = True, physical_network: str = "fake_physical_network"
) -> dict[str, Any]:
    return {
        "alive": alive,
        "admin_state_up": True,
        "host": host,
        "agent_type": report.AGENT_TYPE,
        "configurations": report.write([SCRIPT], physical_networks=[physical_network]),
    }


class VifplugBase(base.AgentMechanismBaseTestCase):
    VIF_TYPE = "ethernet"
    CAP_PORT_FILTER = False
    AGENT_TYPE = report.AGENT_TYPE
    AGENTS = (agent("host"),)
    AGENTS_DEAD = (agent("dead_host", alive=False),)
    AGENTS_BAD = (agent("bad_host", physical_network="wrong_physical_network"),)

    def setUp(self) -> None:
        super().setUp()
        # vifplug reads ports as they are, and theirs has an id that no port of Neutron's has
        patched = mock.patch.object(base, "PORT_ID", "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01")
        patched.start()
        self.addCleanup(patched.stop)
        self.driver = DemoMechanismDriver()
        self.driver.initialize()


class TestGeneric(VifplugBase, base.AgentMechanismGenericTestCase):
    pass


class TestLocal(VifplugBase, base.AgentMechanismLocalTestCase):
    pass


class TestFlat(VifplugBase, base.AgentMechanismFlatTestCase):
    pass


class TestVlan(VifplugBase, base.AgentMechanismVlanTestCase):
    pass


class TestVlanOfAPassedThroughCard(VifplugBase, base.AgentMechanismVlanTestCase):
    VNIC_TYPE = "direct"


class TestGre(VifplugBase, base.AgentMechanismGreTestCase):
    # a tunnel has no physical network that a host could lack: it is the script that is missing
    AGENTS_BAD = (agent("bad_host") | {"configurations": report.write([])},)


class TestDetails(VifplugBase):
    VIF_DETAILS: ClassVar = {
        "port_filter": False,
        "connectivity": "l2",
        "tag": 1234,
        "vif_plug_script": "demo",
    }
    SEGMENTS = base.AgentMechanismVlanTestCase.VLAN_SEGMENTS

    def bind(self, agents: Any) -> base.FakePortContext:
        context = base.FakePortContext(self.AGENT_TYPE, agents, self.SEGMENTS)
        self.driver.bind_port(context)
        return context

    def test_all_of_the_details(self) -> None:
        self._check_bound(self.bind(self.AGENTS), self.SEGMENTS[1])

    def test_a_host_that_reports_nothing_is_bound(self) -> None:
        self._check_bound(self.bind([]), self.SEGMENTS[1])

    def test_a_host_that_reports_nothing_is_not_bound_where_a_report_is_required(self) -> None:
        self.useFixture(config_fixture.Config(cfg.CONF)).config(group=options.GROUP, require_report=True)
        self._check_unbound(self.bind([]))
        self._check_bound(self.bind(self.AGENTS), self.SEGMENTS[1])
