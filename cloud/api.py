"""OpenStack's REST APIs, as an administrator, and what tests ask of them again and again."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .network import CONTROLLER
from .place import CloudError

PROJECT = "1" * 32
_URLS = {
    "compute": f"http://{CONTROLLER}:8774/v2.1",
    "network": f"http://{CONTROLLER}:9696/v2.0",
    "image": f"http://{CONTROLLER}:9292/v2",
}
#: of the compute API; since 2.91 a server is unshelved onto a host that is named
_COMPUTE_VERSION = "2.95"
#: a guest boots in 3 seconds on an idle machine
PATIENCE = 150.0


class ApiError(CloudError):
    """An answer with a status of 400 or more."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path}: {status}: {text[:1500]}")
        self.status = status


class Api:
    def __call__(self, service: str, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. ``body``: what becomes JSON, or bytes."""
        headers = {"Content-Type": "application/json", "OpenStack-API-Version": f"compute {_COMPUTE_VERSION}"}
        data = None
        if isinstance(body, bytes):
            data, headers["Content-Type"] = body, "application/octet-stream"
        elif body is not None:
            data = json.dumps(body).encode()
        request = urllib.request.Request(_URLS[service] + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(method, path, error.code, error.read().decode(errors="replace")) from None
        except urllib.error.URLError as error:
            raise CloudError(f"{method} {path}: {error.reason}") from None
        return json.loads(text) if text else None

    # --- what a cloud has before the first guest ----------------------------------------------

    def prepare(self, kernel: Path, initrd: Path) -> None:
        """A flavor, and the guest's image."""
        if not self("compute", "GET", "/flavors")["flavors"]:
            flavor = {"name": "tiny", "id": "tiny", "ram": 96, "vcpus": 1, "disk": 0}
            self("compute", "POST", "/flavors", {"flavor": flavor})
        if self.image("guest") is None:
            parts = {
                "kernel_id": self._upload("kernel", "aki", kernel.read_bytes()),
                "ramdisk_id": self._upload("initrd", "ari", initrd.read_bytes()),
            }
            words = {"hw_vif_model": "virtio", "os_command_line": "console=ttyS0 panic=-1 quiet neighbours"}
            self._upload("guest", "raw", bytes(1 << 20), **parts, **words)

    def image(self, name: str) -> str | None:
        found = self("image", "GET", f"/images?name={name}")["images"]
        return str(found[0]["id"]) if found else None

    def _upload(self, name: str, kind: str, content: bytes, **properties: str) -> str:
        form = {
            "container_format": "bare" if kind == "raw" else kind,
            "disk_format": kind,
            "visibility": "public",
        }
        image = self("image", "POST", "/images", {"name": name, **form, **properties})["id"]
        self("image", "PUT", f"/images/{image}/file", content)
        return str(image)

    def hosts_up(self) -> set[str]:
        try:
            found = self("compute", "GET", "/os-hypervisors/detail")["hypervisors"]
        except CloudError:
            return set()
        return {each["service"]["host"] for each in found if each["state"] == "up"}

    def agents(self) -> dict[str, dict[str, Any]]:
        """What each host agent that lives has reported, by host, as Neutron sees it."""
        found = self("network", "GET", "/agents?agent_type=vifplug%20host%20agent")["agents"]
        return {agent["host"]: agent["configurations"] for agent in found if agent["alive"]}

    # --- networks and ports -------------------------------------------------------------------

    def network(self, name: str, number: int, **provider: Any) -> str:
        """The id of a network whose guests are in 10.9.``number``.0/24; made when it is not there."""
        found = self("network", "GET", f"/networks?name={name}")["networks"]
        if found:
            return str(found[0]["id"])
        wanted = {f"provider:{key}": value for key, value in provider.items()}
        body = {"network": {"project_id": PROJECT, "name": name, "shared": True, **wanted}}
        network = str(self("network", "POST", "/networks", body)["network"]["id"])
        subnet = {"network_id": network, "cidr": f"10.9.{number}.0/24", "ip_version": 4, "enable_dhcp": False}
        self("network", "POST", "/subnets", {"subnet": {"project_id": PROJECT, **subnet}})
        return network

    def make_port(self, network: str, number: int, last: int, **more: Any) -> str:
        """A port whose guest takes the address 10.9.``number``.``last``."""
        port = {
            "project_id": PROJECT,
            "network_id": network,
            "mac_address": f"fa:16:3e:00:{number:02x}:{last:02x}",
            "fixed_ips": [{"ip_address": f"10.9.{number}.{last}"}],
            **more,
        }
        return str(self("network", "POST", "/ports", {"port": port})["port"]["id"])

    def port(self, port_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self("network", "GET", f"/ports/{port_id}")["port"]
        return found

    def ports(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("network", "GET", "/ports")["ports"]
        return found

    # --- servers ------------------------------------------------------------------------------

    def boot(self, name: str, ports: Collection[str], host: str | None = None) -> str:
        server = {
            "name": name,
            "flavorRef": "tiny",
            "imageRef": self.image("guest"),
            "networks": [{"port": port} for port in ports],
        }
        if host is not None:
            server["host"] = host
        return str(self("compute", "POST", "/servers", {"server": server})["server"]["id"])

    def server(self, server_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self("compute", "GET", f"/servers/{server_id}")["server"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("compute", "GET", "/servers/detail?all_tenants=1")["servers"]
        return found

    def act(self, server_id: str, action: str, said: Any = None) -> None:
        self("compute", "POST", f"/servers/{server_id}/action", {action: said})

    def settled(self, server_id: str, status: str = "ACTIVE", seconds: float = PATIENCE) -> dict[str, Any]:
        """The server, as soon as it has that status and nothing is being done with it."""
        deadline = time.monotonic() + seconds
        while True:
            server = self.server(server_id)
            if server is None:
                raise CloudError(f"server {server_id} is gone, and was to be {status}")
            busy = server["OS-EXT-STS:task_state"]
            if server["status"] == status and busy is None:
                return server
            if server["status"] == "ERROR" and status != "ERROR":
                raise CloudError(f"server {server['name']}: {json.dumps(server.get('fault'))[:1500]}")
            if time.monotonic() > deadline:
                raise CloudError(f"server {server['name']} is {server['status']} ({busy}), not {status}")
            time.sleep(0.1)

    def gone(self, server_id: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while (server := self.server(server_id)) is not None:
            if time.monotonic() > deadline:
                raise CloudError(f"server {server['name']} is still there: {server['status']}")
            time.sleep(0.1)

    def console(self, server_id: str) -> list[str]:
        """What the guest has printed."""
        answer = self("compute", "POST", f"/servers/{server_id}/action", {"os-getConsoleOutput": {}})
        return str(answer["output"]).splitlines()
