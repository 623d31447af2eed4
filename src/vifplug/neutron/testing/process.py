"""A Neutron server's configuration and process, and the requests of its REST API."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ...errors import VifplugError
from .. import report
from .installed import paste_file

#: seconds that it may take to start, on a machine that is busy
_PATIENCE = 180.0
_SERVE = Path(__file__).with_name("serve.py")
_CONFIG = """
[DEFAULT]
core_plugin = ml2
service_plugins = qos
auth_strategy = keystone
transport_url = fake:/
api_paste_config = {folder}/api-paste.ini
state_path = {folder}/state
dhcp_agent_notification = false
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = {database}
[oslo_policy]
enforce_scope = false
enforce_new_defaults = false
[oslo_concurrency]
lock_path = {folder}/lock
[oslo_messaging_notifications]
driver = noop
[ml2]
type_drivers = local,flat,vlan,vxlan,gre,geneve
tenant_network_types = vlan
mechanism_drivers = {drivers}
extension_drivers = qos,port_security
[ml2_type_flat]
flat_networks = *
[ml2_type_vlan]
network_vlan_ranges = {vlans}
[ml2_type_vxlan]
vni_ranges = 1000:1999
[ml2_type_gre]
tunnel_id_ranges = 1000:1999
[ml2_type_geneve]
vni_ranges = 1000:1999
"""


class ApiError(VifplugError):
    """Neutron's answer is no success. ``status`` is HTTP's."""

    code = "neutron_api"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """A Neutron server in a folder that is there, which may end and start again with what it has in its database.

    ``drivers``: ML2's mechanism_drivers. ``config``: more for neutron.conf, where the last value holds.
    ``database``: an URL of SQLAlchemy's; unless one is said, that of a file in the folder. ``environ``: the
    process's, beside that of this one. ``within``: the words of a command to run it in.

    Raises NeutronMissing where Neutron's own files are not there.
    """

    def __init__(
        self,
        folder: Path,
        drivers: str,
        config: str = "",
        *,
        physical_networks: Sequence[str] = ("physnet1", "physnet2"),
        database: str | None = None,
        environ: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.folder, self.drivers, self.within = folder, drivers, list(within)
        self._database = database or f"sqlite:///{folder}/neutron.sqlite"
        self._environ = environ or {}
        self._socket, self._log = folder / "api", folder / "neutron.log"
        self._process: subprocess.Popen[bytes] | None = None
        paste = paste_file().read_text()
        (folder / "api-paste.ini").write_text(paste.replace(" authtoken ", " "))
        vlans = ",".join(f"{name}:100:199" for name in physical_networks)
        settled = _CONFIG.format(folder=folder, drivers=drivers, vlans=vlans, database=self._database)
        (folder / "neutron.conf").write_text(settled + config)

    def begin(self) -> subprocess.Popen[bytes]:
        """Start the process, and do not wait until it answers."""
        environ = {
            **os.environ,
            "OS_NEUTRON_CONFIG_FILES": str(self.folder / "neutron.conf"),
            "PYTHONWARNINGS": "ignore",
            **self._environ,
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.within, sys.executable, str(_SERVE), str(self._socket), self._database],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=self.folder,
            )
        return self._process

    def start(self) -> Self:
        """Raises VifplugError, with the end of its log, where it does not start."""
        process = self.begin()
        deadline = time.monotonic() + _PATIENCE
        while not self._socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                end = "\n".join(self.log.splitlines()[-12:])
                raise VifplugError(
                    f"Neutron does not start with mechanism driver {self.drivers}; its log ends with:\n{end}"
                )
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """By SIGKILL. It may not run at all."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """All that it has logged, the drivers' lines among it."""
        return self._log.read_text(errors="replace")

    # --- what is asked of it ----------------------------------------------------------------------

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any request of its REST API, as an administrator; what it answers. Raises ApiError."""
        connection = _Connection(str(self._socket))
        try:
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:  # none of success
            raise ApiError(f"{method} {path}: Neutron answers {answer.status}: {_said(text)}", answer.status)
        return json.loads(text) if text else None

    def network(self, *, cidr: str = "192.0.2.0/24", **fields: Any) -> dict[str, Any]:
        """A network with one subnet. ``fields``: as in the REST API."""
        made: dict[str, Any] = self.call("POST", "/v2.0/networks", {"network": fields})["network"]
        subnet = {"network_id": made["id"], "cidr": cidr, "ip_version": 4, "enable_dhcp": False}
        self.call("POST", "/v2.0/subnets", {"subnet": subnet})
        return made

    def port(self, network: Mapping[str, Any], host: str = "", **fields: Any) -> dict[str, Any]:
        """A guest's port as Nova makes it, bound on ``host``. ``fields``: as in the REST API."""
        asked = {
            "network_id": network["id"],
            "device_owner": "compute:nova",
            "device_id": "guest",
            "binding:host_id": host,
        }
        made: dict[str, Any] = self.call("POST", "/v2.0/ports", {"port": asked | fields})["port"]
        return made

    def report(self, host: str, configurations: Mapping[str, Any]) -> None:
        """A host agent's state report (``vifplug.neutron.report``)."""
        state = {
            "agent_type": report.AGENT_TYPE,
            "binary": "vifplugd",
            "topic": "N/A",
            "host": host,
            "configurations": configurations,
            "start_flag": True,
        }
        self.call("POST", "/vifplug/report", state)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("neutron", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _said(text: str) -> str:
    """The sentence in an error of Neutron's."""
    try:
        return str(json.loads(text)["NeutronError"]["message"])
    except (ValueError, KeyError, TypeError):
        return text


__all__ = ["ApiError", "Server"]
