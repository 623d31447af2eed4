"""A Neutron of a test's own, and what a test asks of it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import InvalidInput, VifplugError
from .. import report
from .installed import NeutronMissing, as_if_installed, drivers_of, missing, paste_file
from .port import Port

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
connection = sqlite:///{folder}/neutron.sqlite
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


class Neutron:
    """A real Neutron with ML2, in a process and a folder of its own, from ``with`` to its end.

    ``project``: the directory of a mechanism's project; its drivers are those in its pyproject.toml, installed or
    not. ``drivers``: ML2's mechanism_drivers, in place of all of the project's. ``config``: more for neutron.conf.
    VLANs 100 to 199 of the ``physical_networks`` are there, flat networks of any name, and tunnels 1000 to 1999.

    Raises NeutronMissing, with what to install; InvalidInput for a project without a driver; VifplugError, with
    the end of its log, where Neutron does not start.
    """

    def __init__(
        self,
        project: str | os.PathLike[str] | None = None,
        *,
        drivers: Sequence[str] = (),
        config: str = "",
        physical_networks: Sequence[str] = ("physnet1", "physnet2"),
    ) -> None:
        self._project = Path(project).absolute() if project is not None else None
        if self._project is None and not drivers:
            raise InvalidInput("say a project, or the names of mechanism drivers", field="drivers")
        if self._project is not None:
            drivers = drivers or list(drivers_of(self._project))
        self._drivers, self._physical_networks, self._config = list(drivers), list(physical_networks), config
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Neutron:
        if sentence := missing():
            raise NeutronMissing(sentence)
        self._folder = tempfile.TemporaryDirectory(prefix="neutron-")
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._folder.cleanup()

    def _start(self, folder: Path) -> None:
        drivers = ",".join(self._drivers)
        vlans = ",".join(f"{name}:100:199" for name in self._physical_networks)
        paste = paste_file().read_text()
        (folder / "api-paste.ini").write_text(paste.replace(" authtoken ", " "))
        (folder / "neutron.conf").write_text(
            _CONFIG.format(folder=folder, drivers=drivers, vlans=vlans) + self._config
        )
        path = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        if self._project is not None:
            (folder / "metadata").mkdir()
            path = as_if_installed(self._project, folder / "metadata") + path
        environ = {
            **os.environ,
            "OS_NEUTRON_CONFIG_FILES": str(folder / "neutron.conf"),
            "PYTHONPATH": ":".join(path),
            "PYTHONWARNINGS": "ignore",
            "XDG_CACHE_HOME": str(folder),  # stevedore's, of entry points that are not there for long
        }
        self._socket = str(folder / "api")
        self._log = folder / "neutron.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_SERVE), self._socket, str(folder / "neutron.sqlite")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=folder,
            )
        deadline = time.monotonic() + _PATIENCE
        while not Path(self._socket).exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(self.log.splitlines()[-12:])
                raise VifplugError(
                    f"Neutron does not start with mechanism driver {drivers}; its log ends with:\n{end}"
                )
            time.sleep(0.02)

    @property
    def log(self) -> str:
        """All that it has logged, the drivers' lines among it."""
        return self._log.read_text(errors="replace")

    # --- networks and ports -----------------------------------------------------------------------

    def network(
        self,
        network_type: str | None = None,
        *,
        physical_network: str | None = None,
        segmentation_id: int | None = None,
        cidr: str = "192.0.2.0/24",
        **fields: Any,
    ) -> dict[str, Any]:
        """A network with one subnet: of a VLAN unless another type is asked for. ``fields``: as in the REST API."""
        if segmentation_id is not None and network_type in (None, "vlan"):
            network_type, physical_network = "vlan", physical_network or self._physical_networks[0]
        elif physical_network is not None and network_type is None:
            network_type = "vlan"
        provider = {
            "provider:network_type": network_type,
            "provider:physical_network": physical_network,
            "provider:segmentation_id": segmentation_id,
        }
        fields = {key: value for key, value in provider.items() if value is not None} | fields
        made: dict[str, Any] = self.call("POST", "/v2.0/networks", {"network": fields})["network"]
        subnet = {"network_id": made["id"], "cidr": cidr, "ip_version": 4, "enable_dhcp": False}
        self.call("POST", "/v2.0/subnets", {"subnet": subnet})
        return made

    def port(
        self, network: Mapping[str, Any], host: str = "", *, vnic_type: str = "normal", **fields: Any
    ) -> Port:
        """A guest's port as Nova makes it, bound on ``host``. ``fields``: as in the REST API."""
        asked = {
            "network_id": network["id"],
            "device_owner": "compute:nova",
            "device_id": "guest",
            "binding:host_id": host,
            "binding:vnic_type": vnic_type,
        }
        return Port(self.call("POST", "/v2.0/ports", {"port": asked | fields})["port"])

    def update(self, port: Port, **fields: Any) -> Port:
        """Change it; the port as it then is."""
        return Port(self.call("PUT", f"/v2.0/ports/{port.id}", {"port": fields})["port"])

    def read(self, port: Port) -> Port:
        """The port as it is now."""
        return Port(self.call("GET", f"/v2.0/ports/{port.id}")["port"])

    def delete(self, port: Port) -> None:
        self.call("DELETE", f"/v2.0/ports/{port.id}")

    def bind(self, port: Port, host: str) -> Port:
        """A second binding, as Nova asks for one before a live migration; the port as that host will see it.

        Raises ApiError where no driver binds it there; the reason is in the ``log``.
        """
        body = {"binding": {"host": host, "vnic_type": port.rest["binding:vnic_type"]}}
        made = self.call("POST", f"/v2.0/ports/{port.id}/bindings", body)["binding"]
        told = {f"binding:{key}": made[key] for key in ("vif_type", "vif_details", "profile")}
        return Port(port.rest | told | {"binding:host_id": host})

    def unbind(self, port: Port, host: str) -> None:
        """Take away the binding on a host: the source's, once the guest has moved."""
        self.call("DELETE", f"/v2.0/ports/{port.id}/bindings/{host}")

    def activate(self, port: Port, host: str) -> Port:
        """The guest has moved to the host of a second binding; the port as it then is."""
        self.call("PUT", f"/v2.0/ports/{port.id}/bindings/{host}/activate")
        return self.read(port)

    # --- hosts ------------------------------------------------------------------------------------

    def host(
        self,
        name: str,
        scripts: Mapping[str, str | os.PathLike[str]],
        *,
        physical_networks: Sequence[str] | None = None,
    ) -> None:
        """A host tells what plug scripts it has, by the names that bindings use, as each says of itself (``info``).

        From then on ports are bound there only if it could plug them: docs/openstack-neutron.md.
        """
        configurations = report.write(
            [_entry(script, Path(path)) for script, path in scripts.items()],
            physical_networks=physical_networks,
        )
        state = {
            "agent_type": report.AGENT_TYPE,
            "binary": "vifplugd",
            "topic": "N/A",
            "host": name,
            "configurations": configurations,
            "start_flag": True,
        }
        self.call("POST", "/vifplug/report", state)

    # --- anything else ----------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any request of its REST API, as an administrator; what it answers. Raises ApiError."""
        connection = _Connection(self._socket)
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


def _entry(name: str, path: Path) -> dict[str, Any]:
    """What ``vifplug scripts --json`` prints of a script, of what the mechanism drivers read."""
    done = subprocess.run(
        [path, "info"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    return {
        "name": name,
        "trusted": True,
        "reason": None,
        "digest": "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
        "info": json.loads(done.stdout) if done.returncode == 0 else None,  # it need not have that verb
    }
