"""Ports that were left DOWN: found when a server starts, and again from time to time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neutron_server import NeutronServer, eventually
from vifplug.neutron import report

RULES = """
[ml2_vifplug]
rules = all
reconcile_interval = 1
[vifplug_rule:all]
plug_script = demo
"""
DEMO = {"name": "demo", "trusted": True, "digest": None, "reason": None, "info": {"version": "1"}}


@pytest.fixture
def neutron(tmp_path: Path) -> Iterator[NeutronServer]:
    server = NeutronServer(tmp_path, RULES).start()
    yield server
    server.stop()


def status(neutron: NeutronServer, port: dict[str, Any]) -> str:
    """Asked of the database: a server that works on SQLite does one thing at a time."""
    ((found,),) = neutron.sql("SELECT status FROM ports WHERE id = ?", port["id"])
    return str(found)


def test_a_port_that_was_left_down_is_found_and_no_other_is_touched(neutron: NeutronServer) -> None:
    neutron.report("plugs", report.write([DEMO], reports_status=True))
    network = neutron.network()
    left = neutron.port(network, "cmp1")
    disabled = neutron.port(network, "cmp1", admin_state_up=False)
    agents = neutron.port(network, "plugs")  # which has not said that it is plugged
    unbound = neutron.port(network)
    neutron.stop()  # by SIGKILL
    neutron.sql("UPDATE ports SET status = 'DOWN'")
    neutron.start()
    last = neutron.port(network, "cmp1")  # older releases do not tell a process of the API that it has begun
    assert last["status"] == "ACTIVE"

    assert eventually(lambda: status(neutron, left) == "ACTIVE")
    assert neutron.said(f"Port {left['id']} is bound on host cmp1 and was left DOWN: bringing it up")
    assert [status(neutron, port) for port in (disabled, agents, unbound)] == ["DOWN"] * 3

    neutron.sql("UPDATE ports SET status = 'DOWN' WHERE id = ?", left["id"])
    assert eventually(lambda: status(neutron, left) == "ACTIVE"), "it is looked for once only"
    assert [status(neutron, port) for port in (disabled, agents, unbound)] == ["DOWN"] * 3
