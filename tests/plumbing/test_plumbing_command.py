"""``vifplug graph`` and ``vifplug trace``: what people read, what programs read, and what cannot be asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cli_shell import Ended, Shell, both_ways
from guests import Elsewhere, ip
from served import Served, configuration
from world import ID, TAP, World, binding

FAR = "10.0.0.1"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def through(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "library"))


@pytest.fixture
def vifplug(world: World, capsys: Any, monkeypatch: Any, through: str) -> Any:
    """The command on a host with a VIF in br-data."""
    shell = Shell(world, capsys, monkeypatch)
    if through == "library":
        yield shell
    else:
        with Served(shell.config, shell.socket):
            yield shell


@pytest.fixture
def plugged(world: World, far: Elsewhere, vifplug: Shell) -> Shell:
    ip("link add br-data type bridge")
    ip("link set br-data up")
    ip("link set eth9 master br-data")
    world.info(verbs=["plug", "unplug", "check"])
    world.on("plug", do="ip link set $VIF_DEVNAME master br-data")
    subnet = {"cidr": "10.0.0.0/24", "gateway": FAR, "addresses": ["10.0.0.5"]}
    request = binding(network={"subnets": [subnet]}, instance={"name": "web1"})
    assert vifplug("plug", vifplug.file(request)).status == 0
    return vifplug


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@both_ways
def test_the_tree_says_it_all_from_the_uplink_to_the_guest(plugged: Shell) -> None:
    shown = plugged("graph")
    assert (shown.status, shown.err) == (0, "")
    assert plain(shown.out).splitlines() == [
        "uplink eth9  veth into another namespace, MTU 1500",
        "└─ bridge br-data  forwarding, bridge, MTU 1500",
        f"   └─ device {TAP}  disabled, tap, MTU 1500  [idle]",
        "      └─ vif 4c1b1b0a  ethernet, recorder",
        "         └─ guest web1  not running  [idle]",
        "",
        "1 guest, 1 VIF; all as it should be",
    ]


@both_ways
def test_a_drift_is_marked_and_said_with_what_to_do(plugged: Shell) -> None:
    ip(f"link set {TAP} nomaster")
    shown = plain(plugged("graph").out)
    assert f"device {TAP}  tap, MTU 1500  [drift]" in shown
    assert f"{TAP} is in no bridge, and was plugged into br-data" in shown
    assert "→ vifplug repair 4c1b1b0a" in shown and "1 drifted" in shown
    assert plugged("repair", ID).status == 0
    assert "all as it should be" in plugged("graph").out


@both_ways
def test_a_trace_tells_every_hop_and_a_verdict(plugged: Shell) -> None:
    shown = plugged("trace", "4c1b", "--timeout", "2")
    assert (shown.status, shown.err) == (0, "")
    lines = plain(shown.out).splitlines()
    assert [line.split()[:2] for line in lines[:6]] == [["✓", what] for what in
        ("guest", "vif", "device", "port", "bridge", "uplink")]  # fmt: skip
    assert re.fullmatch(rf"ok: {FAR} answered in [0-9.]+ ms: nothing is wrong on the way", lines[7])
    ip("link set eth9 down")
    broken = plugged("trace", TAP, "--timeout", "0.5")
    assert broken.status == 1
    assert "ends at uplink eth9: eth9 is down\n→ ip link set dev eth9 up" in plain(broken.out)


def test_programs_get_one_document(plugged: Shell) -> None:
    graph = plugged("graph", "--json").json
    assert {node["id"] for node in graph["nodes"]} == {
        "guest:web1", f"vif:{ID}", f"dev:{TAP}", "dev:br-data", "dev:eth9",
    }  # fmt: skip
    assert {node["state"] for node in graph["nodes"]} == {"ok", "idle"} and graph["notes"] == []
    trace = plugged("trace", ID, "--json", "--no-probe").json
    assert trace["ok"] and trace["probe"] is None and trace["hops"][trace["ends_at"]]["name"] == "eth9"


def test_the_picture_is_one_file_of_well_formed_svg(plugged: Shell, tmp_path: Path) -> None:
    file = tmp_path / "plumbing.svg"
    shown = plugged("graph", "--output", str(file))
    assert (shown.status, shown.out, shown.err) == (0, "", "")
    root = ElementTree.fromstring(file.read_text())  # noqa: S314 (our own)
    assert root.tag == f"{SVG}svg"
    names = {text.text for text in root.iter(f"{SVG}text") if text.get("class") == "name"}
    assert names == {"web1", "4c1b1b0a", TAP, "br-data", "eth9"}
    assert plugged("graph", "--svg", ID).out == file.read_text()


def test_the_pages_program_runs_as_it_stands(plugged: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "seeing.md").read_text()
    program = page.split("```python\n")[1].split("```")[0].replace('"10.0.0.1"', f'"{FAR}"')
    assert ID in program
    exec(program, {})  # noqa: S102 (our own page)
    shown = capsys.readouterr().out
    assert "</svg>" in shown and f"True {FAR} answered in" in shown


def test_scripts_are_not_asked_when_they_shall_not(plugged: Shell, world: World) -> None:
    before = world.asked()
    assert plugged("graph", "--no-check").status == 0
    assert world.asked() == before
    plugged("graph")
    assert world.asked() == [*before, "check"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["graph", "nonsense/"], 65, "'nonsense/' names no VIF"),
        (["graph", "feed0000"], 66, "no VIF on record has the id or the device feed0000"),
        (["graph", "00000001-7d5e-4f0a-9c55-2f7a3c1d9e01"], 66, "is not on record on this host"),
        (["graph", "--svg", "--json"], 64, "both want standard output"),
        (["graph", "-o", "/proc/nowhere/x.svg"], 65, "'/proc/nowhere/x.svg' cannot be written: No such file"),
        (["graph", "-o", ""], 65, "'' cannot be written"),
        (["graph", "-o", "a\0b"], 65, "cannot be written: that is no file's name"),
        (["trace"], 64, "Missing argument 'ID'"),
        (["trace", "feed0000"], 66, "no VIF on record has the id or the device feed0000"),
        (["trace", "00000001-7d5e-4f0a-9c55-2f7a3c1d9e01"], 66, "is not on record on this host"),
        (["trace", ID, "10.0.0"], 65, "the target '10.0.0' must be an IPv4 address such as 10.0.0.1"),
        (["trace", ID, "--address", "10.0.0.300/8"], 65, "address '10.0.0.300/8' must be an IPv4 address with"),
        (["trace", ID, "--timeout", "0"], 64, "0.0 is not more than 0"),
        (["trace", ID, "10.0.0.1", "10.0.0.2"], 64, "unexpected extra argument"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_sentence(
    plugged: Shell, arguments: list[str], status: int, message: str
) -> None:
    shown: Ended = plugged(*arguments)
    assert shown.status == status and (shown.out == "" or "--json" in arguments)
    assert message in shown.err and len(shown.err.splitlines()) == 1


def test_a_host_without_a_vif_and_without_a_bridge_has_nothing_to_draw(vifplug: Shell) -> None:
    shown = vifplug("graph")
    assert shown.status == 0 and "there is nothing to draw" in shown.out
    assert "no VIF is on record: there is no" in shown.err
    assert not Path(vifplug.world.config.state_dir).exists(), "and no ledger was made for it"


def test_without_iproute2_one_sentence_says_so(plugged: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vifplug.doctor.place._TOOLS", "/nowhere")
    shown = plugged("graph")
    assert shown.status != 0
    assert "the host's network cannot be read: ip is not installed" in shown.err


# --- as an ordinary user ---------------------------------------------------------------------------

_AS_NOBODY = """
import io, os, sys, contextlib, locale, vifplug.remote
from vifplug.cli._frame import run
with contextlib.redirect_stdout(io.StringIO()):  # the program is loaded while it is still root
    run(["graph"]), run(["trace", "4c1b1b0a", "--timeout", "0.1"])
