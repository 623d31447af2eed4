"""The examples do on the real kernel what they say, called by the host's runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from callers import VIF, a_request
from sdk_author import SDK, SHELL_SDK
from trusted import TrustedDir
from vifplug.model.vif import NetworkInfo, Subnet, Vif
from vifplug.script.catalogue import Catalogue
from vifplug.script.marks import Mark
from vifplug.script.runner import Call, Runner

EXAMPLES = Path(__file__).parents[2] / "examples"
TAP = VIF.devname


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class Example:
    """An example, and the host's runner to call it."""

    def __init__(self, path: Path, place: TrustedDir) -> None:
        self.name = path.name
        self._runner = Runner(config := place.config())
        self._script = Catalogue(config).find(path.name)
        self.info = self._runner.info(self._script)

    def __call__(self, verb: str, vif: Vif) -> Call:
        request = a_request(verb, vif)
        return self._runner.call(self._script, request, seconds=20, mark=Mark.new())


@pytest.fixture(params=["bridge-sh", "bridge-c"])
def bridge(request: pytest.FixtureRequest, trusted_dir: TrustedDir, netns: None) -> Example:
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "add", "br1", "type", "bridge")
    ip("tuntap", "add", TAP, "mode", "tap")
    return install(request.param, trusted_dir)


@pytest.fixture
def routes(trusted_dir: TrustedDir, netns: None) -> Example:
    ip("tuntap", "add", TAP, "mode", "tap")
    return install("routes-python", trusted_dir)


def install(name: str, place: TrustedDir) -> Example:
    """As vifplug's package does: scripts in a directory of their own, the SDK beside that."""
    for file in (SDK / "plugscript.py", SHELL_SDK):
        shutil.copy(file, place.path)
    place = TrustedDir(place.path / "scripts")
    place.path.mkdir()
    path = place.path / name
    if (source := EXAMPLES / f"{name}.c").exists():
        flags = ["-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["cc", *flags, "-o", path, source], check=True)
    else:
        place.write(name, (EXAMPLES / name).read_text())
    path.chmod(0o755)
    return Example(path, place)


def joined(bridge: str, **more: Any) -> Vif:
    return msgspec.structs.replace(VIF, details={"bridge": bridge}, **more)


def routed(*addresses: str, **details: Any) -> Vif:
    network = NetworkInfo(subnets=[Subnet(addresses=list(addresses))])
    return msgspec.structs.replace(VIF, details=details, network=network)


def master() -> str:
    return ip("-o", "link", "show", TAP).partition(" master ")[2].partition(" ")[0]


def done(call: Call) -> dict[str, Any]:
    assert call.error is None, call.error.message
    assert call.reply is not None
    return call.reply


def test_plug_joins_and_unplug_leaves_however_often(bridge: Example) -> None:
    for _ in range(2):
        done(bridge("plug", joined("br0")))
        assert master() == "br0"
        assert ",UP" in ip("-o", "link", "show", TAP)
    for _ in range(2):
        done(bridge("unplug", joined("br0")))
        assert master() == ""


def test_a_tap_that_is_gone_is_unplugged(bridge: Example) -> None:
    ip("link", "delete", TAP)

    done(bridge("unplug", joined("br0")))
    assert bridge("plug", joined("br0")).outcome == "failed"


def test_what_is_wrong_is_said(bridge: Example) -> None:
    missing = bridge("plug", msgspec.structs.replace(VIF, details={}))
    unknown = bridge("plug", joined("nope"))

    assert missing.outcome == "bad_details"
    assert missing.error is not None
    assert "vif_details.bridge is missing" in missing.error.message
    assert unknown.outcome == "backend_unavailable"
    done(bridge("unplug", msgspec.structs.replace(VIF, details={})))
    assert bridge("activate", joined("br0")).outcome == "verb_not_supported"


def test_info_names_the_detail(bridge: Example) -> None:
    assert bridge.info is not None
    assert bridge.info.name == bridge.name
    assert bridge.info.details_schema is not None
    assert bridge.info.details_schema["required"] == ["bridge"]


def test_the_example_in_sh_notices_another_bridge(trusted_dir: TrustedDir, netns: None) -> None:
    ip("link", "add", "br1", "type", "bridge")
    ip("tuntap", "add", TAP, "mode", "tap")
    example = install("bridge-sh", trusted_dir)

    assert done(example("check", joined("br1")))["drift"][0]["found"] is None
    ip("link", "set", TAP, "master", "br1")
    assert done(example("check", joined("br1"))) == {"ok": True}
    assert done(example("check", joined("br0")))["drift"] == [
        {"what": f"bridge of {TAP}", "expected": "br0", "found": "br1"}
    ]


def test_the_example_in_python_routes_each_address(routes: Example) -> None:
    vif = routed("10.0.0.5", "fd00::5", metric=7)
    for _ in range(2):
        done(routes("plug", vif))
    assert "10.0.0.5 scope link metric 7" in ip("route", "show", "dev", TAP)
    assert "fd00::5 metric 7" in ip("-6", "route", "show", "dev", TAP)
    assert done(routes("check", vif)) == {"ok": True}

    ip("-6", "route", "delete", "fd00::5", "dev", TAP)
    assert [one["what"] for one in done(routes("check", vif))["drift"]] == ["route to fd00::5"]
    for _ in range(2):
        done(routes("unplug", vif))
    assert ip("route", "show", "dev", TAP) == ""


def test_the_example_in_python_asks_for_addresses(routes: Example) -> None:
    call = routes("plug", routed())

    assert call.error is not None
    assert call.error.message.endswith("the guest has no address to route")
    ip("link", "delete", TAP)
    done(routes("unplug", routed("10.0.0.5")))


@pytest.mark.parametrize("name", ["bridge-sh", "routes-python"])
def test_an_example_runs_where_it_lies_in_the_source_tree(name: str) -> None:
    called = subprocess.run([EXAMPLES / name, "info"], capture_output=True, text=True, check=True)

    assert f'"name": "{name}"' in called.stdout
    assert called.stderr == ""


def test_an_example_is_read_in_a_minute() -> None:
    for name in ("bridge-sh", "routes-python", "bridge-c.c", "neutron-demo-vif-plug"):
        assert len((EXAMPLES / name).read_text().splitlines()) < 100
