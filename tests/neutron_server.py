"""The real Neutron, started and asked through its REST API. Needs the environment that ./dev neutron-test makes."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_SERVE = Path(__file__).parent / "neutron" / "serve.py"
MAKE_TABLES = (
    "import sys, sqlalchemy; from neutron.db.migration.models import head; "
    "head.get_metadata().create_all(sqlalchemy.create_engine(sys.argv[1]))"
)
_CONFIG = """
[DEFAULT]
core_plugin = ml2
service_plugins = qos
auth_strategy = keystone
transport_url = fake:/
api_paste_config = {folder}/api-paste.ini
state_path = {folder}/state
dhcp_agent_notification = false
max_allowed_address_pair = 500
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = sqlite:///{folder}/neutron.sqlite
[oslo_policy]
enforce_scope = false
enforce_new_defaults = false
[oslo_concurrency]
lock_path = {folder}/lock
[oslo_messaging_notifications]
driver = noop
[ml2]
type_drivers = local,flat,vlan,vxlan
tenant_network_types = vlan
mechanism_drivers = {drivers}
extension_drivers = qos,port_security
[ml2_type_flat]
flat_networks = *
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:199,physnet2:200:299
[ml2_type_vxlan]
vni_ranges = 1000:1999
"""


class Answer(Exception):
    """An answer that is none of success."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("neutron", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class NeutronServer:
    """One Neutron with its database. ``config`` is added to its ml2 configuration."""

    def __init__(self, folder: Path, config: str, drivers: str = "vifplug") -> None:
        self.folder = folder
        self.database = folder / "neutron.sqlite"
        self.log = folder / "neutron.log"
        self._socket = folder / "api"
        self._process: subprocess.Popen[bytes] | None = None
        #: words of a command in which it runs
        self.within: list[str] = []
        paste = Path(sys.prefix, "etc/neutron/api-paste.ini").read_text()
        (folder / "api-paste.ini").write_text(paste.replace(" authtoken ", " "))
        (folder / "neutron.conf").write_text(_CONFIG.format(folder=folder, drivers=drivers) + config)

    @staticmethod
    def tables(file: Path) -> None:
        """An empty database, in which one that reads keeps nobody from writing."""
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", MAKE_TABLES, f"sqlite:///{file}"], check=True, timeout=300
        )
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA journal_mode = WAL")
        database.close()

    def begin(self) -> subprocess.Popen[bytes]:
        """Start the process, and do not wait."""
        environ = dict(
            os.environ, OS_NEUTRON_CONFIG_FILES=str(self.folder / "neutron.conf"), PYTHONWARNINGS="ignore"
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.within, sys.executable, _SERVE, self._socket],
                stdout=log,
                stderr=log,
                env=environ,
                cwd="/",
            )
        return self._process

    def start(self) -> NeutronServer:
        process = self.begin()
        deadline = time.monotonic() + 180
        while not self._socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"Neutron does not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    # --- its API ----------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = Connection(self._socket)
        try:
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Answer(answer.status, text)
        return json.loads(text) if text else None

    def network(self, **fields: Any) -> dict[str, Any]:
        """A network with a subnet."""
        made: dict[str, Any] = self.call("POST", "/v2.0/networks", {"network": fields})["network"]
        subnet = {
            "network_id": made["id"],
            "cidr": "192.0.2.0/24",
            "ip_version": 4,
            "enable_dhcp": False,
        }
        self.call("POST", "/v2.0/subnets", {"subnet": subnet})
        return made

    def port(self, network: Mapping[str, Any], host: str | None = None, **fields: Any) -> dict[str, Any]:
        """A guest's port, as Nova makes it."""
        fields = {"network_id": network["id"], "device_owner": "compute:nova", "device_id": "vm"} | fields
        if host is not None:
            fields["binding:host_id"] = host
        made: dict[str, Any] = self.call("POST", "/v2.0/ports", {"port": fields})["port"]
        return made

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

    def report(self, host: str, configurations: Mapping[str, Any]) -> None:
        """A state report of the host agent."""
        state = {
            "agent_type": "vifplug host agent",
            "binary": "vifplugd",
            "topic": "N/A",
            "host": host,
            "configurations": configurations,
            "start_flag": True,
        }
        self.call("POST", "/test/report", state)

    def agent_says(self, port: Mapping[str, Any], host: str, *, up: bool) -> None:
        self.call("POST", "/test/status", {"port": port["id"], "host": host, "up": up})

    def dhcp_agent_is_ready(self, port: Mapping[str, Any]) -> None:
        self.call("POST", "/test/dhcp", {"port": port["id"]})

    # --- behind its back --------------------------------------------------------------------------

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with sqlite3.connect(self.database, timeout=30) as database:
            found = database.execute(statement, values).fetchall()
        database.close()
        return found

    def said(self, text: str) -> bool:
        return text in self.log.read_text()


def copy_tables(empty: Path, folder: Path) -> None:
    shutil.copy(empty, folder / "neutron.sqlite")


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
