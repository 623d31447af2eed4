"""Real Open vSwitch and OVN daemons in the test's network namespace, with all their files in one directory."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec import structs

from vifplug.config import ScriptSettings, Trust
from vifplug.host import Host
from vifplug.model import read_binding
from vifplug.probe import StandInGuest
from vifplug.script.catalogue import Catalogue
from vifplug.script.contract import Request, RequestHost, request_for
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Outcome, Runner
from vifplug.script.trust import TrustedScript
from vifplug.scriptlib.ovsdb import Ovsdb
from world import World, binding

INSTANCE = "0b6f0f0e-2f0b-4a0e-9d0c-7a3f5b1c2d3e"
_QUIET = ["-vconsole:off", "-vsyslog:off", "--no-chdir", "--detach"]
_HOST = RequestHost(name="host1", boot_id="3c2f9a1e-0000-4000-8000-000000000001")
_SCHEMAS = {"conf": "/usr/share/openvswitch/vswitch.ovsschema", "nb": "/usr/share/ovn/ovn-nb.ovsschema",
            "sb": "/usr/share/ovn/ovn-sb.ovsschema"}  # fmt: skip


class Unrecorded:
    """A registry for resident scripts whose processes end with the runner."""

    def started(self, mark: Mark) -> None: ...

    def ended(self, mark: Mark) -> None: ...


class Daemons:
    """Daemons that are started by hand and ended by the process id in their pidfile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.environment = {**os.environ, "OVS_RUNDIR": str(folder), "OVN_RUNDIR": str(folder)}
        self._running: dict[str, int] = {}

    def start(self, name: str, program: str, *arguments: str) -> None:
        """Returns once it is ready: it detaches only then."""
        pidfile = self.folder / f"{name}.pid"
        self.run(program, *arguments, f"--pidfile={pidfile}", *_QUIET)
        self._running[name] = int(pidfile.read_text())

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Returns once it is gone."""
        pid = self._running.pop(name)
        ended = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(ended, how)
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            assert poll.poll(10_000), f"{name} does not end"
        finally:
            os.close(ended)

    def send(self, name: str, number: signal.Signals) -> None:
        os.kill(self._running[name], number)

    def stop_all(self) -> None:
        for name in reversed(list(self._running)):
            self.stop(name, signal.SIGKILL)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def database(self, name: str, socket: str) -> None:
        """An OVSDB server, with an empty database at first."""
        file = self.folder / f"{name}.db"
        if not file.exists():
            self.run("ovsdb-tool", "create", str(file), _SCHEMAS[name])
        control = f"--unixctl={self.folder}/{name}.ctl"
        self.start(name, "ovsdb-server", str(file), f"--remote=punix:{self.folder}/{socket}", control)


class Switch(Daemons):
    """Open vSwitch with the bridge br-int, and a host whose packaged scripts find it."""

    PROGRAM = "ovs-vswitchd"

    def __init__(self, world: World) -> None:
        super().__init__(world.folder / "ovs")
        self.remote = f"unix:{self.folder}/db.sock"
        settings = ScriptSettings(environment={"OVS_RUNDIR": str(self.folder)})
        self.config = structs.replace(
            world.config,
            trust=Trust(directories=[], allow=[], packaged=True),
            script={"openvswitch": settings, "ovn": settings},
        )

    def up(self) -> None:
        self.start_database()
        self.start_switch()
        self.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev")

    def start_database(self) -> None:
        self.database("conf", "db.sock")

    def start_switch(self) -> None:
        control = f"--unixctl={self.folder}/vswitchd.ctl"
        self.start("vswitchd", self.PROGRAM, self.remote, control, "--disable-system")

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", f"--db={self.remote}", "-t", "10", *arguments).strip()

    def row(self, table: str, name: str) -> dict[str, Any] | None:
        """What the database has of the record; sets as lists, empty ones as None."""
        printed = self.vsctl("--format=json", "--if-exists", "list", table, name)
        found = json.loads(printed) if printed else {"data": []}
        return (
            dict(zip(found["headings"], map(_plain, found["data"][0]), strict=True))
            if found["data"]
            else None
        )

    def until(self, interface: str, done: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the interface is there, and it is so of its row."""
        columns = ["external_ids", "ifindex", "error", "status"]
        with Ovsdb(self.remote, 10.0) as db:
            db.until(
                [("Interface", [["name", "==", interface]], columns)],
                lambda rows: bool(rows) and done(rows[0]),
            )

    def ports(self, bridge: str = "br-int") -> set[str]:
        return set(self.vsctl("list-ports", bridge).split())

    def host(self, **keywords: Any) -> Host:
        return Host(self.config, **keywords)

    def script(self, binding: dict[str, Any]) -> TrustedScript:
        return Catalogue(self.config).find(binding["vif_details"]["vif_plug_script"])

    def call(
        self,
        verb: str,
        binding: dict[str, Any],
        *,
        seconds: float = 10.0,
        resident: bool = False,
        on_call: Callable[[Call], None] | None = None,
        changes: Iterable[str] = (),
    ) -> Outcome:
        """The packaged script asked for one verb, as the host asks it."""
        runner = Runner(self.config, Unrecorded())
        try:
            return runner.carry_out(
                self.script(binding), _request(verb, binding, seconds, changes), seconds=seconds,
                mark=Mark.new(), resident=resident, on_call=on_call,
            )  # fmt: skip
        finally:
            runner.close()

    def by_hand(
        self, verb: str, binding: dict[str, Any], **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The script as somebody starts it in a shell, with the request on standard input."""
        return subprocess.run(
            [self.script(binding).path, verb], input=_request(verb, binding, 10.0).to_json().decode(),
            env={"OVS_RUNDIR": str(self.folder), **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def done(self, verb: str, binding: dict[str, Any], **how: Any) -> dict[str, Any]:
        """The reply to a call that has to succeed."""
        outcome = self.call(verb, binding, **how)
        assert outcome.error is None, outcome.error
        return outcome.reply


def _request(verb: str, binding: dict[str, Any], seconds: float, changes: Iterable[str] = ()) -> Request:
    return request_for(
        verb, read_binding(binding), generation=1, host=_HOST, deadline=seconds, changes=changes
    )


def _plain(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "map":
        return {key: _plain(item) for key, item in content}
    if kind == "set":
        return [_plain(item) for item in content] or None
    return content


class DpdkSwitch(Switch):
    """Open vSwitch with DPDK, in ordinary memory and with a thread that sleeps when there is nothing to do."""

    PROGRAM = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"

    def start_switch(self) -> None:
        self.environment["RUNTIME_DIRECTORY"] = str(self.folder)  # where DPDK has its own files
        self.vsctl(
            "--no-wait", "set", "open_vswitch", ".", "other_config:dpdk-init=true",
            "other_config:dpdk-extra=--no-huge --legacy-mem --no-pci --no-telemetry -m 256",
            "other_config:per-port-memory=true", "other_config:pmd-cpu-mask=1", "other_config:pmd-maxsleep=500",
        )  # fmt: skip
        super().start_switch()


class OvnHost(Switch):
    """A host of OVN's, with the central databases beside it. OVN knows the logical switch ``blue``."""

    def up(self) -> None:
        super().up()
        for name in ("nb", "sb"):
            self.database(name, f"{name}.sock")
        self.southbound = f"unix:{self.folder}/sb.sock"
        self.environment |= {"OVN_NB_DB": f"unix:{self.folder}/nb.sock", "OVN_SB_DB": self.southbound}
        databases = [f"--ovnnb-db={self.environment['OVN_NB_DB']}", f"--ovnsb-db={self.southbound}"]
        self.start("northd", "ovn-northd", *databases)
        self.vsctl(
            "set", "open_vswitch", ".", f"external-ids:ovn-remote={self.southbound}", "external-ids:system-id=host1",
            "external-ids:ovn-encap-type=geneve", "external-ids:ovn-encap-ip=127.0.0.1",
            "external-ids:ovn-bridge-datapath-type=netdev",
        )  # fmt: skip
        self.start_controller()
        self.nbctl("ls-add", "blue")

    def start_controller(self) -> None:
        self.start("controller", "ovn-controller", self.remote)

    def nbctl(self, *arguments: str) -> str:
        return self.run("ovn-nbctl", "-t", "10", *arguments).strip()

    def logical_port(self, iface_id: str, *addresses: str) -> None:
        self.nbctl("lsp-add", "blue", iface_id, "--", "lsp-set-addresses", iface_id, " ".join(addresses))


def port(number: int = 1, script: str = "openvswitch", **fields: Any) -> dict[str, Any]:
    """A port binding whose details (``vif_details``) say what the test is about."""
    return binding(number, script, **{"mtu": 1450, "instance": {"id": INSTANCE}, **fields})


def tap_of(binding: dict[str, Any]) -> str:
    return f"tap{binding['id'][:11]}"


def guest(binding: dict[str, Any]) -> StandInGuest:
    """A guest at the VIF's tap; its IPv4 address ends as its MAC address does."""
    last = int(binding["address"][-2:], 16)
    return StandInGuest(tap_of(binding), binding["address"], [f"10.0.0.{last}/24"])


def reaches(one: StandInGuest, other: StandInGuest, timeout: float = 3.0) -> bool:
    """Whether ARP and ping get through."""
    target = str(other.addresses[0].ip)
    mac = one.arp(target, timeout)
    return mac is not None and mac.value == other.address and one.ping(target, mac.value, timeout) is not None
