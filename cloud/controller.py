"""The controller: databases, message queue, and OpenStack's services but nova-compute."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from .network import CONTROLLER
from .node import Node
from .place import HERE, CloudError, Place
from .processes import Processes

_DATABASES = ("nova", "nova_api", "nova_cell0", "placement", "neutron", "glance")
_PORTS = {"placement": 8778, "glance": 9292, "neutron": 9696, "cinder": 8776, "nova": 8774}
_POSTGRESQL = Path("/usr/lib/postgresql/15/bin")
_DB = f"postgresql+psycopg2://postgres@{CONTROLLER}:5432"
_RPC = f"rabbit://guest:guest@{CONTROLLER}:5672//"
#: no migrations of Neutron's: one of Neutron 29 has SQL of MySQL's alone, and a new database needs none
_NEUTRON_TABLES = f"""
import sqlalchemy
from neutron.db.migration.models import head
head.get_metadata().create_all(sqlalchemy.create_engine("{_DB}/neutron"))
"""


class Controller:
    """Runs in the network namespace that this process has entered."""

    def __init__(self, place: Place, processes: Processes, nodes: Sequence[Node]) -> None:
        self.place = place
        self.processes = processes
        self.nodes = nodes
        self.etc = place.folder("etc")
        self.env = {
            "PATH": f"{place.venv}/bin:{os.environ['PATH']}",
            "HOME": str(place.root),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "ignore",
            "OS_NOVA_CONFIG_FILES": "nova-paste.ini;nova.conf;nova-db.conf",
            "OS_NOVA_CONFIG_DIR": str(self.etc),
            "OS_NEUTRON_CONFIG_FILES": f"{self.etc}/neutron.conf;{self.etc}/ml2.ini",
            "OS_PLACEMENT_CONFIG_DIR": str(self.etc),
            "OS_GLANCE_CONFIG_DIR": str(self.etc),
        }
        self._nova: list[str | Path] = [
            "--config-file",
            self.etc / "nova.conf",
            "--config-file",
            self.etc / "nova-db.conf",
        ]
        self._neutron: list[str | Path] = [
            "--config-file",
            self.etc / "neutron.conf",
            "--config-file",
            self.etc / "ml2.ini",
        ]

    # --- configuration ------------------------------------------------------------------------

    def configure(self) -> None:
        values = {
            "root": str(self.place.root),
            "controller": CONTROLLER,
            "rpc": _RPC,
            "db": _DB,
            "debug": str(self.place.choices.debug).lower(),
            "helper": f"sudo -n {self.place.helper} --config-file {self.etc}/nova.conf",
        }
        self._write_helper()
        for template in (HERE / "etc" / "controller").iterdir():
            self._write(template.name, template, values)
        for node in self.nodes:
            mine = values | {"node": node.name, "address": node.address, "home": str(node.home)}
            for service in ("nova", "neutron"):
                self._write(f"{service}-{node.name}.conf", HERE / "etc" / "node" / f"{service}.conf", mine)
        for service, name in (("nova", "api"), ("neutron", "api"), ("glance", "glance-api")):
            pipeline = (self.place.venv / "etc" / service / f"{name}-paste.ini").read_text()
            # without Keystone: its part of the pipeline goes
            short = pipeline.replace(" authtoken ", " ").replace("/etc/glance", "/nonexistent")
            (self.etc / f"{service}-paste.ini").write_text(short)
        for names in (("state", "neutron"), ("lock",), ("glance", "images"), ("glance", "staging")):
            self.place.folder(*names)

    def _write_helper(self) -> None:
        """Nova's privileged helper. Where vifplug's plugin plugs, it has a network of its own, with nothing in it: a
        VIF that it had a hand in would be missing on the node. Where Nova makes its taps itself, it has the node's."""
        alone = "unshare --net " if self.place.choices.way == "plugin" else ""
        helper = self.place.helper
        helper.parent.mkdir(exist_ok=True)
        helper.write_text(f'#!/bin/sh\nexec {alone}{self.place.venv}/bin/privsep-helper "$@"\n')
        helper.chmod(0o755)

    def _write(self, name: str, template: Path, values: Mapping[str, str]) -> None:
        (self.etc / name).write_text(Template(template.read_text()).substitute(values))

    # --- up -----------------------------------------------------------------------------------

    def start_stores(self) -> None:
        """RabbitMQ and PostgreSQL, as the users that they ask for."""
        rabbit = self.place.folder("rabbitmq")
        self.processes.start(
            "rabbitmq",
            ["/usr/lib/rabbitmq/bin/rabbitmq-server"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(rabbit),
                "LANG": "C.UTF-8",
                "RABBITMQ_NODENAME": "rabbit@localhost",
                "RABBITMQ_CONFIG_FILE": str(self.etc / "rabbitmq"),
                "RABBITMQ_DIST_PORT": "25672",
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_MNESIA_BASE": str(self.place.folder("rabbitmq", "mnesia")),
                "RABBITMQ_LOG_BASE": str(self.place.folder("rabbitmq", "log")),
                # idle schedulers sleep: the cloud has few cores
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
            },
        )
        folder = self.place.folder("postgresql")
        shutil.chown(folder, "postgres", "postgres")
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        data = folder / "data"
        if not data.exists():
            self._run([*as_postgres, _POSTGRESQL / "initdb", "-D", data, "-A", "trust"])
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {CONTROLLER}/24 trust\n")
        self.processes.start(
            "postgresql",
            [*as_postgres, _POSTGRESQL / "postgres", "-D", data, "-c", f"listen_addresses={CONTROLLER}",
             "-c", f"unix_socket_directories={folder}", "-c", "max_connections=300",
             "-c", "fsync=off", "-c", "jit=off"],
        )  # fmt: skip

    def make_databases(self) -> None:
        ask = ["psql", "-q", "-h", CONTROLLER, "-U", "postgres", "-c"]
        asked = [*ask, "select 1"]
        self.processes.wait("PostgreSQL", lambda: _succeeds(asked), of=["postgresql"])
        for name in _DATABASES:
            self._run([*ask, f"create database {name}"])
        python = self.place.venv / "bin" / "python"
        cell0 = ["--database_connection", f"{_DB}/nova_cell0"]
        cell1 = ["--name", "cell1", "--database_connection", f"{_DB}/nova", "--transport-url", _RPC]
        self._together(
            [["nova-manage", *self._nova, "api_db", "sync"],
             ["nova-manage", *self._nova, "cell_v2", "map_cell0", *cell0]],
            [["placement-manage", "--config-file", self.etc / "placement.conf", "db", "sync"],
             ["glance-manage", "--config-file", self.etc / "glance-api.conf", "db_sync"]],
            [[python, "-c", _NEUTRON_TABLES]],
        )  # fmt: skip
        self._run(["nova-manage", *self._nova, "db", "sync"])
        self._run(["nova-manage", *self._nova, "cell_v2", "create_cell", *cell1])

    def start_services(self) -> None:
        self.processes.wait("RabbitMQ", lambda: _listens(5672), of=["rabbitmq"])
        for service in _PORTS:
            self.start_service(service)
        for service in ("conductor", "scheduler"):
            self.processes.start(
                service, [self.place.venv / "bin" / f"nova-{service}", *self._nova], env=self.env
            )
        if self.place.choices.way == "agent":
            self.start_service("neutron-rpc")

    def start_service(self, name: str) -> None:
        env = self.env
        if name.startswith("neutron"):
            env = env | {"PYTHONPATH": str(self.place.vifplug)}
        if name == "neutron-rpc":
            self.processes.start(name, [self.place.venv / "bin/neutron-rpc-server", *self._neutron], env=env)
            return
        command: list[str | Path] = [self.place.venv / "bin" / "python", HERE / "serve.py", name, CONTROLLER]
        self.processes.start(name, [*command, str(_PORTS[name])], env=env)

    def ready(self) -> None:
        for service, port in _PORTS.items():
            self.processes.wait(service, lambda port=port: _listens(port), of=[service])  # type: ignore[misc]

    def _together(self, *sequences: Sequence[Sequence[str | Path]]) -> None:
        """Each sequence of commands beside the others."""
        from concurrent.futures import ThreadPoolExecutor

        def run_all(commands: Sequence[Sequence[str | Path]]) -> None:
            for command in commands:
                self._run(command)

        with ThreadPoolExecutor(len(sequences)) as pool:
            list(pool.map(run_all, sequences))

    def _run(self, command: Sequence[str | Path]) -> None:
        words = [str(word) for word in command]
        if (mine := self.place.venv / "bin" / words[0]).exists() and "/" not in words[0]:
            words[0] = str(mine)
        done = subprocess.run(words, env=self.env, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise CloudError(f"{' '.join(words)[:200]}: {(done.stderr or done.stdout).strip()[-2000:]}")


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _listens(port: int) -> bool:
    try:
        socket.create_connection((CONTROLLER, port), timeout=1).close()
    except OSError:
        return False
    return True
