"""Whatever is in the files and what programs say: findings, never a traceback."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doctored import Patient
from vifplug.config import Config
from vifplug.host import Host
from world import World, binding

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

_FILES = (
    "/proc/self/mountinfo", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/all/rp_filter",
    "/proc/sys/net/ipv4/conf/all/arp_ignore", "/proc/sys/net/ipv4/neigh/default/gc_thresh3", "/proc/sys/fs/file-max",
    "/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/kernel/random/boot_id", "/proc/net/ip_tables_names",
    "/proc/7/comm", "/proc/7/fdinfo/3", "/etc/group", "/etc/passwd",
    "/etc/NetworkManager/conf.d/a.conf", "/etc/NetworkManager/NetworkManager.conf",
    "/etc/systemd/network/a.network", "/etc/systemd/network/a.link", "/etc/udev/rules.d/a.rules",
    "/run/libvirt/libvirt-sock-ro", "/usr/lib64/libvirt.so.0.9000.0", "/dev/net/tun", "/state/ledger.db",
)  # fmt: skip

#: what such files have, put together wrongly
_PIECES = st.sampled_from(
    [
        *(
            "[Match]",
            "[Link]",
            "[keyfile]",
            "[device",
            "unmanaged-devices=",
            "Name=",
            "Name=!",
            "tap*",
            "[",
            "]",
            "=",
        ),
        *(
            'KERNEL=="tap*"',
            'NAME="x"',
            "\n",
            "\\\n",
            "iff:",
            "iff:\ttap",
            "vifplug:x:",
            "%",
            "é",
            "\0",
            "-1",
            "9" * 20,
        ),
        *("9" * 20, " - ", "/", "\\040", "\\x", "1 2 3:4 / / rw - ", "SQLite format 3\0"),
    ]
)
_GARBAGE = st.one_of(
    st.binary(max_size=200), st.lists(_PIECES, max_size=12).map(lambda parts: "".join(parts).encode())
)
_FAMILIES = (
    "vifplug",
    "state",
    "scripts",
    "vifs",
    "sysctl",
    "firewall",
    "managers",
    "guests",
    "openvswitch",
    "tun-node",
    "vdpa",
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(_FILES), _GARBAGE, max_size=len(_FILES)))
def test_garbage_in_any_file_gives_findings(root: Path, files: dict[str, bytes]) -> None:
    for child in root.iterdir():
        shutil.rmtree(child)
    patient = Patient(Config(state_dir="/state"), root)
    (root / "proc").mkdir()
    patient.running("NetworkManager", "systemd-networkd", "ovn-controller", "vifplugd")
    for name, content in files.items():
        patient.write(name, content)
    found = patient.look(*_FAMILIES)  # which refuses a check that was at a loss
    assert len(found.all) > 20


_DROPS = '{"chain": {"family": "ip", "table": "t", "name": "n", "hook": "forward", "policy": "drop"}}'
_RULES = (
    '{"rule": {"expr": [{"match": 5}, {"match": {"left": {"meta": 1}}}, {"jump": []}, {"accept": null}]}}'
)
_SAID = ["", "garbage", "[]", "{}", "null", '{"nftables": [{"chain": {}}]}', '[{"ifname": 5}]', "[" * 5000,
         f'{{"nftables": [{_DROPS}, {_RULES}]}}']  # fmt: skip


@pytest.mark.parametrize("said", _SAID)
@pytest.mark.parametrize("status", [0, 1])
def test_garbage_from_programs_gives_findings(elsewhere: Patient, said: str, status: int) -> None:
    for name in ("nft", "ip", "tc", "virsh", "qemu-kvm", "iptables-legacy", "ovs-vswitchd", "ovs-vsctl"):
        elsewhere.program(name, said, status)
    elsewhere.write("/run/libvirt/libvirt-sock-ro", "")
    elsewhere.write("/proc/net/ip_tables_names", "filter")
    assert elsewhere.look(*_FAMILIES, "devices").all


def test_a_program_that_is_none_gives_findings(elsewhere: Patient) -> None:
    elsewhere.write("/usr/bin/nft", b"\x7fELF no program", 0o755)
    assert "cannot be run" in elsewhere.look("forward-policy").unseen()[0]


@pytest.mark.parametrize(
    "column", ["vif", "script", "error", "state", "changed", "attempts", "boot_id", "mark"]
)
@pytest.mark.parametrize("value", ["'garbage'", "'{}'", "'[1]'", "x'00ff'", "''", "7"])
def test_garbage_on_record_gives_findings(world: World, column: str, value: str) -> None:
    with Host(world.config) as host:
        host.plug(binding())
    with closing(sqlite3.connect(Path(world.config.state_dir) / "ledger.db")) as connection:
        connection.execute(f"UPDATE vif SET {column} = {value}")  # noqa: S608  # the parameters above
        connection.commit()
    assert Patient(world.config).look("vifs", "ledger", "scripts", "sysctl").all


def test_directories_where_files_should_be_give_findings(elsewhere: Patient) -> None:
    for name in _FILES:
        path = elsewhere.root / name.lstrip("/")
        if not path.exists():
            os.makedirs(path)  # noqa: PTH103
    assert elsewhere.look(*_FAMILIES).all
