"""docs/client.md against vifplugd itself: every example runs, every route has one, every error is in its table."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Served
from vifplug import errors
from vifplug.daemon.api import ROUTES
from vifplug.daemon.statuses import status_of
from vifplug.errors import DaemonUnreachable, VifplugError
from world import ID, World, binding, links

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def daemon(world: World) -> Iterator[Served]:
    """A daemon with the scripts that come with vifplug, and the bridge of the page."""
    subprocess.run(["ip", "link", "add", "br-data", "type", "bridge"], check=True)
    served = Served.of(world)
    served.config.write_text(served.config.read_text().replace("packaged = false", "packaged = true"))
    with served:
        yield served


@pytest.mark.slow
def test_the_examples_with_curl_do_what_they_say(world: World, daemon: Served, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail-with-body\nshow-error\n")
    environ = {**os.environ, "CURL_HOME": str(tmp_path)}
    answers = {}
    begin = SHELL[0].replace("/run/vifplug/vifplugd.sock", daemon.socket)
    assert begin != SHELL[0]
    for example in SHELL[1:]:
        if "/forget" in example:  # which is for who owes something
            world.on("unplug", status=1)
            with daemon.client() as host, pytest.raises(VifplugError):
                host.plug(binding())
                host.unplug(ID)
        ended = subprocess.run(
            ["bash", "-e", "-c", begin + example], cwd=tmp_path, env=environ, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, example + ended.stdout + ended.stderr
        assert '"error":{' not in ended.stdout, ended.stdout  # in a line of many, say
        answers[example] = ended.stdout

    def told(part: str) -> str:
        return next(answer for example, answer in answers.items() if part in example)

    assert '"mtu":1450' in told("/v1/update") and "<interface " in told("/v1/plug?seconds")
    assert '{"step":' in told("x-ndjson") and '{"answer":' in told("x-ndjson")
    assert '"index":0' in told("/v1/plug-all") and "</interface>" in told("/xml")
    assert "vifplug_" in told("/metrics") and '"openapi"' in told("/v1/openapi.json")
    assert "data:" in told("/v1/events") and '"forgotten":1' in told("/forget")
    assert set(links()) == {"br-data"}


def test_every_route_has_an_example() -> None:
    asked = set()
    for line in "\n".join(SHELL).splitlines():
        if found := re.search(r"http://vifplugd(/[^\s\"?]*)", line):
            method = "POST" if "-X POST" in line or "--data" in line else "GET"
            asked.add((method, found[1].replace("$ID", "{id}")))
    assert asked == {(route.method, route.path) for route in ROUTES}


def test_the_examples_in_python_do_what_they_say(daemon: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIFPLUG_SOCKET", daemon.socket)
    names: dict[str, object] = {}
    assert len(PYTHON) == 3
    for example in PYTHON:
        exec(example, names)  # noqa: S102  # our own page
    assert set(links()) == {"br-data"}


def test_every_error_is_in_the_table_with_its_status() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    kinds = [VifplugError]
    for kind in kinds:
        kinds += [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
    of_daemon = [
        kind for kind in kinds if not issubclass(kind, errors.GuestError)
    ]  # who runs guests it never asks
    codes = {kind.code for kind in of_daemon} - {DaemonUnreachable.code, errors.ConfigError.code}
    assert codes <= {code for code, _, _ in told}
    for code, status, name in told:
        error = errors.from_dict({"code": code, "message": ""})
        assert (type(error).__name__, error.as_dict()["code"]) == (name, code)
        assert status_of(error if type(error) is not VifplugError else _with_code(code)) == int(status), code


def _with_code(code: str) -> VifplugError:
    error = VifplugError("")
    error.code = code  # type: ignore[misc]  # as the daemon's own have it
    return error
