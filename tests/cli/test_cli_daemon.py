"""The command line and vifplugd: who is asked when, and the same output whoever does the work."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_shell import Ended, Shell
from client.stand_in import json_answer, stand_in
from served import Served, configuration
from vifplug import __version__
from vifplug.host import results
from vifplug.model.vif import Ethernet
from vifplug.remote import RemoteHost
from world import ID, TAP, binding, links

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

OTHER = binding(1)["id"]


@pytest.fixture
def daemon(vifplug: Shell) -> Iterator[Served]:
    """The daemon of this host; ``vifplug`` finds it."""
    with Served(vifplug.config, vifplug.socket, "--debug") as served:
        yield served


# --- the same output -----------------------------------------------------------------------------


def _steady(text: str) -> str:
    """Without what differs between two runs: times and traces."""
    text = re.sub(r"\d+(\.\d+)? (ms|s)\b", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}( \((now|TIME ago)\))?", "MOMENT", text)
    text = re.sub(r"\b(now|TIME ago)$", "AGO", text, flags=re.MULTILINE)
    text = re.sub(r'"(seconds|created|changed|started)": [\d.e-]+', r'"\1": 0', text)
    text = re.sub(r"0[0-9]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", "TRACE", text)
    return re.sub(r" +", " ", text)


def _story(vifplug: Shell) -> Iterator[tuple[str, Ended]]:  # noqa: PLR0915  # one after the other
    """Every verb that asks a host, with its errors, as people and as programs see it."""
    world = vifplug.world
    one, file = vifplug.file(binding(mtu=1450), "one.json"), vifplug.file
    many = file([binding(number) for number in (1, 2)], "many.json")

    def both(*arguments: str) -> Iterator[tuple[str, Ended]]:
        for extra in ([], ["--json"]):
            yield " ".join([*arguments, *extra]), vifplug(*arguments, *extra)

    yield from both("list")
    yield from both("scripts")
    yield from both("plug", "--dry-run", one)
    world.on("plug", do="""echo '#vifplug {"run": ["ip", "x"], "seconds": 0.003, "exit": 0}' >&2""")
    yield "trace", vifplug("plug", "--trace", one)
    world.on("plug")
    yield from both("plug", one)
    yield from both("plug", "--dry-run", one)
    yield "refresh", vifplug("plug", "--refresh", one)
    yield "verbose", vifplug("-v", "plug", file(binding(9)))
    yield "the second", vifplug("plug", file(binding(2)))  # of two at once, either might have come first
    yield from both("plug", "--all", many)
    for verb in (
        "list",
        "check --all",
        f"check {ID}",
        f"show {ID}",
        f"show {TAP}",
        f"show {ID} --log",
        f"xml {ID}",
    ):
        yield from both(*verb.split())
    yield from both("xml", "--qemu", ID)
    yield from both("update", one)
    yield from both("update", file(binding(mtu=1400), "other.json"))
    yield from both("update", file(binding(7), "nowhere.json"))
    subprocess.run(["ip", "link", "set", TAP, "mtu", "1300"], check=True)
    yield from both("check", ID)
    yield from both("check", ID, OTHER, "00000005-7d5e-4f0a-9c55-2f7a3c1d9e01")
    yield from both("repair", ID)
    yield from both("repair", "00000005-7d5e-4f0a-9c55-2f7a3c1d9e01")
    for status in (1, 65, 69, 7):
        world.on("plug", status=status)
        yield from both("plug", file(binding(3), "failing.json"))
        yield f"trace {status}", vifplug("plug", "--trace", file(binding(3), "failing.json"))
    world.on("plug", do="exec sleep 100")
    yield from both("plug", "--seconds", "0.2", file(binding(3), "hanging.json"))
    world.on("plug")
    yield from both("plug", file(binding(3, script="nowhere"), "missing.json"))
    yield from both("plug", "--all", file([binding(4), binding(5, script="nowhere")], "half.json"))
    yield from both("plug", file(binding(3, devname=TAP), "taken.json"))
    yield from both("show", "tapnothere")
    yield from both("show", "00000007-7d5e-4f0a-9c55-2f7a3c1d9e01")
    yield from both("unplug", "00000007-7d5e-4f0a-9c55-2f7a3c1d9e01")
    yield from both("unplug", ID, "--generation", "99")
    world.on("unplug", status=1)
    yield from both("unplug", ID)
    yield from both("list", "--state", "debt")
    yield from both("show", ID)
    yield from both("gc")
    yield from both("gc", "--forget", ID)
    yield "unplug", vifplug("unplug", OTHER)
    world.on("unplug")
    yield from both("gc")
    yield from both("recover")
    yield from both("unplug", OTHER, "00000002-7d5e-4f0a-9c55-2f7a3c1d9e01", "--seconds", "1")
    yield from both("unplug", OTHER, "00000002-7d5e-4f0a-9c55-2f7a3c1d9e01")
    yield from both("unplug", "--all")
    (world.scripts / "recorder").chmod(0o777)
    yield from both("scripts")
    yield from both("plug", one)
    (world.scripts / "recorder").chmod(0o755)
    yield from both("list")


@pytest.mark.slow
def test_every_verb_says_the_same_through_the_daemon_as_without_it(vifplug: Shell) -> None:
    told = [(what, ended.status, _steady(ended.out), _steady(ended.err)) for what, ended in _story(vifplug)]
    for folder in (Path(vifplug.world.config.state_dir), vifplug.world.backend):
        shutil.rmtree(folder)
    vifplug.world.backend.mkdir()
    with Served(vifplug.config, vifplug.socket, "--debug") as daemon:
        for (what, *before), (_, after) in zip(told, _story(vifplug), strict=True):
            assert [after.status, _steady(after.out), _steady(after.err)] == before, what
        assert '"/v1/plug-all"' in daemon.log() and '"/v1/recover"' in daemon.log()
    assert {status for _, status, _, _ in told} >= {0, 1, 64, 65, 66, 69, 73, 77, 124}


# --- who is asked --------------------------------------------------------------------------------


def test_the_daemon_is_asked_while_it_runs_and_nobody_afterwards(vifplug: Shell) -> None:
    with Served(vifplug.config, vifplug.socket, "--debug") as daemon:
        assert vifplug("plug", vifplug.file(binding())).status == 0
        assert '"/v1/plug"' in daemon.log()
    assert Path(vifplug.world.config.state_dir).is_dir()
    assert vifplug("list", "--json").json[0]["id"] == ID
    assert vifplug("unplug", ID).status == 0 and links() == {}


def test_a_socket_that_a_crash_left_is_no_daemon(vifplug: Shell) -> None:
    daemon = Served(vifplug.config, vifplug.socket)
    daemon.start()
    daemon.kill()
    assert Path(vifplug.socket).exists()
    assert vifplug("plug", vifplug.file(binding())).status == 0


def test_local_works_without_the_daemon_though_one_runs(
    vifplug: Shell, daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIFPLUG_SOCKET", vifplug.socket)
    assert vifplug("--local", "plug", vifplug.file(binding())).status == 0
    assert '"/v1/' not in daemon.log()
    assert vifplug("unplug", ID).out.startswith(f"{ID} unplugged in ")
    assert '"/v1/vifs/' in daemon.log()


def test_a_daemon_that_is_named_is_asked_or_it_is_an_error(
    vifplug: Shell, daemon: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(
        "VIFPLUG_CONFIG", str(tmp_path / "none.toml")
    )  # who names the socket needs no configuration
    assert vifplug("list", "--socket", daemon.socket).status == 0
    monkeypatch.setenv("VIFPLUG_SOCKET", daemon.socket)
    assert vifplug("list").status == 0
    ended = vifplug("list", "--socket", str(tmp_path / "none.sock"), "--json")
    assert ended.status == 69 and ended.json["error"]["code"] == "daemon_unreachable"
    assert "does not run here" in ended.err and len(ended.err.splitlines()) == 1
    assert not (tmp_path / "state").exists()
    ended = vifplug("list", "--socket", daemon.socket, "--local")
    assert ended.status == 64 and "give one of them" in ended.err


@pytest.mark.real_root
def test_who_may_not_use_the_socket_is_told_whom_to_ask(vifplug: Shell, daemon: Served) -> None:
    vifplug.world.folder.chmod(0o755)
    program = (
        "import os, sys, pwd, locale, tempfile, vifplug.remote, vifplug.cli.list\n"
        "from vifplug.cli._frame import run\n"
        "assert run(['config']) == 0\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(run(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "list"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 77, ended.stderr
    assert "usermod -aG vifplug nobody" in ended.stderr and len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.real_root
def test_another_user_does_what_its_role_lets_it(vifplug: Shell) -> None:
    """As an ordinary user. The program is loaded while it is still root."""
    folder = vifplug.world.folder
    folder.chmod(0o755)
    vifplug.config.write_text(configuration(vifplug.world, readers=["*"], socket=f"{folder}/open.sock"))
    file = vifplug.file(binding(vif_details={"password": "hunter2"}))
    program = (
        "import os, sys, pwd, locale, tempfile, vifplug.remote, vifplug.cli.show, vifplug.cli.plug\n"
        "from vifplug.cli._frame import run\n"
        "assert run(['config']) == 0 == run(['xml', sys.argv[1]])\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(run(sys.argv[2:]))"
    )

    def as_nobody(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, file, *args], capture_output=True, text=True, check=False
        )

    with Served(vifplug.config, f"{folder}/open.sock"):
        assert vifplug("plug", file).status == 0
        assert "hunter2" in vifplug("show", ID).out
        shown = as_nobody("show", ID)
        assert shown.returncode == 0, shown.stderr
        assert re.search(rf"^id +{ID}$", shown.stdout, re.MULTILINE) and "hunter2" not in shown.stdout
        for arguments in (["plug", file], ["unplug", ID], ["gc"]):
            refused = as_nobody(*arguments)
            assert refused.returncode == 77 and len(refused.stderr.splitlines()) == 1
    assert TAP in links()


def test_the_version_of_the_daemon_is_told_too(vifplug: Shell, daemon: Served) -> None:
    assert vifplug("version").out.splitlines()[1] == f"vifplugd {__version__} at {daemon.socket}"
    told = vifplug("version", "--json").json
    assert told["daemon"] == {"vifplug": __version__, "socket": daemon.socket}
    assert len(vifplug("version", "--local").out.splitlines()) == 1


def test_ids_on_the_daemons_record_are_completed(vifplug: Shell, daemon: Served) -> None:
    vifplug("plug", vifplug.file(binding()))
    environ = {
        **os.environ,
        "VIFPLUG_CONFIG": "/nowhere.toml",  # without which there is no library
        "VIFPLUG_SOCKET": daemon.socket,
        "_VIFPLUG_COMPLETE": "bash_complete",
        "COMP_WORDS": "vifplug show 4c",
        "COMP_CWORD": "2",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "vifplug"], env=environ, capture_output=True, text=True, check=True
    )
    assert ID in ended.stdout and ended.stderr == ""


def test_asking_the_daemon_loads_neither_ledger_nor_netlink(vifplug: Shell, daemon: Served) -> None:
    program = (
        "import sys; from vifplug.cli._frame import run; status = run(sys.argv[1:]); "
        "print(status, *sys.modules, file=sys.stderr)"
    )
    arguments = [sys.executable, "-c", program, "list"]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    loaded = set(ended.stderr.split())
    assert "vifplug.remote" in loaded
    assert (
        not {"sqlite3", "ctypes", "subprocess", "http.client", "vifplug.host.host", "vifplug.daemon"} & loaded
    )


# --- many, and their steps -----------------------------------------------------------------------


def test_the_steps_of_many_are_told_as_they_happen(vifplug: Shell, daemon: Served) -> None:
    file = vifplug.file([binding(number) for number in range(1, 41)])
    plugged = vifplug("-v", "plug", "--all", file)
    assert plugged.out.startswith("plugged 40 VIFs in ")
    assert len([line for line in plugged.err.splitlines() if " outcome " in line]) == 40
    unplugged = vifplug("-v", "unplug", "--all")
    assert unplugged.out.startswith("unplugged 40 VIFs in ") and "script unplug" in unplugged.err
    assert links() == {}


# --- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["plug"], ["-v", "plug"], ["plug", "--all"], ["-v", "plug", "--all"]], ids=" ".join
)
def test_an_interrupted_command_goes_and_the_daemon_finishes(
    vifplug: Shell, daemon: Served, fifo: Path, tmp_path: Path, arguments: list[str]
) -> None:
    release = tmp_path / "release"
    os.mkfifo(release)
    vifplug.world.on("plug", do=f"echo begun > {fifo}; read line < {release}")
    process = vifplug.start(*arguments, vifplug.file(binding()))
    with fifo.open() as pipe:
        assert pipe.read() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        "vifplug: interrupted; vifplugd goes on with what it had begun: see 'vifplug list', or 'vifplug show ID'"
    )
    release.write_text("go on\n")
    with daemon.client() as host:
        assert host.wait(ID, "plugged", 20)["vif"]["generation"] == 1
    assert vifplug.world.asked() == ["plug"] and TAP in links()


# --- other versions ------------------------------------------------------------------------------


def _plugged(**more: Any) -> dict[str, Any]:
    shape = {"type": "ethernet", "made_by": "script", "colour": "blue"}
    network = {"label": "n", "subnets": [{"cidr": "10.0.0.0/24", "weather": "fine"}]}
    vif = {"id": ID, "devname": TAP, "plug_script": "x", "shape": shape, "network": network, "news": 1}
    return {
        "id": ID,
        "generation": 3,
        "vif": vif,
        "xml": "<interface />",
        "changed": True,
        "seconds": 0.1,
        **more,
    }


def test_a_newer_daemon_says_more_and_is_understood(tmp_path: Path) -> None:
    with (
        stand_in(tmp_path, json_answer(json.dumps(_plugged(more=1)))) as other,
        RemoteHost(other.path) as host,
    ):
        plugged = host.plug(binding())
        assert isinstance(plugged, results.Plugged)
        assert plugged.generation == 3 and plugged.vif.network.subnets[0].cidr == "10.0.0.0/24"
        assert plugged.vif.shape == Ethernet(made_by="script")


def test_a_daemon_that_cannot_be_understood_is_said(tmp_path: Path, vifplug: Shell) -> None:
    with stand_in(
        tmp_path, json_answer("{}"), json_answer(json.dumps(_plugged(generation="seven")))
    ) as other:
        assert vifplug("--socket", other.path, "plug", vifplug.file(binding())).status == 1
        ended = vifplug("--socket", other.path, "plug", vifplug.file(binding()))
        assert ended.status == 1
        assert "is of another version" in ended.err and "`$.generation`" in ended.err


def test_a_socket_of_something_else_is_said(tmp_path: Path, vifplug: Shell) -> None:
    with stand_in(tmp_path, b"220 mail.example.org ESMTP\r\n") as other:
        ended = vifplug("list", "--socket", other.path)
        assert ended.status == 69 and "is not vifplugd" in ended.err


def test_a_state_directory_too_deep_for_a_socket_is_worked_on_by_the_library(
    vifplug: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = vifplug.world.folder / ("d" * 120)
    monkeypatch.setenv("VIFPLUG_STATE_DIR", str(deep))
    assert vifplug("list", "--json").json == []
    left = socket.socket(socket.AF_UNIX)
    os.chdir(deep)
    try:
        left.bind("vifplugd.sock")
    finally:
        os.chdir("/")
        left.close()
    assert vifplug("list", "--json").json == []
