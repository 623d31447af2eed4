"""vifplugd as the Debian package starts it: by a real systemd, inside all the bounds of its unit."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from booted import Booted
from vifplug.client import Client
from vifplug.errors import VifplugError
from world import ID, TAP, binding

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "vifplugd.service"
SOCKET = "/run/vifplug/vifplugd.sock"
#: shorter than what an operator waits
QUICKLY = "[Service]\nRestartSec=0.1\n"
SETTINGS = "[deadlines]\ngrace = 0.2\n"

#: as they were in 2015: no JSON, values from the environment, ip and iptables and sysctl
OF_2015 = """#!/bin/sh -e
case $1 in
plug)
    ip link show br15 >/dev/null 2>&1 || ip link add name br15 type bridge
    ip link set br15 up
    ip link set "$VIF_DEVNAME" master br15
    sysctl -q -w "net/ipv6/conf/$VIF_DEVNAME/disable_ipv6=1"
    iptables-legacy -w -N "o$VIF_DEVNAME" 2>/dev/null || test -w /run/xtables.lock
    mkdir -p /run/vifplug/dhcp
    setsid sleep 1000 </dev/null >/dev/null 2>&1 &
    echo $! >"/run/vifplug/dhcp/$VIF_ID"
    mkdir -p "/sys/fs/cgroup/system.slice/vifplugd.service/$VIF_ID"
    echo $! >"/sys/fs/cgroup/system.slice/vifplugd.service/$VIF_ID/cgroup.procs"
    ;;
unplug)
    ! kill "$(cat "/run/vifplug/dhcp/$VIF_ID")" 2>/dev/null || rm "/run/vifplug/dhcp/$VIF_ID"
    ip link del br15 2>/dev/null || true
    ;;
*) exit 64 ;;
esac
"""

#: hangs, with a process that left its group, its session, its parent and its environment
HUNG = """#!/bin/sh
[ "$1" = plug ] || exit 0
setsid env -i sh -c 'trap "" TERM; exec >&- 2>&-; sleep 1001; sleep 1001' &
sleep 1001
"""

#: opens what a DHCP probe or an announcement of an address needs
PACKETS = """#!/usr/bin/python3 -I
import socket, sys
if sys.argv[1] != "plug":
    sys.exit(0 if sys.argv[1] == "unplug" else 64)
socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
"""

#: tries what no plug script needs, and says what it was answered
CURIOUS = """#!/usr/bin/python3 -I
import ctypes, errno, glob, json, mmap, os, socket, sys
if sys.argv[1] != "plug":
    sys.exit(0 if sys.argv[1] == "unplug" else 64)
libc = ctypes.CDLL(None, use_errno=True)
said = {}
def attempt(name, call, *arguments):
    try:
        answer = call(*arguments)
        said[name] = errno.errorcode[ctypes.get_errno()] if answer == -1 else "done"
    except OSError as error:
        said[name] = errno.errorcode[error.errno]
for path in ("/etc/vifplug/mine", "/usr/bin/mine", "/var/lib/mine", "/run/mine", "/root/mine"):
    attempt(path, open, path, "w")
attempt("another's /tmp", open, "/tmp/of-another")
attempt("/root", os.listdir, "/root")
for device in ("kvm", "fuse", "mem", "loop-control"):
    if os.path.exists(f"/dev/{device}"):
        attempt("a device", os.open, f"/dev/{device}", os.O_RDWR)
