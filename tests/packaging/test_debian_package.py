"""The Debian package, built and installed into a copy of this system, with nothing configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from debian import Debian, build
from vendor import INSTANCE, MAC, NETWORK, PROJECT
from world import ID, TAP, links

pytestmark = [pytest.mark.slow, pytest.mark.real_root]

ROOT = Path(__file__).parents[2]
#: what the mail of 2014 binds for two mechanisms, and what Nova ran for them
MAIL: dict[str, dict[str, Any]] = {
    "iovisor": {
        "binding": {"vif_type": "ethernet", "vif_plug_script": "/usr/bin/neutron-iovisor-vif-plug"},
        "command": "ifc_ctl",
        "plug": [
            f"ifc_ctl gateway add_port {TAP}",
            f"ifc_ctl gateway ifup {TAP} access_vm blue_{ID} {MAC} pgtag2={NETWORK} pgtag1={PROJECT}",
        ],
        "unplug": [
            f"ifc_ctl gateway ifdown {TAP} access_vm blue_{ID} {MAC}",
            f"ifc_ctl gateway del_port {TAP}",
        ],
    },
    "midonet": {
        "binding": {"vif_type": "ethernet", "vif_plug_script": "/usr/bin/neutron-midonet-vif-plug"},
        "command": "mm-ctl",
        "plug": [f"mm-ctl --bind-port {ID} {TAP}"],
        "unplug": [f"mm-ctl --unbind-port {ID}"],
    },
}


@pytest.fixture(scope="module")
def debian(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A system with vifplug installed."""
    with Debian(tmp_path_factory.mktemp("debian")) as system:
        system.install(*packages)
        yield system


def stand_in(debian: Debian, command: str) -> None:
    """A stand-in for a vendor's command, where an operator would have the command."""
    debian.write(f"/usr/local/bin/{command}", f'#!/bin/sh\necho "{command} $*" >>/tmp/calls\n', "755")


def calls(debian: Debian) -> list[str]:
    return debian.run("sh", "-c", "cat /tmp/calls; rm /tmp/calls").stdout.splitlines()


def test_what_doctor_imports_and_conform_copies_is_there(debian: Debian) -> None:
    """It lies below /usr/lib/vifplug, where scripts find it, and Python finds it too."""
    debian.run("/usr/bin/python3", "-Ic", "import vifplug.doctor.switch, vifplug.scriptlib.ovn")


@pytest.mark.parametrize("mechanism", MAIL)
def test_the_mails_bindings_work_word_for_word(debian: Debian, netns: None, mechanism: str) -> None:
    """vif_plug_script stands beside vif_type in the mail; Neutron carries it in vif_details."""
    said = MAIL[mechanism]
    stand_in(debian, said["command"])
    mail = dict(said["binding"])
    binding = {
        "id": ID,
        "vif_type": mail.pop("vif_type"),
        "vif_details": mail,
        "address": MAC,
        "network": {"id": NETWORK, "label": "blue"},
        "instance": {"id": INSTANCE, "project_id": PROJECT},
    }

    plugged = debian.run("vifplug", "plug", "-", stdin=json.dumps(binding))
    assert f'<target dev="{TAP}" managed="no" />' in plugged.stdout
    assert calls(debian) == said["plug"]
    assert set(links()) == {TAP}

    debian.run("vifplug", "unplug", ID)
    assert calls(debian) == said["unplug"]
    assert links() == {}


def test_every_script_of_the_catalogue_may_run_and_tells_what_it_is(debian: Debian) -> None:
    """So each is trusted where it is installed, and finds the library that it shares with others."""
    scripts = json.loads(debian.run("vifplug", "scripts", "--json").stdout)

    assert [script["reason"] for script in scripts if not script["trusted"]] == []
    told = {script["path"]: script["info"]["name"] for script in scripts}
    catalogue = [path.name for path in (ROOT / "src/vifplug/scripts").iterdir() if path.is_file()]
    assert told == {f"/usr/lib/vifplug/scripts/{name}": name for name in catalogue}
    assert {script["name"] for script in scripts} == {
        *catalogue,
        *(f"/usr/bin/neutron-{mechanism}-vif-plug" for mechanism in MAIL),
    }


def test_the_library_is_there_for_programs_too(debian: Debian) -> None:
    said = debian.run(
        "/usr/bin/python3",
        "-c",
        "import vifplug, plugscript, importlib.metadata as m; print(vifplug.__file__, m.version('vifplug'))",
    ).stdout

    assert said.split()[0] == "/usr/lib/python3/dist-packages/vifplug/__init__.py"
    assert said.split()[1] == debian.run("vifplug", "version", "--json").stdout.split('"')[3]


def test_what_watches_the_daemon_comes_along(debian: Debian) -> None:
    for file in ("grafana/vifplug.json", "prometheus/alerts.yaml"):
        assert (
            debian.run("cat", f"/usr/share/vifplug/{file}").stdout == (ROOT / "packaging" / file).read_text()
        )


@pytest.mark.parametrize("language", [[], ["--shell"]], ids=["Python", "sh"])
def test_it_makes_new_mechanisms(debian: Debian, language: list[str]) -> None:
    place = f"/tmp/new{''.join(language)}"
    debian.run("vifplug", "new-mechanism", "blue", "--directory", place, *language)

    info = json.loads(debian.run(f"{place}/vifplug/scripts/blue", "info").stdout)
    assert info["name"] == "blue"


def test_nothing_is_left_when_it_goes(packages: list[Path], tmp_path: Path, netns: None) -> None:
    with Debian(tmp_path) as system:
        find = [
            "find",
            "/usr",
            "/etc",
            "/var/lib/vifplug",
            "-path",
            "*vifplug*",
            "-o",
            "-name",
            "*plugscript*",
        ]
        before = system.run(*find, check=False).stdout
        system.install(*packages)
        system.run("vifplug", "scripts")
        system.run("/usr/lib/vifplug/scripts/iovisor", "info")

        system.run("dpkg", "--purge", "vifplug")

        left = set(system.run(*find, check=False).stdout.split()) - set(before.split())
        assert left == set()


def test_a_ledger_outlives_the_package(packages: list[Path], tmp_path: Path, netns: None) -> None:
    """What is plugged is plugged, whoever removes the package."""
    with Debian(tmp_path) as system:
        system.install(*packages)
        stand_in(system, "mm-ctl")
        binding = {
            "id": ID,
            "vif_type": "ethernet",
            "vif_details": {"vif_plug_script": "midonet"},
            "address": MAC,
        }
        system.run("vifplug", "plug", "-", stdin=json.dumps(binding))

        purged = system.run("dpkg", "--purge", "vifplug")
        assert "still on record in /var/lib/vifplug" in purged.stdout + purged.stderr

        system.install(*packages)
        (record,) = json.loads(system.run("vifplug", "list", "--json").stdout)
        assert record["id"] == ID
        system.run("vifplug", "unplug", ID)
        assert links() == {}


def test_the_same_checkout_gives_the_same_package(tmp_path: Path) -> None:
    first, second = (build("build-deb", tmp_path / name) for name in ("first", "second"))

    assert first.read_bytes() == second.read_bytes()
