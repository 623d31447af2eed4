"""``plug --dry-run``, ``plug --trace`` and ``show --log``: what is done, as a tree."""

from __future__ import annotations

from cli_shell import Shell, both_ways
from world import ID, TAP, binding, links

RUNS = """echo "hello" >&2
echo '#vifplug {"run": ["ip", "link", "set", "a b"], "seconds": 0.0031, "exit": 2}' >&2
echo '#vifplug {"run": ["sleep", "9"], "exit": null}' >&2
echo '#vifplug not json' >&2"""


@both_ways
def test_a_trace_shows_steps_commands_and_the_scripts_own_words(vifplug: Shell) -> None:
    vifplug.world.on("plug", do=RUNS)
    plugged = vifplug("plug", "--trace", vifplug.file(binding()))
    assert plugged.status == 0
    assert plugged.out.startswith("<interface")
    lines = plugged.err.splitlines()
    assert lines[0].startswith(ID)
    at = next(number for number, line in enumerate(lines) if "script plug" in line)
    assert lines[at + 1 : at + 5] == [
        "│  ├─ | hello",
        "│  ├─ ip link set 'a b'  (3.1 ms, exit 2)",
        "│  ├─ sleep 9  (was still running)",
        "│  └─ | #vifplug not json",
    ]
    assert [line.split()[1] for line in lines if line.startswith(("├─", "└─"))] == [
        "intent", "device", "script", "reply", "verify", "guest", "outcome",
    ]  # fmt: skip


@both_ways
def test_a_trace_of_a_failure_shows_how_it_was_undone(vifplug: Shell) -> None:
    vifplug.world.on("plug", do=RUNS, status=1)
    failed = vifplug("plug", "--trace", vifplug.file(binding()))
    assert failed.status == 1
    assert "undo script unplug" in failed.err
    assert "ip link set 'a b'" in failed.err
    assert failed.err.splitlines()[-1].startswith("vifplug: ")


@both_ways
def test_the_log_shows_the_commands_too(vifplug: Shell) -> None:
    vifplug.world.on("plug", do=RUNS)
    vifplug("plug", vifplug.file(binding()))
    log = vifplug("show", ID, "--log").out
    assert "    $ ip link set 'a b'  (3.1 ms, exit 2)\n" in log
    assert "    | hello\n" in log


@both_ways
def test_a_dry_run_says_what_would_be_done_and_does_nothing(vifplug: Shell) -> None:
    vifplug.world.info(dry_run=True)
    vifplug.world.on(
        "plug",
        do='echo "#vifplug {\\"run\\": [\\"join\\", \\"$VIF_DEVNAME\\"], \\"dry\\": true}" >&2; exit 0',
    )
    file = vifplug.file(binding())
    said = vifplug("plug", "--dry-run", file)
    assert said.status == 0
    assert f"│  └─ join {TAP}" in said.out.splitlines()
    assert (links(), vifplug.world.host().list()) == ({}, [])
    steps = vifplug("--json", "plug", "--dry-run", file).json["steps"]
    assert steps[2]["commands"] == [["join", TAP]]
    vifplug("plug", file)
    assert "nothing would be done" in vifplug("plug", "--dry-run", file).out


@both_ways
def test_a_dry_run_of_a_bad_binding_is_its_error(vifplug: Shell) -> None:
    failed = vifplug("plug", "--dry-run", vifplug.file(binding(script="nosuch")))
    assert failed.status == 69
    assert "there is no plug script 'nosuch'" in failed.err


def test_many_take_neither(vifplug: Shell) -> None:
    for option in ("--dry-run", "--trace"):
        assert vifplug("plug", option, "--all", vifplug.file([binding()])).status == 64
