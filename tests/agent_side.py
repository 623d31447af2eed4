"""A cloud's network side: a real RabbitMQ, a real Neutron (API and RPC server), and hosts with a real vifplugd and the
real host agent, each in a network namespace of its own. What stands in for Nova is ``ip tuntap``. Needs ./dev
neutron-test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neutron_server import NeutronServer, eventually
from vifplug.client import Client
from world import RECORDER

_PATIENCE = 60.0
_RABBIT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_RABBIT_CONFIG = """
loopback_users = none
listeners.tcp.1 = {address}:5672
log.file.level = warning
"""
_RPC = """
[DEFAULT]
transport_url = rabbit://guest:guest@{address}:5672//
rpc_workers = 1
rpc_state_report_workers = 0
rpc_response_timeout = 5
agent_down_time = 4
"""
_AGENT = """
[DEFAULT]
transport_url = rabbit://guest:guest@{address}:5672//
host = {name}
rpc_response_timeout = 20
[oslo_messaging_rabbit]
rabbit_retry_interval = 1
rabbit_retry_backoff = 1
rabbit_interval_max = 1
kombu_reconnect_delay = 0.2
[AGENT]
report_interval = 1
[vifplug_agent]
socket = {socket}
abandoned_after = 1
{more}
"""
_VIFPLUGD = """
state_dir = "{folder}/state"
[trust]
directories = ["{folder}/scripts"]
allow = []
packaged = false
[deadlines]
grace = 0.2
[daemon]
on_drift = "{on_drift}"
interval = 86400.0
backup_every = 86400.0
"""


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _program(name: str) -> list[str]:
    return [sys.executable, str(Path(sys.prefix, "bin", name))]


def end(process: subprocess.Popen[bytes] | None, *signals: signal.Signals) -> None:
    """It, and what it started; by SIGTERM, and by SIGKILL if that does not do, unless others are named."""
    if process is not None:
        for number in signals or (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            try:
                process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()


class Rabbit:
    """In a namespace, at an address of it."""

    def __init__(self, folder: Path, namespace: str, address: str) -> None:
        self._folder, self._namespace, self.address = folder, namespace, address
        self._process: subprocess.Popen[bytes] | None = None
        for part in ("mnesia", "log"):
            (folder / part).mkdir(parents=True)
        (folder / "rabbitmq.conf").write_text(_RABBIT_CONFIG.format(address=address))

    def start(self) -> None:
        environ = os.environ | {
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_DIST_PORT": "25672",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }
        with (self._folder / "out").open("ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace, _RABBIT],
                env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert eventually(self._answers), (self._folder / "out").read_text()[-3000:]

    def _answers(self) -> bool:
        test = f"exec 3<>/dev/tcp/{self.address}/5672"
        words = ["ip", "netns", "exec", self._namespace, "bash", "-c", test]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def stop(self) -> None:
        end(self._process, signal.SIGKILL)
        self._process = None


class Postgresql:
    """One server, at a Unix socket: SQLite has one writer at a time, and Neutron's processes are several."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (self._bin,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
        self.url = f"postgresql+psycopg2://postgres@/neutron?host={folder}"

    def start(self) -> None:
        """With a database for Neutron."""
        self._folder.mkdir()
        shutil.chown(self._folder, "postgres", "postgres")
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        quick = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._run(*as_postgres, str(self._bin / "initdb"), "-D", str(self._folder / "data"), *quick)
        words = [*as_postgres, str(self._bin / "postgres"), "-D", str(self._folder / "data")]
        # Neutron joins thirty tables for a port; compiling that takes a second, each time
        settings = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", "jit=off")
        words += [f"--{setting}" for setting in settings]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        assert eventually(self._makes_the_database), (self._folder / "log").read_text()

    def _makes_the_database(self) -> bool:
        words = ["createdb", "-h", str(self._folder), "-U", "postgres", "neutron"]
        return subprocess.run(words, check=False, capture_output=True, cwd="/").returncode == 0

    def _run(self, *words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd="/", timeout=300)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # it ends at once, and its children with it
            self._process.wait(30)
            self._process = None


