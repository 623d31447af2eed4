"""plugscript.sh in three shells: what a script answers, how it fails, its trace, its dry run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from sdk_author import BY_HAND, Author, Called, request, traced
from vifplug.script.contract import Info
from vifplug.script.replies import parse_reply

SHELLS = ["dash", "busybox sh", "bash --posix"]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plug(author: Author, shell: str, body: str, declared: str = "", **environment: str) -> Called:
    return author.sh(f"plug() {{\n{body}\n}}", declared, by=shell)("plug", None, **environment)


def test_info_is_what_was_declared(author: Author, shell: str) -> None:
    script = author.sh(
        "check() { :; }",
        """VERSION=3 VIF_TYPES="ethernet bridge" LOCKS="b.{bridge} *" UPDATE_FIELDS=mtu
        detail bridge string 'the "bridge" to join' required
        detail tag integer "the VLAN" minimum 1 maximum 4094 default 1
        detail mode string "how" one-of "a b" default a
        detail on boolean "whether" """,
        by=shell,
    )
    reply = script("info").reply

    assert msgspec.convert(reply | {"locks": []}, Info) == Info(
        name="blue",
        version="3",
        verbs=["plug", "unplug", "check"],
        vif_types=["ethernet", "bridge"],
        update_fields=["mtu"],
        dry_run=True,
        details_schema={
            "type": "object",
            "properties": {
                "bridge": {"type": "string", "description": 'the "bridge" to join'},
                "tag": {
                    "type": "integer",
                    "description": "the VLAN",
                    "minimum": 1,
                    "maximum": 4094,
                    "default": 1,
                },
                "mode": {"type": "string", "description": "how", "enum": ["a", "b"], "default": "a"},
                "on": {"type": "boolean", "description": "whether"},
            },
            "required": ["bridge"],
        },
    )
    assert reply["locks"] == ["b.{bridge}", "*"]  # words, never file names


def test_a_verb_with_nothing_to_say_prints_nothing(author: Author, shell: str) -> None:
    called = plug(author, shell, "echo printed; run echo by a command")

    assert called.status == 0
    assert called.stdout == ""
    assert called.log == ["printed", "by a command"]


def test_what_is_replied_has_its_type(author: Author, shell: str) -> None:
    called = plug(author, shell, """reply mtu 1400; reply path '/run/"é\\.sock'""")

    assert parse_reply("plug", called.stdout.encode()) == {"vif": {"mtu": 1400, "path": '/run/"é\\.sock'}}


def test_check_says_what_drifted(author: Author, shell: str) -> None:
    drifted = author.sh(
        'check() { drift "tag of é" 5 7; drift bridge br0 ""; drift up true false; drift id 007 "a b"; }',
        by=shell,
    )("check")

    assert parse_reply("check", drifted.stdout.encode())["drift"] == [
        {"what": "tag of é", "expected": 5, "found": 7},
        {"what": "bridge", "expected": "br0", "found": None},
        {"what": "up", "expected": True, "found": False},
        {"what": "id", "expected": "007", "found": "a b"},
    ]
    assert author.sh("check() { :; }", by=shell)("check").reply == {"ok": True}


@pytest.mark.parametrize("verb", ["nonsense", "activate", "main", "plug;id", "-x", "é"])
def test_an_unknown_verb_is_a_usage_error(author: Author, shell: str, verb: str) -> None:
    called = author.sh("", by=shell)(verb)

    assert called.status == 64
    assert called.error == {
        "code": "verb_not_supported",
        "message": f"unknown verb '{verb}': info plug unplug are known",
    }


def test_a_program_named_like_a_verb_is_no_verb(author: Author, shell: str) -> None:
    author.place.write("check", "echo ran; touch /nowhere/x")

    assert author.sh("", by=shell)("check", PATH=f"{author.place.path}:{BY_HAND['PATH']}").status == 64


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        ('bad_details "no \\"x\\""', 65, {"code": "bad_details", "message": 'no "x"'}),
        ("unavailable it is gone", 69, {"code": "backend_unavailable", "message": "it is gone"}),
        ('retry_later 1.5 "busy"', 75, {"code": "retry_later", "message": "busy", "retry_after": 1.5}),
        ('fail "it broke"', 1, {"code": "failed", "message": "it broke"}),
    ],
)
def test_a_failure_is_a_status_and_an_object(
    author: Author, shell: str, said: str, status: int, error: dict[str, object]
) -> None:
    called = plug(author, shell, f"reply mtu 5; {said}; log not reached")

    assert (called.status, called.error) == (status, error)
    assert called.log == [f"blue: {error['message']}"]


def test_a_failure_in_a_subshell_that_is_tolerated_leaves_the_reply_alone(author: Author, shell: str) -> None:
    called = plug(author, shell, 'x=$(fail "first") || x=second; reply bridge "$x"')

    assert called.reply == {"vif": {"bridge": "second"}}
    assert plug(author, shell, "x=$(bad_details first); log not reached").status == 65


def test_a_command_that_fails_ends_the_verb(author: Author, shell: str) -> None:
    called = plug(author, shell, "run sh -c 'echo why >&2; exit 3'; log not reached")

    assert called.status == 3
    assert called.stdout == ""
    assert called.log == ["why", "blue: sh -c echo why >&2; exit 3 ended with exit status 3"]


@pytest.mark.parametrize("status", [64, 65, 69, 75])
def test_a_commands_status_is_never_taken_for_the_contracts(author: Author, shell: str, status: int) -> None:
    assert plug(author, shell, f"run sh -c 'exit {status}'").status == 1
    assert plug(author, shell, f"x=$(ask sh -c 'exit {status}')").status == 1
    assert plug(author, shell, f"tolerate x sh -c 'exit {status}'").status == 1
    assert plug(author, shell, f"exit {status}").status == status  # the author's own is


def test_failing_may_be_fine(author: Author, shell: str) -> None:
    called = plug(
        author, shell,
        """run false || log or
        if run sh -c 'exit 4'; then log bad; else log "status $?"; fi
        tolerate "annot find" sh -c 'echo out; echo "Cannot find it" >&2; exit 1'
        ! run false
        exit 5""",
    )  # fmt: skip

    assert called.status == 5
    assert called.log == ["or", "status 4", "out", "Cannot find it"]
    assert [command["exit"] for command in called.trace] == [1, 4, 1, 1]
    assert plug(author, shell, "tolerate 'annot find' sh -c 'echo other >&2; exit 1'").status == 1
    assert plug(author, shell, "tolerate 'annot find' true").status == 0


def test_each_command_is_traced_with_its_words_as_they_are(author: Author, shell: str) -> None:
    called = plug(author, shell, """run true '' "a b" '$(id) *' 'q"\\' é; x=$(ask echo seen); log "$x" """)

    assert called.trace == [
        {"run": ["true", "", "a b", "$(id) *", 'q"\\', "é"], "exit": 0},
        {"run": ["echo", "seen"], "ask": True, "exit": 0},
    ]
    assert called.log == ["seen"]


def test_a_text_too_long_to_be_worth_it_is_counted(author: Author, shell: str) -> None:
    long = '["' * 30_000
    called = plug(author, shell, 'run true "$VIF_DETAILS_X"; fail "$VIF_DETAILS_X"', VIF_DETAILS_X=long)

    assert called.trace == [{"run": ["true", "(60000 characters)"], "exit": 0}]
    assert called.error == {"code": "failed"}  # the message is the last line of the log
    assert called.log == [f"blue: {long}"]
    refused = plug(author, shell, ":", "detail x integer number", VIF_DETAILS_X=long)
    assert refused.error["message"] == "vif_details.x must be an integer, not 60000 characters"


def test_what_the_host_always_sets_is_set_by_hand_too(author: Author, shell: str) -> None:
    called = plug(
        author,
        shell,
        'log "$VIF_DEVNAME|$VIF_TYPE|$VIF_MTU|$VIF_FIXED_IPS|$VIFPLUG_DEADLINE"',
        VIF_DEVNAME="tap0",
    )
    assert called.log == ["tap0|ethernet|||30"]

    done = subprocess.run(
        [*shell.split(), author.place.path / "s", "plug"],
        env={"PATH": BY_HAND["PATH"], "VIF_ID": "4c1b1b0a-7d5e"}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == b"tap4c1b1b0a-7d|ethernet|||30\n"


def test_a_commands_time_is_known_to_a_hundredth_of_a_second(author: Author, shell: str) -> None:
    called = plug(author, shell, "run sleep 0.21")
    [line] = [line for line in called.stderr.splitlines() if line.startswith("#vifplug")]

    assert 0.2 <= json.loads(line[9:])["seconds"] < 30


def test_a_command_that_is_not_there_means_that_the_backend_is_not(author: Author, shell: str) -> None:
    for verb in ("run", "ask", "tolerate x"):
        called = plug(author, shell, f"{verb} no-such-command || log tolerated")
        assert called.status == 69
        assert (
            called.error["message"]
            == "the command no-such-command is not there: is it installed on this host?"
        )


def test_a_variable_that_nobody_set_ends_the_verb(author: Author, shell: str) -> None:
    called = plug(author, shell, 'log "$nobody"; log not reached')

    assert called.status not in (0, 64, 65, 69, 75)
    assert len(called.log) == 1


def test_a_dry_run_says_and_asks_but_does_nothing(author: Author, shell: str, tmp_path: Path) -> None:
    called = plug(
        author, shell, f"run touch {tmp_path}/a; tolerate x touch {tmp_path}/b; ask echo asked; run no-such-command",
        VIFPLUG_DRY_RUN="1",
    )  # fmt: skip

    assert called.status == 0
    assert called.log == ["asked"]
    assert called.trace == [
        {"run": ["touch", f"{tmp_path}/a"], "dry": True},
        {"run": ["touch", f"{tmp_path}/b"], "dry": True},
        {"run": ["echo", "asked"], "ask": True, "exit": 0},
        {"run": ["no-such-command"], "dry": True},
    ]
    assert list(tmp_path.iterdir()) == []


def test_at_the_deadline_the_log_says_which_command_took_so_long(author: Author, shell: str) -> None:
    script = author.sh("plug() { run sh -c 'echo begun >&2; exec sleep 1000'; }", by=shell)
    process = subprocess.Popen(
        [*script.shell, script.path, "plug"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=BY_HAND,
        process_group=0,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"begun\n"
    os.killpg(process.pid, 15)
    out, rest = process.communicate(timeout=30)

    assert process.returncode == -15
    assert out == b""
    assert traced(rest.decode()) == [{"run": ["sh", "-c", "echo begun >&2; exec sleep 1000"], "exit": None}]


def test_a_command_inherits_no_descriptor_of_ours(author: Author, shell: str) -> None:
    for verb in ("run", "ask", "tolerate x"):
        called = plug(
            author,
            shell,
            f"{verb} sh -c 'for n in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo $n >&2; done'",
        )
        assert (called.status, called.log) == (0, [])


# --- details -------------------------------------------------------------------------------------

DETAILS = """
detail bridge string "the bridge to join" required
detail physical-net string "of the provider"
detail tag integer "the VLAN" minimum 1 maximum 4094 default 7
detail rate number "how fast"
detail on boolean "whether" default false
detail mode string "how" one-of "a b"
detail peers array "whom"
detail port object "what"
"""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BRIDGE", "", "bridge is missing (the bridge to join)"),
        ("TAG", "x", "tag must be an integer, not 'x'"),
        ("TAG", "-", "tag must be an integer, not '-'"),
        ("TAG", "1 -o 1", "tag must be an integer, not '1 -o 1'"),
        ("TAG", "0", "tag must be at least 1, not '0'"),
        ("TAG", "4095", "tag must be at most 4094, not '4095'"),
        ("RATE", "fast", "rate must be a number, not 'fast'"),
        ("ON", "yes", "on must be true or false, not 'yes'"),
        ("MODE", "c", "mode must be one of: a b, not 'c'"),
        ("MODE", "*", "mode must be one of: a b, not '*'"),
        ("PEERS", "a", "peers must be a list, not 'a'"),
        ("PORT", "[]", "port must be an object, not '[]'"),
    ],
)
def test_details_that_do_not_fit_are_refused(
    author: Author, shell: str, name: str, value: str, words: str
) -> None:
    environment = {"VIF_DETAILS_BRIDGE": "br0", f"VIF_DETAILS_{name}": value}
    called = plug(author, shell, "log asked", DETAILS, **environment)

    assert called.status == 65
    assert called.error == {"code": "bad_details", "message": f"vif_details.{words}"}
    assert "asked" not in called.log


def test_each_declared_detail_is_set(author: Author, shell: str) -> None:
    called = plug(
        author, shell,
        'log "$VIF_DETAILS_BRIDGE|$VIF_DETAILS_PHYSICAL_NET|$VIF_DETAILS_TAG"\n'
        'log "$VIF_DETAILS_RATE|$VIF_DETAILS_ON|$VIF_DETAILS_PEERS"',
        DETAILS, VIF_DETAILS_BRIDGE="`id` $(id) \"'\\", VIF_DETAILS_PEERS='["a b"]', VIF_DETAILS_RATE="-1.5e3",
    )  # fmt: skip

    assert called.status == 0
    assert called.log == ["`id` $(id) \"'\\||7", '-1.5e3|false|["a b"]']


def test_an_unplug_of_what_was_refused_is_carried_out_without_what_does_not_fit(
    author: Author, shell: str
) -> None:
    script = author.sh('unplug() { log "$VIF_DETAILS_BRIDGE|$VIF_DETAILS_TAG"; }', DETAILS, by=shell)
    called = script("unplug", None, VIF_DETAILS_TAG="x")

    assert called.status == 0
    assert called.log == ["blue: vif_details.tag must be an integer, not 'x': it counts as missing", "|7"]


@pytest.mark.parametrize("declared", ["detail x text 'no type'", "detail x string 'no option' optional yes"])
def test_a_declaration_that_cannot_be_is_said(author: Author, shell: str, declared: str) -> None:
    called = author.sh("", declared, by=shell)("info")

    assert called.status == 1
    assert called.log[0].startswith("blue: detail x: '")


def test_somebody_who_calls_it_by_hand_is_helped(author: Author, shell: str) -> None:
    script = author.sh("", DETAILS, by=shell)
    for arguments, status in (("--help", 0), ("-h", 0), ("", 64)):
        called = script(arguments)
        assert called.status == status
        assert "VERB is one of: info plug unplug." in called.stdout
    assert "  bridge (string, required)  the bridge to join\n" in script("--help").stdout


def test_without_a_vif_it_says_so(author: Author, shell: str) -> None:
    assert (
        author.sh("", by=shell)("plug", None, VIF_ID="").error["message"] == "no request: VIF_ID is not set"
    )


def test_the_request_can_be_read(author: Author, shell: str) -> None:
    script = author.sh('plug() { log "$(cat)"; }', by=shell)

    assert json.loads(script("plug", request()).log[0]) == request()


def test_nothing_is_started_but_the_authors_commands(author: Author, shell: str) -> None:
    script = author.sh(
        "plug() { run /bin/echo ran; reply mtu 5; }",
        "detail tag integer x default 5",
        by=f"/usr/bin/{shell}",
    )

    assert script("plug", PATH="/nowhere").reply == {"vif": {"mtu": 5}}
    assert script("info", PATH="/nowhere").reply["name"] == "blue"
    assert script("nonsense", PATH="/nowhere").status == 64
