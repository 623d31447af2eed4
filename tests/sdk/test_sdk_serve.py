"""Resident scripts: many requests to one process, each answered as if it were alone."""

from __future__ import annotations

import os
import subprocess

from sdk_author import PATH, Author, request


def test_each_request_gets_one_answer_in_order(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n"
        '  if request.vif.mtu == 1: raise RetryLater("busy", after=2)\n'
        "  return {'mtu': request.vif.mtu}\n"
        "@script.verb\ndef check(request): return [Drift('tag', 5, 7)]",
        "resident=True",
    )
    vif = {"id": "x", "devname": "t"}
    answers = script.serve(
        {"verb": "plug", "vif": {**vif, "mtu": 9}},
        {"verb": "plug", "vif": {**vif, "mtu": 1}},
        "",
        {"verb": "check", "vif": vif},
        {"verb": "unplug", "vif": vif},
        {"verb": "nonsense"},
        {},
        "no JSON",
        request("plug"),
    )

    assert answers == [
        {"exit": 0, "reply": {"vif": {"mtu": 9}}},
        {"exit": 75, "error": {"code": "retry_later", "message": "busy", "retry_after": 2}},
        {"exit": 0, "reply": {"ok": False, "drift": [{"what": "tag", "expected": 5, "found": 7}]}},
        {"exit": 0, "reply": {}},
        {"exit": 64, "error": {"code": "verb_not_supported", "message": _unknown("nonsense")}},
        {"exit": 64, "error": {"code": "verb_not_supported", "message": _unknown("None")}},
        {
            "exit": 1,
            "error": {
                "code": "failed",
                "message": "the request is not JSON: Expecting value: line 1 column 1 (char 0)",
            },
        },
        {"exit": 0, "reply": {"vif": {"mtu": 1450}}},
    ]


def _unknown(verb: str) -> str:
    return f"unknown verb '{verb}': info, plug, unplug, check are known"


def test_info_is_answered_too(author: Author) -> None:
    script = author.python("", "resident=True")

    assert script.serve({"verb": "info"}) == [{"exit": 0, "reply": script("info").reply}]


def test_whatever_an_author_does_the_next_request_is_answered(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request): exec(request.vif.details['do'])",
        'details={"do": {"type": "string"}}',
    )
    deeds = [
        "1/0", "sys.exit(3)", "sys.exit()", "sys.exit('so')", "raise MemoryError",
        "(lambda f: f(f))(lambda f: f(f))", "run('false')", "print('x' * 100000)",
    ]  # fmt: skip
    answers = script.serve(*({"verb": "plug", "vif": {"details": {"do": deed}}} for deed in deeds))

    assert [answer["exit"] for answer in answers] == [1, 3, 0, 1, 1, 1, 1, 0]


def test_nothing_of_one_request_is_left_for_the_next(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n  import os\n"
        "  seen = [run('echo').stdout, os.getcwd(), oct(os.umask(0)), list(request.vif.details['list'])]\n"
        "  os.chdir('/proc'); request.vif.details['list'].append(5)\n"
        "  raise Failed(repr(seen))",
        'details={"list": {"type": "array", "default": [1]}}',
    )
    dry, *others = script.serve({"verb": "plug", "dry_run": True}, {"verb": "plug"}, {"verb": "plug"})

    assert dry["error"]["message"] == "['', '/', '0o22', [1]]"
    for other in others:
        assert other["error"]["message"] == r"['\n', '/', '0o22', [1]]"


def test_the_log_of_a_call_is_there_before_its_answer(author: Author) -> None:
    script = author.python("@script.verb\ndef plug(request): print('seen')", "resident=True")
    process = subprocess.Popen(
        [script.path, "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": PATH},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    for _ in range(3):
        process.stdin.write(b'{"verb": "plug"}\n')
        process.stdin.flush()
        assert process.stdout.readline() == b'{"exit": 0, "reply": {}}\n'
        assert process.stderr.read() == b"seen\n"
    process.stdin.close()

    assert process.wait(30) == 0
    assert process.stdout.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_a_reply_that_is_too_long_is_an_error_and_not_the_end(author: Author) -> None:
    script = author.python("@script.verb\ndef plug(request): return {'mtu': 'x' * request.vif.mtu}")
    long, short = script.serve(
        {"verb": "plug", "vif": {"mtu": 2_000_000}}, {"verb": "plug", "vif": {"mtu": 3}}
    )

    assert long["exit"] == 1
    assert "bytes long" in long["error"]["message"]
    assert short == {"exit": 0, "reply": {"vif": {"mtu": "xxx"}}}


def test_what_is_left_of_a_command_is_not_a_zombie(author: Author) -> None:
    script = author.python(
        "@script.verb\ndef plug(request):\n  import os\n  run('true')\n"
        "  raise Failed(ask('sh', '-c', f'cat /proc/{os.getpid()}/task/*/children; echo $$').stdout)"
    )
    answers = script.serve(*({"verb": "plug"} for _ in range(3)))

    for answer in answers:  # its one child is the one that asks
        assert len(set(answer["error"]["message"].split())) == 1