class Host:
    """A compute host without Nova: vifplugd, and the agent."""

    def __init__(self, folder: Path, name: str, namespace: str, rabbit: Rabbit) -> None:
        self.name, self.namespace, self.folder = name, namespace, folder
        self._rabbit = rabbit
        self.backend, self.scripts = folder / "backend", folder / "scripts"
        for part in (self.backend, self.scripts):
            part.mkdir(parents=True)
        self.script("recorder")
        self._daemon: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self.on_drift = "repair"
        self.client = Client(f"{folder}/state/vifplugd.sock", timeout=_PATIENCE)

    def script(self, name: str) -> None:
        path = self.scripts / name
        path.write_text(RECORDER.replace("@BACKEND@", str(self.backend)))
        path.chmod(0o755)

    def start(self, **agent: Any) -> Host:
        self.start_daemon()
        self.start_agent(**agent)
        return self

    def start_daemon(self) -> None:
        config = self.folder / "vifplugd.toml"
        config.write_text(_VIFPLUGD.format(folder=self.folder, on_drift=self.on_drift))
        told_at = self.folder / "ready"
        told_at.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(told_at))
            told.settimeout(_PATIENCE)
            self._daemon = self._run(
                "vifplugd", [sys.executable, "-m", "vifplug.daemon", "--config", str(config)],
                NOTIFY_SOCKET=str(told_at),
            )  # fmt: skip
            while b"READY=1" not in told.recv(4096):
                pass

    def start_agent(self, **options: Any) -> None:
        config = self.folder / "agent.ini"
        more = "".join(f"{key} = {value}\n" for key, value in options.items())
        socket_path = f"{self.folder}/state/vifplugd.sock"
        config.write_text(
            _AGENT.format(address=self._rabbit.address, name=self.name, socket=socket_path, more=more)
        )
        program = _program("vifplug-neutron-agent")
        log = self.folder / "agent.log"
        self._said = log.stat().st_size if log.exists() else 0
        self._agent = self._run("agent", [*program, "--config-file", str(config)], PYTHONWARNINGS="ignore")

    def _run(self, name: str, words: list[str], **environ: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *words], env=os.environ | environ,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop_agent(self) -> None:
        end(self._agent)
        self._agent = None

    def restart_agent(self, **options: Any) -> None:
        self.stop_agent()
        self.start_agent(**options)

    def stop_daemon(self) -> None:
        end(self._daemon)
        self._daemon = None

    def stop(self) -> None:
        self.stop_agent()
        self.stop_daemon()
        self.client.close()

    # --- what Nova does ---------------------------------------------------------------------------

    def plug_tap(self, port: Mapping[str, Any], mtu: int = 1500) -> str:
        """As nova.virt.libvirt.vif.LibvirtGenericVIFDriver.plug_tap."""
        name = f"tap{port['id'][:11]}"
        ip("-n", self.namespace, "tuntap", "add", name, "mode", "tap")
        ip("-n", self.namespace, "link", "set", name, "up")
        ip("-n", self.namespace, "link", "set", name, "mtu", str(mtu))
        return name

    def unplug_tap(self, port: Mapping[str, Any]) -> None:
        ip("-n", self.namespace, "link", "delete", f"tap{port['id'][:11]}")

    @contextmanager
    def guest(self, port: Mapping[str, Any]) -> Iterator[None]:
        """Somebody who has the tap open, as QEMU has."""
        opens = (
            "import fcntl, os, struct, sys; tun = os.open('/dev/net/tun', os.O_RDWR);"
            "fcntl.ioctl(tun, 0x400454CA, struct.pack('16sH22x', sys.argv[1].encode(), 0x1002));"
            "print('open', flush=True); sys.stdin.read()"
        )
        words = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", opens, f"tap{port['id'][:11]}"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield
            assert process.stdin is not None
            process.stdin.close()

    # --- what there is ----------------------------------------------------------------------------

    def taps(self) -> set[str]:
        lines = ip("-n", self.namespace, "-o", "link", "show").splitlines()
        return {line.split(": ")[1] for line in lines if ": tap" in line}

    def ports(self) -> set[str]:
        """Those that the backend has."""
        return {path.name.removeprefix("port-") for path in self.backend.glob("port-*")}

    def asked(self) -> list[str]:
        """The verbs that the script was called with."""
        log = self.backend / "log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    def on(self, verb: str, *, status: int | None = None, do: str | None = None) -> None:
        """How the script behaves from now on (``world.World.on``)."""
        for suffix, value in (("exit", status), ("do", do)):
            path = self.backend / f"{verb}.{suffix}"
            if value is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(f"{value}\n")

    def on_record(self) -> set[str]:
        return {record.id for record in self.client.list()}

    def log(self) -> str:
        """The end of the agent's."""
        return (self.folder / "agent.log").read_text()[-5000:]

    def said_since(self, text: str) -> bool:
        """Since it was started last."""
        return text.encode() in (self.folder / "agent.log").read_bytes()[self._said :]

    def said(self, text: str) -> bool:
        return text in (self.folder / "agent.log").read_text()


