"""A compute node: namespaces of its own (network, mounts, host name), and what runs there.

Of the file system a node has its own /etc/vifplug, /etc/libvirt, /var/lib/vifplug, /run/vifplug and so on, bound over
those of the machine; and a layer over /usr/bin for the commands and scripts that a network mechanism installs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from vifplug.client import Client

from . import network
from .place import CHECKOUT, HERE, CloudError, Place
from .processes import Processes

#: uid and gid of the users that nova-compute and the host agent run as: no users of the machine's
NOVA, NEUTRON = 7777, 7778

#: of a node alone, each bound over the machine's directory of that name
_OWN = (
    "run/libvirt", "var/lib/libvirt", "var/log/libvirt", "var/cache/libvirt", "etc/libvirt",
    "run/vifplug", "var/lib/vifplug", "etc/vifplug",
    "run/openvswitch", "etc/openvswitch", "var/log/openvswitch",
)  # fmt: skip

Storage = Literal["local", "shared"]


class Node:
    """Number ``number`` of a cloud; its host name is cmpN."""

    def __init__(self, place: Place, processes: Processes, number: int) -> None:
        self.place = place
        self.processes = processes
        self.number = number
        self.name = f"cmp{number}"
        self.home = place.folder(self.name)
        self.address = network.address(number)

    def own(self, path: str) -> Path:
        """Where a node's own directory lies on the machine."""
        return self.place.folder(self.name, path.lstrip("/"))

    # --- commands and processes in it ---------------------------------------------------------

    def inside(self, *command: str | Path) -> list[str]:
        """The command, as it is run in the node's namespaces."""
        pid = self.processes.pid(f"{self.name}-holder")
        if pid is None:
            raise CloudError(f"{self.name} is not up")
        return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--", *map(str, command)]

    def run(self, *command: str | Path, check: bool = True, stdin: str | None = None) -> str:
        done = subprocess.run(
            self.inside(*command), capture_output=True, text=True, check=False, timeout=120, input=stdin
        )
        if check and done.returncode:
            raise CloudError(f"{self.name}: {shlex.join(map(str, command))}: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def client(self) -> Client:
        """Of its vifplugd, as root of the node."""
        return Client(str(self.own("/run/vifplug") / "vifplugd.sock"), timeout=60)

    # --- up ------------------------------------------------------------------------------------

    def make(self, nodes: Mapping[str, str]) -> None:
        """Its namespaces. ``nodes``: the addresses of all, by name."""
        usr_bin, work = self.own("/usr/bin"), self.place.folder(self.name, "usr", "work")
        hosts = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in nodes.items())]
        self._write("etc/hosts", "\n".join(hosts) + "\n")
        users = {
            "passwd": "{name}:x:{number}:{number}::/:/bin/sh",
            "group": "{name}:x:{number}:",
            "shadow": "{name}:*:20000::::::",  # without a line there, sudo takes the account for a locked one
        }
        for kind, line in users.items():
            lines = [
                line.format(name=name, number=number)
                for name, number in (("nova", NOVA), ("neutron", NEUTRON))
            ]
            self._write(f"etc/{kind}", "\n".join([Path(f"/etc/{kind}").read_text().rstrip(), *lines, ""]))
        self._write("etc/sudoers", f"nova ALL=(root) NOPASSWD: {self.place.helper} *\n")
        self._libvirt()
        script = [
            "set -e", f"hostname {self.name}", "mount --make-rprivate /",
            f"mount -t overlay overlay -o lowerdir=/usr/bin,upperdir={usr_bin},workdir={work} /usr/bin",
        ]  # fmt: skip
        for path in _OWN:
            script.append(f"mkdir -p /{path}; mount --bind {self.own(path)} /{path}")
        for name in ("hosts", "sudoers", *users):
            script.append(f"mount --bind {self.home}/etc/{name} /etc/{name}")
        script += self._open_python()
        script.append("touch /run/vifplug/.up; exec sleep infinity")
        flag = self.own("/run/vifplug") / ".up"
        flag.unlink(missing_ok=True)
        holder = f"{self.name}-holder"
        self.processes.start(
            holder,
            ["ip", "netns", "exec", self.place.netns(self.number), "unshare", "--mount", "--uts", "sh", "-c",
             "\n".join(script)],
        )  # fmt: skip
        self.processes.wait(f"{self.name}: its namespaces", flag.exists, of=[holder])
        self.store("local")

    def store(self, storage: Storage) -> None:
        """Whether guests' disks are the node's own or are shared with the other nodes. No guest may be on it."""
        shared = self.place.folder("instances")
        os.chown(shared, NOVA, NOVA)
        if self.run("findmnt", "-n", shared, check=False):
            self.run("umount", shared)
        if storage == "local":
            own = self.place.folder(self.name, "instances")
            os.chown(own, NOVA, NOVA)
            self.run("mount", "--bind", own, shared)

    def configure(self) -> None:
        """vifplugd's configuration, what a mechanism's package would install, and what is nova-compute's to write."""
        for user, *names in ((NOVA, "nova"), (NOVA, "nova", "lock"), (NEUTRON, "neutron")):
            os.chown(self.place.folder(self.name, *names), user, user)
        (self.own("/etc/vifplug") / "vifplug.toml").write_text(
            '[daemon]\npluggers = ["nova", "neutron"]\narrival_patience = 40.0\n'
            f'[script.vxlan-bridge]\ndetails = {{local = "{self.address}", underlay = "m0"}}\n'
            "[script.shaky]\ndeadlines = { plug = 20.0 }\n"
        )
        self.install_shaky()
        for mechanism, command in (("iovisor", "ifc_ctl"), ("midonet", "mm-ctl")):
            script = CHECKOUT / "src" / "vifplug" / "scripts" / mechanism
            (self.own("/usr/bin") / f"neutron-{mechanism}-vif-plug").symlink_to(script)
            shutil.copy(HERE / "vendors" / command, self.own("/usr/bin"))

    @property
    def shaky(self) -> Path:
        return self.own("/etc/vifplug/scripts.d") / "shaky"

    def install_shaky(self) -> None:
        """The plug script that fails as it is told to, in the operator's directory."""
        shutil.copy(HERE / "vendors" / "shaky", self.shaky)
        self.shaky.chmod(0o755)
        self.mood("well")

    def mood(self, mood: Literal["well", "fails", "hangs", "waits"]) -> None:
        """What that script does from now on."""
        (self.own("/etc/vifplug") / "mood").write_text(mood)

    def start(self) -> None:
        """All but nova-compute, and without waiting for it."""
        self.start_switch()
        self.start_vifplugd()
        self.processes.start(
            f"{self.name}-libvirtd",
            self.inside("libvirtd", "--listen", "--pid-file", "/run/libvirt/libvirtd.pid"),
        )

    def ready(self) -> None:
        processes = self.processes
        processes.wait(f"{self.name}: vifplugd", self.vifplugd_answers, of=[f"{self.name}-vifplugd"])
        processes.wait(f"{self.name}: libvirtd", self._libvirtd_answers, of=[f"{self.name}-libvirtd"])
        self.run("ovs-vsctl", "--may-exist", "add-br", "br-switch", "--", "set", "bridge", "br-switch",
                 "datapath_type=netdev", "--", "--may-exist", "add-port", "br-switch", "s0")  # fmt: skip

    def start_vifplugd(self) -> None:
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.processes.start(
            f"{self.name}-vifplugd", self.inside(sys.executable, "-m", "vifplug.daemon"), env=env
        )

    def vifplugd_answers(self) -> bool:
        from vifplug.errors import VifplugError

        try:
            with self.client() as client:
                client.capabilities()
        except VifplugError:
            return False
        return True

    def start_compute(self) -> None:
        """nova-compute, as a user without any privilege. In the way of the plugin, vifplugd and libvirtd do all that
        needs some; what Nova itself still has its privileged helper for, it does where there is no network at all."""
        etc = self.place.root / "etc"
        self._start_openstack(
            "nova", NOVA, self.place.venv / "bin/nova-compute", etc / "nova.conf", etc / f"nova-{self.name}.conf",
            vifplug=self.place.choices.way == "plugin",
        )  # fmt: skip

    def start_agent(self) -> None:
        """vifplug's host agent, as another such user."""
        etc = self.place.root / "etc"
        self._start_openstack(
            "agent", NEUTRON, self.place.vifplug / "bin/vifplug-neutron-agent", etc / "neutron.conf",
            etc / f"neutron-{self.name}.conf", vifplug=True,
        )  # fmt: skip

    def _start_openstack(
        self, name: str, user: int, program: Path, *configuration: Path, vifplug: bool
    ) -> None:
        env = {
            "PATH": f"{self.place.venv}/bin:{os.environ['PATH']}",
            "HOME": "/",
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "ignore",
            **({"PYTHONPATH": str(self.place.vifplug)} if vifplug else {}),
        }
        command: list[str | Path] = [
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
            "--clear-groups",
            program,
        ]
        for file in configuration:
            command += ["--config-file", file]
        self.processes.start(f"{self.name}-{name}", self.inside(*command), env=env)

    def start_switch(self) -> None:
        database, schema = "/etc/openvswitch/conf.db", "/usr/share/openvswitch/vswitch.ovsschema"
        if not (self.own("/etc/openvswitch") / "conf.db").exists():
            self.run("ovsdb-tool", "create", database, schema)
        self.processes.start(
            f"{self.name}-ovsdb",
            self.inside("ovsdb-server", database, "--remote=punix:/run/openvswitch/db.sock", "--no-chdir"),
        )
        socket = self.own("/run/openvswitch") / "db.sock"
        self.processes.wait(f"{self.name}: ovsdb-server", socket.is_socket, of=[f"{self.name}-ovsdb"])
        self.run("ovs-vsctl", "--no-wait", "init")
        self.processes.start(f"{self.name}-switch", self.inside("ovs-vswitchd", "--no-chdir"))

    def guests(self) -> list[str]:
        """The names of the domains that run there."""
        found = self.run("virsh", "-c", "qemu:///system", "list", "--name", check=False)
        return found.split()

    def _open_python(self) -> list[str]:
        """nova-compute must be able to start Python anew, which may lie in a home directory that is closed to it."""
        python = Path(sys.base_prefix).resolve()
        closed = next((path for path in reversed(python.parents) if not path.stat().st_mode & 0o001), None)
        if closed is None:
            return []
        kept = self.place.folder(self.name, "python")
        return [
            f"mount --bind {python} {kept}",
            f"mount -t tmpfs -o mode=755 tmpfs {closed}",
            f"mkdir -p {python}",
            f"mount --bind {kept} {python}",
        ]

    def _libvirtd_answers(self) -> bool:
        return "Using library" in self.run("virsh", "-c", "qemu:///system", "version", check=False)

    def _libvirt(self) -> None:
        etc = self.own("/etc/libvirt")
        shutil.copytree("/etc/libvirt", etc, dirs_exist_ok=True, symlinks=True)
        for link in (etc / "qemu" / "networks" / "autostart").glob("*"):
            link.unlink()
        values = {"uuid": str(uuid.uuid4()), "address": self.address}
        for name in ("libvirtd.conf", "qemu.conf"):
            text = (HERE / "etc" / "node" / name).read_text()
            (etc / name).write_text(_filled(text, values))

    def _write(self, name: str, text: str) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o440 if path.name in ("sudoers", "shadow") else 0o644)


def _filled(text: str, values: Mapping[str, str]) -> str:
    from string import Template

    return Template(text).substitute(values)
