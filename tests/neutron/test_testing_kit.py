"""vifplug.neutron.testing, and what vifplug new-mechanism makes with it: a vendor's driver in a real Neutron."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vifplug.errors import VifplugError
from vifplug.model import read_binding
from vifplug.neutron.testing import ApiError, Neutron, missing
from vifplug.scaffold import new_mechanism

DRIVER = """
from vifplug.neutron import Refused, VifplugMechanismDriver

class Mine(VifplugMechanismDriver):
    plug_script = "mine"
    network_types = ("vlan", "gre")
    vnic_types = ("normal", "direct")

    def details(self, context, segment):
        if segment["segmentation_id"] == 199:
            raise Refused("199 is for others")
        return {"tag": segment["segmentation_id"]}
"""
SCRIPT = """#!/bin/sh
echo '{"version": "3", "details_schema": {"properties": {"tag": {"maximum": 150}}}}'
"""


def a_project(folder: Path, driver: str = DRIVER) -> Path:
    (folder / "mine.py").write_text(driver)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\n[project.entry-points."neutron.ml2.mechanism_drivers"]\nmine = "mine:Mine"\n'
    )
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neutron]:
    folder = tmp_path_factory.mktemp("mine")
    script = folder / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    with Neutron(a_project(folder), physical_networks=["left", "right"]) as neutron:
        neutron.host("reports", {"mine": script}, physical_networks=["left"])
        yield neutron


def test_nothing_is_missing_here() -> None:
    assert missing() is None


def test_a_port_is_bound_by_the_projects_driver_which_is_not_installed(mine: Neutron) -> None:
    network = mine.network("vlan", segmentation_id=104, mtu=1400)
    port = mine.port(network, "anywhere")
    assert network["provider:physical_network"] == "left"
    assert (port.vif_type, port.status, port.host, port.why) == ("ethernet", "ACTIVE", "anywhere", None)
    assert port.details["tag"] == 104
    assert read_binding(mine.read(port).rest).plug_script == "mine"
    assert f'<target dev="tap{port.id[:11]}" managed="no" />' in port.xml


def test_each_type_of_network_can_be_made(mine: Neutron) -> None:
    for network_type in ("local", "flat", "vlan", "vxlan", "gre", "geneve"):
        network = mine.network(network_type, physical_network="any" if network_type == "flat" else None)
        assert network["provider:network_type"] == network_type
        bound = mine.port(network, "anywhere").vif_type
        assert bound == ("ethernet" if network_type in ("vlan", "gre") else "binding_failed")
    assert mine.network()["provider:network_type"] == "vlan"
    assert mine.network(physical_network="right")["provider:physical_network"] == "right"


def test_a_refusal_has_its_reason(mine: Neutron) -> None:
    port = mine.port(mine.network(segmentation_id=199), "anywhere")
    assert (port.vif_type, port.status, port.why) == ("binding_failed", "DOWN", "199 is for others")
    assert f"Port {port.id} is not bound on host anywhere: 199 is for others" in mine.log


def test_what_a_host_tells_is_what_its_scripts_say_of_themselves(mine: Neutron) -> None:
    assert mine.port(mine.network(segmentation_id=150), "reports").vif_type == "ethernet"
    refused = mine.port(mine.network(segmentation_id=151), "reports")
    assert refused.why is not None
    assert "does not take vif_details.tag: 151 is greater than the maximum of 150" in refused.why
    elsewhere = mine.port(mine.network(physical_network="right"), "reports")
    assert elsewhere.why is not None
    assert 'does not reach physical network "right"; it reports left' in elsewhere.why


def test_a_script_without_info_is_told_of_too(mine: Neutron, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 64\n")
    script.chmod(0o755)
    mine.host("plain", {"mine": script})
    assert mine.port(mine.network(), "plain").vif_type == "ethernet"


def test_ports_change_move_and_go(mine: Neutron) -> None:
    port = mine.port(mine.network(), "here", vnic_type="direct")
    assert mine.update(port, name="web").rest["name"] == "web"
    there = mine.bind(port, "there")
    assert (there.host, there.details["tag"]) == ("there", port.details["tag"])
    assert (mine.read(port).host, mine.activate(port, "there").host) == ("here", "there")
    mine.unbind(port, "here")
    mine.delete(port)
    with pytest.raises(
        ApiError, match=f"GET /v2.0/ports/{port.id}: Neutron answers 404: Port .* could not be"
    ) as e:
        mine.read(port)
    assert e.value.status == 404


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        (DRIVER.replace("class Mine", "class Other"), "Mine"),
        (DRIVER.replace('plug_script = "mine"', 'vif_type = "tap"'), "'tap' is not a valid VifType"),
    ],
)
def test_a_driver_that_cannot_be_loaded_is_said_with_neutrons_own_words(
    tmp_path: Path, driver: str, said: str
) -> None:
    with (
        pytest.raises(VifplugError, match="Neutron does not start with mechanism driver mine") as raised,
        Neutron(a_project(tmp_path, driver)),
    ):
        pass
    assert said in raised.value.message


def test_nothing_is_left_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Neutron(drivers=["iovisor"]) as neutron:
        assert neutron._server._process is not None
        process = neutron._server._process.pid
        port = neutron.read(neutron.port(neutron.network(), "anywhere"))
        assert port.details["bound_drivers"] == {"0": "iovisor"}
        (folder,) = tmp_path.iterdir()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


# --- what new-mechanism makes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "blue-fabric"
    new_mechanism("blue-fabric", folder)
    return folder


@pytest.mark.parametrize("shell", [False, True], ids=["Python", "sh"])
def test_a_new_mechanisms_driver_passes_its_own_tests_as_made(tmp_path: Path, shell: bool) -> None:
    new_mechanism("blue-fabric", tmp_path / "made", shell=shell)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_blue_fabric_neutron.py"],
        cwd=tmp_path / "made",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("6 passed")  # and none is skipped


def test_its_tests_break_when_script_and_driver_part(made: Path) -> None:
    driver = made / "src" / "vifplug_blue_fabric.py"
    whole = driver.read_text()
    driver.write_text(whole.replace('{"bridge": bridge}', '{"brdige": bridge}'))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "script_takes"],
            cwd=made,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        driver.write_text(whole)
    assert done.returncode == 1
    assert "does not take vif_details: 'bridge' is a required property" in done.stdout


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vifplug.neutron.testing", *words], capture_output=True, text=True, check=False
    )


def test_the_command_prints_a_port_as_the_host_takes_it(made: Path) -> None:
    done = command(made, "--type", "flat", "--physical-network", "physnet7", "--subnet", "10.7.0.0/24")
    assert done.returncode == 0, done.stderr
    vif = read_binding(json.loads(done.stdout))
    assert (vif.type, vif.plug_script, vif.details["bridge"]) == ("ethernet", "blue-fabric", "br-physnet7")


def test_the_command_says_why_a_port_is_not_bound(made: Path) -> None:
    done = command(made, "--type", "flat", "--physical-network", "far-too-long-a-name", "--host", "h")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "the port is not bound on host h: a bridge cannot be called br-far-too-long"
    )
    done = command(made)
    assert (
        done.stderr
        == "the port is not bound on host compute-1: no driver of the project is for such a port\n"
    )
    done = command(made, "--type", "token-ring")
    assert done.returncode == 1
    assert (
        done.stderr.startswith("POST /v2.0/networks: Neutron answers 400: ") and done.stderr.count("\n") == 1
    )