class Cloud:
    """All of it. ``rules``: what is added to Neutron's configuration."""

    def __init__(self, rules: str, hosts: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vifplug-cloud-", dir="/run"))
        self.folder.chmod(0o755)
        self.database = Postgresql(self.folder / "postgresql")
        self._name = f"vp{os.getpid() % 100000}"
        self._namespaces: list[str] = []
        controller = self._namespace("c")
        ip("-n", controller, "link", "add", "br0", "type", "bridge")
        ip("-n", controller, "address", "add", "10.99.0.1/24", "dev", "br0")
        ip("-n", controller, "link", "set", "br0", "up")
        self.rabbit = Rabbit(self.folder / "rabbit", controller, "10.99.0.1")
        (self.folder / "neutron").mkdir()
        config = _RPC.format(address="10.99.0.1") + rules
        within = ["ip", "netns", "exec", controller]
        self.neutron = NeutronServer(
            self.folder / "neutron", config, database=self.database.url, within=within
        )
        self._rpc: subprocess.Popen[bytes] | None = None
        self.hosts: list[Host] = []
        for number in range(1, hosts + 1):
            namespace = self._namespace(f"h{number}")
            ip(
                "-n",
                controller,
                "link",
                "add",
                f"h{number}",
                "type",
                "veth",
                "peer",
                "eth0",
                "netns",
                namespace,
            )
            ip("-n", controller, "link", "set", f"h{number}", "master", "br0", "up")
            ip("-n", namespace, "address", "add", f"10.99.0.1{number}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            self.hosts.append(Host(self.folder / f"cmp{number}", f"cmp{number}", namespace, self.rabbit))

    def _namespace(self, name: str) -> str:
        name = f"{self._name}{name}"
        ip("netns", "add", name)
        self._namespaces.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        return name

    def __enter__(self) -> Cloud:
        try:
            self.database.start()
            self.rabbit.start()
            self.neutron.start()
            self.start_rpc()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_rpc(self) -> None:
        """The processes of Neutron's that answer agents."""
        config = str(self.folder / "neutron" / "neutron.conf")
        program = _program("neutron-rpc-server")
        with (self.folder / "rpc.log").open("ab") as log:
            self._rpc = subprocess.Popen(
                [*self.neutron.within, *program, "--config-file", config],
                env=os.environ | {"PYTHONWARNINGS": "ignore"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        began = (self.folder / "rpc.log").stat().st_size
        said = "Host agents are answered by this process"
        assert eventually(lambda: said in (self.folder / "rpc.log").read_text()[began:]), "see rpc.log"

    def stop_rpc(self) -> None:
        end(self._rpc, signal.SIGKILL)
        self._rpc = None

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.stop()
        self.stop_rpc()
        self.neutron.stop()
        self.rabbit.stop()
        self.database.stop()
        for name in self._namespaces:
            ip("netns", "delete", name)
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.folder)

    # --- what is asked of it -----------------------------------------------------------------------

    def agents(self) -> dict[str, dict[str, Any]]:
        """The host agents that Neutron knows, by host."""
        found = self.neutron.call("GET", "/v2.0/agents?agent_type=vifplug%20host%20agent")["agents"]
        return {agent["host"]: agent for agent in found}

    def alive(self, host: Host) -> bool:
        return self.agents().get(host.name, {}).get("alive", False) is True

    def becomes(self, port: Mapping[str, Any], status: str, seconds: float = _PATIENCE) -> bool:
        return eventually(lambda: self.neutron.read(port)["status"] == status, seconds)


def within(seconds: float, condition: Any) -> bool:
    """Whether it stays true for so long: for what must not happen there is nothing to wait for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not condition():
            return False
        time.sleep(0.05)
    return True