attempt("a kernel setting", open, "/proc/irq/default_smp_affinity", "w")
attempt("a kernel message", open, "/dev/kmsg", "w")
attempt("a namespace", libc.unshare, 0x10000000)  # CLONE_NEWUSER
attempt("a trace", libc.ptrace, 0, 0, 0, 0)  # PTRACE_TRACEME
attempt("a personality", libc.personality, 0x0040000)  # ADDR_NO_RANDOMIZE
attempt("code in data", mmap.mmap, -1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_WRITE | mmap.PROT_EXEC)
attempt("another family", socket.socket, socket.AF_VSOCK, socket.SOCK_STREAM)
open("/run/vifplug/mine", "w").close()
attempt("a setuid file", os.chmod, "/run/vifplug/mine", 0o4755)
os.unlink("/run/vifplug/mine")
open("/tmp/mine", "w").close()
print(json.dumps(said), file=sys.stderr)
"""
REFUSED = {
    **dict.fromkeys(("/etc/vifplug/mine", "/usr/bin/mine", "/var/lib/mine", "/run/mine"), "EROFS"),
    "/root/mine": "EACCES",
    "/root": "EACCES",
    "another's /tmp": "ENOENT",
    "a kernel setting": "EROFS",
    "a kernel message": "EACCES",
    "another family": "EAFNOSUPPORT",
    **dict.fromkeys(("a device", "a namespace", "a trace", "a personality"), "EPERM"),
    **dict.fromkeys(("code in data", "a setuid file"), "EPERM"),
}


class Service:
    """vifplugd on a booted system, and an operator who changes it."""

    def __init__(self, system: Booted) -> None:
        self.system = system
        self._changed = False

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(str(self.system.outside(SOCKET)), timeout=30) as client:
            yield client

    @property
    def pid(self) -> str:
        return self.system.run("systemctl", "show", "-P", "MainPID", "vifplugd").stdout.strip()

    def dropped_in(self, *lines: str) -> None:
        """Run with these settings beside the unit's own."""
        self._changed = True
        text = QUICKLY + "".join(f"{line}\n" for line in lines)
        self.system.write("/etc/systemd/system/vifplugd.service.d/test.conf", text)
        self.system.run("systemctl", "daemon-reload")
        self.system.run("systemctl", "restart", "vifplugd")

    def configured(self, text: str) -> None:
        """What the daemon reads at its next start, beside the tests' own."""
        self._changed = True
        self.system.write("/etc/vifplug/vifplug.toml", SETTINGS + text)

    def as_installed(self) -> None:
        """Run with the unit's own settings again."""
        if self._changed:
            self.configured("")
            self.dropped_in()
            self._changed = False

    def script(self, name: str, text: str) -> str:
        self.system.write(f"/etc/vifplug/scripts.d/{name}", text, "755")
        return name

    def links(self) -> list[str]:
        told = json.loads(self.system.run("ip", "-j", "link").stdout)
        return sorted(link["ifname"] for link in told if link["ifname"] != "lo")

    def running(self, *arguments: str) -> list[str]:
        """The processes with these arguments."""
        return self.system.run("pgrep", "-xf", " ".join(arguments), check=False).stdout.split()


