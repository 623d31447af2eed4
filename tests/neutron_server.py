"""The real Neutron, started and asked through its REST API. Needs the environment that ./dev neutron-test makes.

It is the one of vifplug.neutron.testing, and what only vifplug's own tests need: ports as the API shows them, what
comes over RPC in a cloud, and its database behind its back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vifplug.neutron.testing.process import Server

#: where the process finds rpc_calls.py
_CALLS = Path(__file__).parent / "neutron"
_CONFIG = """
[DEFAULT]
max_allowed_address_pair = 500
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:199,physnet2:200:299
"""
_PATH = "/v2.0: "
_CALLED = "[app:rpc_calls]\npaste.app_factory = rpc_calls:application\n"


class NeutronServer(Server):
    """One Neutron with its database. ``config`` is added to its ml2 configuration; ``more``: as of ``Server``."""

    def __init__(self, folder: Path, config: str, drivers: str = "vifplug", **more: Any) -> None:
        super().__init__(folder, drivers, _CONFIG + config, environ={"PYTHONPATH": str(_CALLS)}, **more)
        paste = folder / "api-paste.ini"
        served = paste.read_text().replace(_PATH, f"/test: rpc_calls\n{_PATH}", 1)
        paste.write_text(f"{served}\n{_CALLED}")

    # --- its API ----------------------------------------------------------------------------------

    def update(self, what: str, id_: str, **fields: Any) -> dict[str, Any]:
        answer = self.call("PUT", f"/v2.0/{what}s/{id_}", {what: fields})
        found: dict[str, Any] = answer[what]
        return found

    def read(self, port: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/v2.0/ports/{port['id']}")["port"]
        return found

    def bindings(self, port: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The port's bindings by host."""
        found = self.call("GET", f"/v2.0/ports/{port['id']}/bindings")["bindings"]
        return {binding["host"]: binding for binding in found}

    def bind_to(self, port: Mapping[str, Any], host: str) -> dict[str, Any]:
        """A second binding, as Nova asks for one before a live migration."""
        body = {"binding": {"host": host, "vnic_type": "normal"}}
        found: dict[str, Any] = self.call("POST", f"/v2.0/ports/{port['id']}/bindings", body)["binding"]
        return found

    def activate(self, port: Mapping[str, Any], host: str) -> None:
        self.call("PUT", f"/v2.0/ports/{port['id']}/bindings/{host}/activate")

    # --- what comes over RPC ----------------------------------------------------------------------

    def agent_says(self, port: Mapping[str, Any], host: str, *, up: bool) -> None:
        self.call("POST", "/test/status", {"port": port["id"], "host": host, "up": up})

    def dhcp_agent_is_ready(self, port: Mapping[str, Any]) -> None:
        self.call("POST", "/test/dhcp", {"port": port["id"]})

    # --- behind its back --------------------------------------------------------------------------

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with sqlite3.connect(self.folder / "neutron.sqlite", timeout=30) as database:
            found = database.execute(statement, values).fetchall()
        database.close()
        return found

    def said(self, text: str) -> bool:
        return text in self.log


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