os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(run(sys.argv[1:]))
"""


def as_nobody(*arguments: str) -> Ended:
    ended = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, *arguments], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.slow
@pytest.mark.real_root
def test_an_ordinary_user_sees_the_kernel_and_what_is_not_seen(plugged: Shell) -> None:
    plugged.world.folder.chmod(0o755)
    seen = as_nobody("graph")
    assert seen.status == 0
    assert f"device {TAP}" in seen.out and "uplink eth9" in seen.out
    assert "VIFs on record are not shown:" in seen.err
    refused = as_nobody("trace", TAP)
    assert refused.status != 0 and len(refused.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.real_root
def test_an_ordinary_user_whom_vifplugd_knows_sees_vifs_and_their_ways(plugged: Shell) -> None:
    folder = plugged.world.folder
    folder.chmod(0o755)
    plugged.config.write_text(configuration(plugged.world, readers=["*"], socket=f"{folder}/open.sock"))
    with Served(plugged.config, f"{folder}/open.sock"):
        seen = as_nobody("graph")
        assert seen.status == 0 and "vif 4c1b1b0a  ethernet, recorder" in seen.out
        traced = as_nobody("trace", ID)
        assert traced.status == 0, traced.err
        assert "nothing is wrong on the way, as far as settings tell" in traced.out
        assert "probe: no frame was sent: frames can be watched by root alone (CAP_NET_RAW)" in traced.out
        ip("link set eth9 down")
        assert "ends at uplink eth9: eth9 is down" in as_nobody("trace", ID).out