@pytest.fixture(scope="module")
def installed(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Booted(tmp_path_factory.mktemp("booted")) as system:
        system.write("/etc/systemd/system/vifplugd.service.d/test.conf", QUICKLY)
        system.write("/etc/vifplug/vifplug.toml", SETTINGS)
        system.install(*packages)
        yield Service(system)


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """It runs with its unit's own settings; what a test left is taken away."""
    yield installed
    installed.as_installed()
    with installed.client() as host:
        assert not [answer for answer in host.unplug_all() if isinstance(answer, VifplugError)]
    assert installed.links() == []


def eventually(what: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.02)


# --- it works ------------------------------------------------------------------------------


def test_it_runs_and_answers_once_installed(service: Service) -> None:
    states = service.system.run("systemctl", "is-active", "vifplugd.service", "vifplugd.socket")
    assert states.stdout.split() == ["active", "active"]
    with service.client() as host:
        assert host.health().status == "ok"


def test_an_ordinary_user_plugs_as_a_member_of_the_group_and_not_otherwise(service: Service) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534")
    plug = ("vifplug", "plug", "-")
    stranger = service.system.run(
        *nobody, "--clear-groups", *plug, stdin=json.dumps(binding(script=None)), check=False
    )
    assert "join the group vifplug" in stranger.stderr
    assert service.links() == []

    member = (*nobody, "--groups=vifplug")
    told = service.system.run(*member, *plug, stdin=json.dumps(binding(script=None)))
    assert f'<target dev="{TAP}" managed="no" />' in told.stdout
    service.system.run(*member, "vifplug", "unplug", ID)


@pytest.mark.parametrize(
    ("script", "details"),
    [("linux-bridge", {"bridge": "br0", "create_bridge": True}), ("routed", {})],
)
def test_scripts_of_the_catalogue_do_their_work_within_its_bounds(
    service: Service, script: str, details: dict[str, Any]
) -> None:
    subnet = {"cidr": "192.0.2.0/24", "gateway": "192.0.2.1", "addresses": ["192.0.2.5"]}
    with service.client() as host:
        host.plug(binding(script=script, vif_details=details, network={"subnets": [subnet]}))
        assert TAP in service.links()
        assert host.check(ID).ok
        host.unplug(ID)
    assert service.links() == []


def test_open_vswitch_is_reached(service: Service) -> None:
    run = "/run/openvswitch"
    quiet = ("-vconsole:off", "-vsyslog:off", "--no-chdir", "--detach")
    service.system.run("mkdir", run)
    service.system.run("ovsdb-tool", "create", f"{run}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
    service.system.run(
        *("ovsdb-server", f"{run}/conf.db", f"--remote=punix:{run}/db.sock", f"--unixctl={run}/db.ctl"),
        *(f"--pidfile={run}/ovsdb.pid", *quiet),
    )
    service.system.run(
        *("ovs-vswitchd", f"unix:{run}/db.sock", "--disable-system", f"--pidfile={run}/ovs-vswitchd.pid"),
        *quiet,
    )
    service.system.run(
        "ovs-vsctl", "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev"
    )

    with service.client() as host:
        host.plug(binding(script="openvswitch", vif_details={"bridge": "br-int"}))
        assert host.check(ID).ok
        assert service.system.run("ovs-vsctl", "list-ports", "br-int").stdout.split() == [TAP]
        host.unplug(ID)

    assert service.system.run("ovs-vsctl", "list-ports", "br-int").stdout == ""
    service.system.run("ovs-vsctl", "del-br", "br-int")
    service.system.run("sh", "-c", f"kill $(cat {run}/*.pid)")
    eventually(lambda: service.links() == [])


def test_a_hung_script_is_ended_with_all_that_it_started(service: Service) -> None:
    service.script("hung", HUNG)
    with service.client() as host, pytest.raises(VifplugError) as refused:
        host.plug(binding(script="hung"), seconds=0.5)

    assert refused.value.code == "timed_out"
    assert service.running("sleep", "1001") == []
    assert service.links() == []


def test_a_script_finds_closed_what_it_has_no_business_with(service: Service) -> None:
    service.script("curious", CURIOUS)
    service.system.write("/tmp/of-another", "a secret")
    with service.client() as host:
        host.plug(binding(script="curious"))
        (call,) = (call for call in host.calls(ID) if (call.script, call.verb) == ("curious", "plug"))

    assert json.loads(call.stderr) == REFUSED
    assert service.system.run("ls", "/tmp/mine", check=False).returncode != 0, "its /tmp is its own"


# --- it comes and goes ---------------------------------------------------------------------


def test_what_a_script_left_for_its_vif_outlives_a_restart(service: Service) -> None:
    """A DHCP server, say; and what is plugged stays plugged."""
    service.script("of-2015", OF_2015)
    with service.client() as host:
        host.plug(binding(script="of-2015"))
    (server,) = service.running("sleep", "1000")
    before = service.pid

    service.system.run("systemctl", "restart", "vifplugd")

    assert service.pid != before
    assert service.running("sleep", "1000") == [server]
    assert service.system.run("sh", "-c", f"cat /proc/{server}/cgroup").stdout.strip().endswith(f"/{ID}")
    assert service.links() == ["br15", TAP]
    with service.client() as host:
        assert [record.id for record in host.list("plugged")] == [ID]
        host.unplug(ID)
    assert service.running("sleep", "1000") == []


def test_callers_wait_while_it_is_restarted_and_none_is_refused(service: Service) -> None:
    """Each connects anew, and asks once: the client would ask again by itself."""
    answers: list[str] = []
    enough = threading.Event()
    path = str(service.system.outside(SOCKET))

    def ask() -> None:
        while not enough.is_set():
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(30)
                caller.connect(path)
                caller.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answers.append(caller.recv(len("HTTP/1.1 200")).decode())

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(3):
            before = service.pid
            began = time.monotonic()
            service.system.run("systemctl", "restart", "vifplugd")
            assert service.pid != before
            assert time.monotonic() - began < 15, "it did not hear that it should stop"
            seen = len(answers)
            eventually(lambda: len(answers) > seen + 3)  # noqa: B023
    finally:
        enough.set()
        for caller in callers:
            caller.join()

    assert set(answers) == {"HTTP/1.1 200"}


def test_a_drain_gets_the_time_that_it_needs(service: Service) -> None:
    """Whatever the unit says, which does not know daemon.drain; and no watchdog takes it for hanging."""
    service.dropped_in("WatchdogSec=1", "TimeoutStopSec=1")
    service.script("slow", "#!/bin/sh\n[ $1 = plug ] && echo begun >/run/vifplug/begun && sleep 3\nexit 0\n")
    plugged = []

    def plug() -> None:
        with service.client() as host:
            plugged.append(host.plug(binding(script="slow")))

    caller = threading.Thread(target=plug)
    caller.start()
    eventually(service.system.outside("/run/vifplug/begun").exists)
    before = service.pid
    service.system.run("systemctl", "restart", "vifplugd")
    caller.join()

    assert service.pid != before
    assert [answer.id for answer in plugged] == [ID]


def test_killed_in_the_middle_of_a_plug_it_comes_back_and_undoes_it(service: Service) -> None:
    service.script("hung", HUNG)

    def plug() -> None:
        with service.client() as host, pytest.raises(VifplugError):
            host.plug(binding(script="hung"))

    caller = threading.Thread(target=plug)
    caller.start()
    eventually(lambda: len(service.running("sleep", "1001")) == 2)
    before = service.pid

    service.system.run("kill", "-9", before)
    caller.join()

    eventually(lambda: service.pid not in (before, "0"))
    with service.client() as host:
        eventually(lambda: host.list() == [])
    assert service.running("sleep", "1001") == []
    assert service.links() == []


def test_the_watchdog_ends_a_daemon_that_hangs_and_no_other(service: Service) -> None:
    service.dropped_in("WatchdogSec=1")
    service.script("slow", "#!/bin/sh\n[ $1 = plug ] && sleep 1.5\nexit 0\n")
    before = service.pid
    with service.client() as host:
        host.plug(binding(script="slow"))
    assert service.pid == before

    service.system.run("kill", "-STOP", before)

    eventually(lambda: service.pid not in (before, "0"))
    with service.client() as host:
        assert host.check(ID).ok


def test_a_wrong_configuration_is_said_and_not_tried_for_ever(service: Service) -> None:
    service.configured('[daemon]\ninterval = "often"\n')
    service.system.run("systemctl", "restart", "vifplugd", check=False)

    show = service.system.run("systemctl", "show", "-P", "ActiveState,SubState,ExecMainStatus", "vifplugd")
    assert service.system.run("systemctl", "is-failed", "vifplugd").stdout == "failed\n"
    assert "78" in show.stdout.split()
    service.system.run("journalctl", "--sync")
    assert "daemon.interval" in service.system.run("journalctl", "--unit=vifplugd", "--no-pager").stdout


# --- its capabilities ----------------------------------------------------------------------


def _no_device(service: Service) -> None:
    with service.client() as host:
        host.plug(binding(script=None))
        host.unplug(ID)


def _no_packets(service: Service) -> None:
    service.script("packets", PACKETS)
    with service.client() as host:
        host.plug(binding(script="packets"))
        host.unplug(ID)


def _nothing_confined(service: Service) -> None:
    service.script("does-nothing", "#!/bin/sh\n")
    with service.client() as host:
        host.plug(binding(script="does-nothing"))
        host.unplug(ID)


def _no_mark(service: Service) -> None:
    service.script("hung", HUNG)
    with service.client() as host, pytest.raises(VifplugError, match="was ended"):
        host.plug(binding(script="hung"), seconds=0.5)
    left = service.running("sleep", "1001")
    if left:
        service.system.run("kill", "-9", *left)
    assert left == []


#: what works with each capability, and not without it
NEEDED: dict[str, Callable[[Service], None]] = {
    "CAP_NET_ADMIN": _no_device,
    "CAP_NET_RAW": _no_packets,
    "CAP_SETGID": _no_mark,
    "CAP_SETPCAP": _nothing_confined,
}


@pytest.mark.parametrize("capability", NEEDED)
def test_each_capability_of_the_unit_is_needed(service: Service, capability: str) -> None:
    NEEDED[capability](service)

    service.dropped_in(f"CapabilityBoundingSet=~{capability}")

    with pytest.raises((VifplugError, AssertionError)):
        NEEDED[capability](service)


def test_the_unit_has_no_other_capability() -> None:
    (line,) = [line for line in UNIT.read_text().splitlines() if line.startswith("CapabilityBoundingSet=")]

    assert line.removeprefix("CapabilityBoundingSet=").split() == list(NEEDED)


def test_an_operator_grants_a_script_more_by_a_drop_in(service: Service) -> None:
    """As docs/daemon.md says: a capability for one script, and a place to write."""
    service.script(
        "more", "#!/bin/sh -e\n[ $1 = plug ] || exit 0\ngrep CapBnd /proc/self/status >/var/log/mine\n"
    )
    service.configured('[script.more]\ncapabilities = ["CAP_SYS_ADMIN"]\n')

    service.dropped_in("CapabilityBoundingSet=CAP_SYS_ADMIN", "ReadWritePaths=/var/log")
    with service.client() as host:
        host.plug(binding(script="more"))

    granted = int(service.system.run("cat", "/var/log/mine").stdout.split()[1], 16)
    assert granted == 1 << 12 | 1 << 13 | 1 << 21  # NET_ADMIN, NET_RAW, SYS_ADMIN


# --- the package ---------------------------------------------------------------------------


def test_packages_come_and_go_and_vifs_stay(packages: list[Path], tmp_path: Path) -> None:
    with Booted(tmp_path) as system:
        system.install(*packages)
        service = Service(system)
        with service.client() as host:
            host.plug(binding(script=None))
        first = service.pid

        system.install(*packages)  # an upgrade
        assert service.pid not in (first, "0")
        with service.client() as host:
            assert host.check(ID).ok

        system.run("systemctl", "disable", "vifplugd.socket", "vifplugd.service")
        system.run("dpkg", "--remove", "vifplug")
        assert system.run("pgrep", "-f", "/usr/bin/vifplugd", check=False).stdout == ""
        assert not system.outside(SOCKET).exists()
        assert service.links() == [TAP]

        system.install(*packages)
        states = system.run("systemctl", "is-enabled", "vifplugd.socket", "vifplugd.service", check=False)
        assert states.stdout.split() == ["disabled", "disabled"], "as the operator left them"
        assert not system.outside(SOCKET).exists()
        system.run("vifplug", "unplug", ID)
        assert service.links() == []
