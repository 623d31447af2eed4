"""A whole cloud: up, and down again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import guest_image

from . import network
from .api import Api
from .controller import Controller
from .node import Node
from .place import CHECKOUT, Choices, CloudError, Place, load
from .processes import Processes

Say = Callable[[str], None]


class Cloud:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.processes = Processes(place)
        self.nodes = [Node(place, self.processes, number) for number in place.numbers]
        self.controller = Controller(place, self.processes, self.nodes)
        self.api = Api()

    def wait_for_computes(self) -> None:
        """Until Nova takes every node for one that it can use."""
        names = {node.name for node in self.nodes}
        self.processes.wait("nova-compute on all nodes", lambda: self.api.hosts_up() >= names,
                            of=[f"{name}-nova" for name in names])  # fmt: skip

    def wait_for_agents(self) -> None:
        """Until Neutron has heard of the host agent of every node."""
        names = {node.name for node in self.nodes}
        self.processes.wait("the host agents of all nodes", lambda: self.api.agents().keys() >= names,
                            of=[f"{name}-agent" for name in names])  # fmt: skip


def up(root: Path, choices: Choices, say: Say) -> Cloud:
    """Bring one up at ``root``. Raises CloudError, with nothing left running, when it does not come up."""
    if load(root) is not None:
        raise CloudError(f"there is a cloud at {root} already: ./dev cloud down ends it")
    _check_readable(root)
    place = Place(root, choices)
    if root.exists():  # of an earlier one: logs, disks, databases
        for entry in root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    root.mkdir(parents=True, exist_ok=True)
    cloud = Cloud(place)
    place.save()
    try:
        _bring_up(cloud, say)
    except BaseException:
        say("It does not come up; ending what runs")
        down(root, keep=True)
        raise
    return cloud


def attach(root: Path) -> Cloud:
    """The cloud that is up at ``root``; this process is in its controller's network from now on."""
    place = load(root)
    if place is None:
        raise CloudError(f"there is no cloud at {root}: ./dev cloud up brings one up")
    network.enter(place)
    return Cloud(place)


def down(root: Path, *, keep: bool = False) -> None:
    """End all that it started, and take its namespaces away. ``keep``: logs and disks stay until the next one."""
    place = load(root)
    if place is None:
        return
    cloud = Cloud(place)
    names = cloud.processes.names()
    cloud.processes.stop(*(name for name in names if name.endswith(("-nova", "-agent"))), patience=5)
    for node in cloud.nodes:
        for guest in node.guests() if f"{node.name}-holder" in names else []:
            node.run("virsh", "-c", "qemu:///system", "destroy", guest, check=False)
    holders = [name for name in names if name.endswith("-holder")]
    cloud.processes.stop(*(name for name in cloud.processes.names() if name not in holders))
    cloud.processes.stop(*holders, patience=0.2)
    for number in range(place.choices.nodes + 1):
        _end_rest(place, number)
    network.remove(place)
    (root / "choices.json").unlink()
    if not keep:
        shutil.rmtree(root)


def _bring_up(cloud: Cloud, say: Say) -> None:
    place = cloud.place
    image = guest_image.made()
    _install_vifplug(place)
    network.make(place)
    network.enter(place)  # from here on there is no way to the world outside
    cloud.controller.configure()
    cloud.controller.start_stores()
    addresses = {node.name: node.address for node in cloud.nodes}
    for node in cloud.nodes:
        node.make(addresses)
        node.configure()
        node.start()
    cloud.controller.make_databases()
    say("databases")
    cloud.controller.start_services()
    for node in cloud.nodes:
        node.ready()
    cloud.controller.ready()
    say("services")
    for node in cloud.nodes:
        node.start_compute()
        if place.choices.way == "agent":
            node.start_agent()
    cloud.api.prepare(image / "vmlinuz", image / "initrd")
    cloud.wait_for_computes()
    if place.choices.way == "agent":
        cloud.wait_for_agents()
    say(f"{len(cloud.nodes)} nodes")


def _install_vifplug(place: Place) -> None:
    """As pip does, but into a directory of its own: what has that on its path has vifplug."""
    python = place.venv / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-build-isolation", "--target", place.vifplug, CHECKOUT]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    shutil.rmtree(CHECKOUT / "build", ignore_errors=True)  # setuptools', which would find old files there
    if done.returncode:
        raise CloudError(f"pip could not install vifplug: {done.stderr[-1500:]}")
    import msgspec

    # the one library that vifplug needs and OpenStack has not
    shutil.copytree(Path(msgspec.__file__).parent, place.vifplug / "msgspec", dirs_exist_ok=True)


def _check_readable(root: Path) -> None:
    for path in (CHECKOUT, *CHECKOUT.parents):
        if not path.stat().st_mode & 0o005 == 0o005:
            raise CloudError(
                f"{path} is closed to other users, and PostgreSQL and nova-compute are such: "
                "clone the project to another place, /srv say"
            )
    if len(str(root)) > 60:
        raise CloudError(f"{root} is too long a path for the sockets in it: name another in VIFPLUG_CLOUD")


def _end_rest(place: Place, number: int) -> None:
    """Processes that daemons of ours have left in a namespace of ours, if any: dnsmasq, a guest that was lost."""
    deadline = time.monotonic() + 10
    while (
        left := [pid for pid in network.pids(place, number) if pid != os.getpid()]
    ) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
