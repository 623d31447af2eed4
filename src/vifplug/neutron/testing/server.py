"""A Neutron of a test's own, and what a test asks of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import InvalidInput
from .. import report
from .installed import NeutronMissing, as_if_installed, drivers_of, missing
from .port import Port
from .process import Server


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

    def __enter__(self) -> Neutron:
        if sentence := missing():
            raise NeutronMissing(sentence)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neutron-")))
            self._server = self._made_in(folder)
            stack.callback(self._server.stop)
            self._server.start()
            self._end = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()

    def _made_in(self, folder: Path) -> Server:
        path = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        if self._project is not None:
            (folder / "metadata").mkdir()
            path = as_if_installed(self._project, folder / "metadata") + path
        return Server(
            folder,
            ",".join(self._drivers),
            self._config,
            physical_networks=self._physical_networks,
            environ={
                "PYTHONPATH": ":".join(path),
                "XDG_CACHE_HOME": str(folder),  # stevedore's, of entry points that are not there for long
            },
        )

    @property
    def log(self) -> str:
        """All that it has logged, the drivers' lines among it."""
        return self._server.log

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
        return self._server.network(cidr=cidr, **fields)

    def port(
        self, network: Mapping[str, Any], host: str = "", *, vnic_type: str = "normal", **fields: Any
    ) -> Port:
        """A guest's port as Nova makes it, bound on ``host``. ``fields``: as in the REST API."""
        return Port(self._server.port(network, host, **{"binding:vnic_type": vnic_type} | fields))

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
        self._server.report(name, configurations)

    # --- anything else ----------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any request of its REST API, as an administrator; what it answers. Raises ApiError."""
        return self._server.call(method, path, body)


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
