"""plugscript.py: what a script answers, and how it fails, called as the contract says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import plugscript
from sdk_author import BY_HAND, SDK, Author, request
from vifplug.script.contract import Info
from vifplug.script.replies import parse_reply


def test_info_is_what_was_declared(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef check(request): pass",
        'version="3", vif_types=["ethernet"], locks=["b.{bridge}"], update_fields=["mtu"], resident=True,'
        'details={"bridge": {"type": "string", "description": "to join"}}, required=["bridge"]',
    )
    reply = script("info").reply

    assert msgspec.convert(reply, Info) == Info(
        name="blue",
        version="3",
        verbs=["plug", "unplug", "check"],
        vif_types=["ethernet"],
        locks=["b.{bridge}"],
        update_fields=["mtu"],
        resident=True,
        dry_run=True,
        details_schema={
            "type": "object",
            "properties": {"bridge": {"type": "string", "description": "to join"}},
            "required": ["bridge"],
        },
    )


def test_a_verb_that_returns_nothing_prints_nothing(author: Author) -> None:
    script = author.python("")

    assert script("plug", request()).stdout == ""
    assert script("unplug", request("unplug")).stdout == ""


def test_what_plug_and_update_return_is_the_reply(author: Author) -> None:
    script = author.python(
        '@script.verb\ndef plug(request): return {"mtu": request.vif.mtu - 50}\n'
        '@script.verb\ndef update(request): return {"bridge": "bé"}'
    )

    assert parse_reply("plug", script("plug", request()).stdout.encode()) == {"vif": {"mtu": 1400}}
    assert script("update", request("update")).reply == {"vif": {"bridge": "bé"}}


def test_check_returns_or_yields_what_drifted(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef check(request):\n"
        '  if request.vif.details.get("tag") == 5: yield Drift("tag", 5, 7)\n'
    )
    drifted = script("check", request("check", details={"tag": 5})).stdout.encode()

    assert parse_reply("check", drifted) == {
        "ok": False,
        "drift": [{"what": "tag", "expected": 5, "found": 7}],
    }
    assert script("check", request("check")).reply == {"ok": True}


def test_what_the_author_and_his_commands_print_never_reaches_the_reply(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n"
        '  print("printed"); import os, sys; os.system("echo shell"); os.write(1, b"raw\\n")\n'
        '  sys.__stdout__.write("late\\n"); log("logged")\n'
        '  return {"mtu": 1400}'
    )
    called = script("plug", request())

    assert called.reply == {"vif": {"mtu": 1400}}
    assert called.log == ["printed", "shell", "raw", "logged", "late"]


def test_what_the_author_starts_cannot_read_the_request(author: Author) -> None:
    script = author.python('@script.verb\ndef plug(request): import os; log(repr(os.popen("cat").read()))')

    assert script("plug", request()).log == ["''"]


@pytest.mark.parametrize("verb", ["nonsense", "activate", "check", "plug;id", "PLUG", "__init__", "é"])
def test_an_unknown_verb_is_a_usage_error_before_anything_is_read(author: Author, verb: str) -> None:
    called = author.python("")(verb, b"this is no JSON")

    assert called.status == 64
    assert called.error == {
        "code": "verb_not_supported",
        "message": f"unknown verb {verb!r}: info, plug, unplug are known",
    }


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        ('BadDetails("no such fabric")', 65, {"code": "bad_details", "message": "no such fabric"}),
        ('BackendUnavailable("gone")', 69, {"code": "backend_unavailable", "message": "gone"}),
        (
            'BackendUnavailable("restarts", after=2)',
            69,
            {"code": "backend_unavailable", "message": "restarts", "retry_after": 2},
        ),
        (
            'RetryLater("busy", after=1.5)',
            75,
            {"code": "retry_later", "message": "busy", "retry_after": 1.5},
        ),
        ('Failed("it broke")', 1, {"code": "failed", "message": "it broke"}),
        ('VerbNotSupported("not so")', 64, {"code": "verb_not_supported", "message": "not so"}),
        ('SystemExit("sorry")', 1, {"code": "failed", "message": "sorry"}),
        ('Failed("\\udcff \\x00")', 1, {"code": "failed", "message": "\\udcff \x00"}),
        ('Failed("x" * 3_000_000)', 1, {"code": "failed", "message": "x" * 1000}),
    ],
)
def test_an_error_is_a_status_and_an_object(
    author: Author, raised: str, status: int, error: dict[str, object]
) -> None:
    called = author.python(f"@script.verb\ndef plug(request): raise {raised}")("plug", request())

    assert called.status == status
    assert called.error == error


def test_an_exit_status_of_the_authors_own_is_kept(author: Author) -> None:
    script = author.python("@script.verb\ndef plug(request): sys.exit(request.vif.details['status'])")

    assert [script("plug", request(details={"status": n})).status for n in (0, 3, 69)] == [0, 3, 69]


def test_an_exception_is_one_line_for_the_caller_and_a_traceback_for_the_log(author: Author) -> None:
    script = author.python('@script.verb\ndef plug(request):\n  import json\n  json.loads("{")')
    called = script("plug", request())

    assert called.status == 1
    assert called.error["message"].startswith("JSONDecodeError: Expecting property name")
    line = script.path.read_text().splitlines().index('  json.loads("{")') + 1
    assert called.error["message"].endswith(f"(s, line {line})")  # the author's line, not json's
    assert called.log[0] == "Traceback (most recent call last):"
    assert called.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "returned", "words"),
    [
        ("plug", "[1]", "plug returned [1]: it returns nothing, or a dict of what vif may hold in the reply"),
        ("plug", "{'x': {1, 2}}", "{1, 2} is not JSON"),
        ("plug", "{'x': float('nan')}", "not JSON compliant"),
        ("plug", "{'x': 'y' * 1_100_000}", "bytes long, and the host reads"),
        ("unplug", "{'mtu': 5}", "unplug returned {'mtu': 5}: it returns nothing"),
        ("check", "False", "check returned False: it returns a list of Drift"),
        ("check", "{'ok': True}", "it returns a list of Drift"),
        ("check", "['tag']", "check returned 'tag' among its Drift"),
    ],
)
def test_what_cannot_be_a_reply_is_said(author: Author, verb: str, returned: str, words: str) -> None:
    called = author.python(f"@script.verb\ndef {verb}(request): return {returned}")(verb, request(verb))

    assert called.status == 1
    assert words in called.error["message"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"{", "the request is not JSON: Expecting property name"),
        (b"{} {}", "the request is not JSON: Extra data"),
        (b'{"deadline": NaN}', "the request is not JSON: NaN is not JSON"),
        (b"\xff", "the request is not JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "the request is not JSON"),
        (b"[1]", "the request is not a JSON object"),
        (b'{"vif": 1}', "the request's vif is 1, not an object"),
        (b'{"vif": {"id": 1}}', "the request's vif.id is 1, not text"),
        (b'{"vif": {"mtu": true}}', "the request's vif.mtu is True, not a whole number"),
        (b'{"network": {"subnets": [1]}}', "the request's network.subnets is 1, not an object"),
        (b'{"deadline": "5"}', "the request's deadline is '5', not a number"),
    ],
)
def test_a_request_that_is_none_is_said(author: Author, sent: bytes, words: str) -> None:
    called = author.python("")("plug", sent)

    assert called.status == 1
    assert words in called.error["message"]


def test_a_host_that_is_gone_gets_no_traceback(author: Author) -> None:
    script = author.python('@script.verb\ndef plug(request): return {"mtu": 1}')
    process = subprocess.Popen(
        [script.path, "plug"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=BY_HAND,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()

    assert process.wait(30) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_log_that_nobody_takes_stops_no_plug_halfway(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n  print('hello', end=''); log('hello'); run('sh', '-c', 'echo words >&2')\n"
        "  import subprocess; subprocess.run(['true'], stdout=sys.stdout)\n"
        "  return {'mtu': 5}"
    )
    done = subprocess.run(
        ["sh", "-c", f"{script.path} plug 2>/dev/full </dev/null"],
        env=BY_HAND,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, b'{"vif": {"mtu": 5}}\n')


def test_closed_descriptors_are_no_traceback(author: Author) -> None:
    script = author.python("")
    done = subprocess.run(
        ["sh", "-c", f"{script.path} plug <&- >&-"], env=BY_HAND, capture_output=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == b"blue: [Errno 9] Bad file descriptor\n"


@pytest.mark.parametrize(("arguments", "status"), [("", 64), ("-h", 0), ("--help", 0)])
def test_somebody_who_calls_it_by_hand_is_helped(author: Author, arguments: str, status: int) -> None:
    script = author.python(
        "",
        'details={"bridge": {"type": "string", "description": "to join"}, "tag": {"type": "integer", "default": 7}},'
        'required=["bridge"]',
    )
    called = script(arguments)

    assert called.status == status
    assert "blue 0, a plug script for vifplug" in called.stdout
    assert "VERB is one of info, plug, unplug." in called.stdout
    assert "  bridge (string, required)  to join\n  tag (integer, default 7)\n" in called.stdout


def test_a_script_without_unplug_says_so(author: Author) -> None:
    script = author.python("")
    script.path.write_text(script.path.read_text().replace("def unplug", "def update"))
    called = script("info")

    assert called.status == 1
    assert called.log == ["blue: there is no function unplug, which every plug script has"]


def test_a_function_whose_name_is_no_verb_is_refused() -> None:
    script = plugscript.Script("blue")
    with pytest.raises(ValueError, match="'plugg' is not a verb; verbs are plug, unplug, check"):

        @script.verb
        def plugg(request: plugscript.Request) -> None: ...


def test_a_start_brings_nothing_that_is_slow_to_import() -> None:
    loaded = "print(*sorted(sys.modules))"
    bare = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", f"import sys; {loaded}"], capture_output=True, text=True, check=True
    )
    ours = subprocess.run(
        [
            "/usr/bin/python3",
            "-IS",
            "-c",
            f"import sys; sys.path.insert(0, {str(SDK)!r}); import plugscript; {loaded}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(ours.stdout.split()) - set(bare.stdout.split()) <= {
        "__future__", "plugscript", "os", "os.path", "posixpath", "genericpath", "stat", "_stat", "_collections_abc",
    }  # fmt: skip


def test_a_whole_call_needs_no_json_module_either(author: Author) -> None:
    script = author.python(
        '@script.verb\ndef plug(request):\n  run("true")\n  log(*sorted({"json", "re", "enum", "subprocess", "typing"} '
        "& set(sys.modules)))\n  return {'mtu': 5}"
    )
    called = script("plug", request(details={"text": "é\n\U0001f600"}))

    assert called.reply == {"vif": {"mtu": 5}}
    assert called.log == [""]


def test_where_the_json_modules_inside_is_not_to_be_had_the_module_is_used(author: Author) -> None:
    script = author.python('@script.verb\ndef plug(request): return {"mtu": request.vif.mtu, "bridge": "é"}')
    text = script.path.read_text().replace(
        "import plugscript\n", "sys.modules['_json'] = None\nimport plugscript\n", 1
    )
    script.path.write_text(text)
    called = script("plug", request())

    assert called.reply == {"vif": {"mtu": 1450, "bridge": "é"}}


def test_it_is_valid_for_the_oldest_python_that_it_promises() -> None:
    import ast

    ast.parse(Path(plugscript.__file__).read_text(), feature_version=(3, 9))
    assert sys.version_info >= (3, 11)
