"""Open vSwitch of the benchmark's own: its database and its switch, in this network namespace, files in one folder."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .peer import SWITCH
from .place import NotPossible

_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


@contextmanager
def open_vswitch(folder: Path) -> Iterator[str]:
    """A switch with the bridge ``br-int`` in the userspace datapath; the address of its database.

    The folder is its OVS_RUNDIR. Raises NotPossible.
    """
    if not _SCHEMA.exists():
        raise NotPossible("Open vSwitch is not installed: apt-get install openvswitch-switch")
    folder.mkdir()
    environ = {**os.environ, "OVS_RUNDIR": str(folder)}
    database, remote = str(folder / "conf.db"), f"unix:{folder}/db.sock"

    def run(*command: str) -> None:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotPossible(f"{command[0]} failed: {done.stderr.strip()}")

    def end(name: str) -> None:
        pid = int((folder / f"{name}.pid").read_text())
        ended = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGTERM)
            select.select([ended], [], [], 30.0)
        finally:
            os.close(ended)

    run("ovsdb-tool", "create", database, str(_SCHEMA))
    with ExitStack() as running:
        for name, command in (
            ("ovsdb-server", ["ovsdb-server", database, f"--remote=punix:{folder}/db.sock"]),
            ("ovs-vswitchd", ["ovs-vswitchd", remote, "--disable-system"]),
        ):
            files = [f"--pidfile={folder}/{name}.pid", f"--unixctl={folder}/{name}.ctl"]
            run(*command, *files, "-vconsole:off", "-vsyslog:off", "--no-chdir", "--detach")
            running.callback(end, name)
        run(
            *("ovs-vsctl", f"--db={remote}", "-t", "30", "add-br", SWITCH),
            *("--", "set", "bridge", SWITCH, "datapath_type=netdev"),
        )
        yield remote
