"""The patch that makes the conversion Nova's own (packaging/nova-patch), applied to the Nova that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nova as installed
from nova_side import ID, TAP
from served import Served
from vifplug.nova.releases import version
from world import World, links

ROOT = Path(__file__).parents[2]
(PATCH,) = (ROOT / "packaging" / "nova-patch").glob("*.patch")
if not version().startswith("34."):
    pytest.skip("the patch is for Nova 34", allow_module_level=True)

_PLUG = """
import sys
import nova_side, os_vif
from nova.network import model
assert model.VIF_TYPE_ETHERNET
nova_side.start()
nova_side.CONF.set_override("socket", sys.argv[1], "os_vif_vifplug")
nova_side.CONF.set_override("patience", 0.0, "os_vif_vifplug")
nova_side.CONF.set_override("virt_type", "kvm", "libvirt")
os_vif.initialize(reset=True)
vif = nova_side.a_vif(details={"tag": 5, "mtu": 1450, "bandwidth": {"inbound": {"average": 9}}})
instance = nova_side.an_instance(3, hw_vif_multiqueue_enabled="true")
found = nova_side.config(vif, instance)
assert type(found).__name__ == "LibvirtConfigGuestInterface", type(found)  # Nova's own
print(found.to_xml())
for verb in sys.argv[2:]:
    if verb == "migrating":
        instance.host, instance.task_state = "elsewhere", "migrating"
        continue
    try:
        getattr(nova_side.driver(), verb)(instance, vif)
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patched")
    (home,) = installed.__path__
    shutil.copytree(home, folder / "nova", ignore=shutil.ignore_patterns("__pycache__", "locale"))
    done = subprocess.run(
        ["patch", "-p1", "--fuzz=0", "-i", str(PATCH)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "offset" not in done.stdout, done.stdout + done.stderr
    return folder


def run(patched: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(patched), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=patched,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
def test_nova_s_unit_tests_with_those_of_the_patch_pass(patched: Path) -> None:
    tests = ("nova.tests.unit.virt.libvirt.test_vif", "nova.tests.unit.network.test_os_vif_util")
    done = run(patched, "-m", "unittest", *tests)
    assert done.returncode == 0, done.stderr[-4000:]
    own = run(patched, "-m", "unittest", "-v", "-k", "plug_script", "-k", "vif_ethernet", *tests)
    assert own.stderr.count(" ... ok") == 8, own.stderr


def test_its_lines_are_as_nova_s_style_checker_wants_them() -> None:
    added = [
        line[1:] for line in PATCH.read_text().splitlines() if line.startswith("+") and line[:3] != "+++"
    ]
    assert [line for line in added if len(line) > 79 or line != line.rstrip()] == []


@pytest.mark.real_root
def test_nova_itself_converts_and_vifplugd_plugs(patched: Path, world: World) -> None:
    with Served.of(world) as served:
        done = run(patched, "-c", _PLUG, served.socket, "plug", "plug")
        assert done.returncode == 0, done.stderr
        assert 'managed="no"' in done.stdout and 'queues="3"' in done.stdout
        assert list(links()) == [TAP] and world.asked() == ["plug"]
        request = world.requests()[0]
        assert (request["vif"]["queues"], request["vif"]["mtu"]) == (3, 1450)
        assert request["vif"]["details"]["tag"] == 5
        assert request["vif"]["bandwidth"]["inbound"]["average"] == 9
        assert request["instance"]["name"] == "instance-00000011"
        assert request["network"]["label"] == "blue"
        assert request["network"]["subnets"][0]["gateway"] == "10.0.0.1"
        done = run(patched, "-c", _PLUG, served.socket, "unplug")
        assert links() == {} and world.asked() == ["plug", "unplug"], done.stderr


@pytest.mark.real_root
def test_a_migration_s_destination_is_known_as_such(patched: Path, world: World) -> None:
    with Served.of(world) as served:
        done = run(patched, "-c", _PLUG, served.socket, "migrating", "plug")
        assert done.returncode == 0, done.stderr
        assert world.requests()[0]["migration"] == {"role": "destination", "phase": "prepare"}


@pytest.mark.real_root
def test_a_vif_of_the_unpatched_nova_is_not_disturbed_by_the_change(patched: Path, world: World) -> None:
    plain = "\n".join(line for line in _PLUG.splitlines() if not line.startswith("assert"))
    with Served.of(world) as served:
        done = run(Path("/"), "-c", plain, served.socket, "plug")
        assert done.returncode == 0 and world.asked() == ["plug"], done.stderr
        before = links()[TAP].index
        done = run(patched, "-c", _PLUG, served.socket, "plug")
        assert done.returncode == 0 and "Exception" not in done.stdout, done.stderr
        assert links()[TAP].index == before and world.asked() == ["plug"]


@pytest.mark.real_root
def test_errors_are_told_as_without_the_patch(patched: Path, world: World) -> None:
    world.on("plug", status=1)
    with Served.of(world) as served:
        done = run(patched, "-c", _PLUG, served.socket, "plug")
        assert f"VirtualInterfacePlugException VIF {ID} cannot be plugged: " in done.stdout
        served.stop()
        done = run(patched, "-c", _PLUG, served.socket, "plug", "unplug")
        assert f"InternalError VIF {ID} cannot be plugged: " in done.stdout
        assert "VirtualInterfaceUnplugException" in done.stdout
