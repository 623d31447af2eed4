"""The kit as a library and as a command, on a small good script."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from lxml import etree  # type: ignore[import-untyped]  # it ships no types

from conformance.broken import GOOD
from conformance.broken.scripts import BROKEN
from vifplug.cli._frame import run as main
from vifplug.conformance import CASES, BoundCase, Subject, cases, conform
from vifplug.errors import InvalidInput, ScriptNotFound

pytestmark = pytest.mark.slow  # many of them; the fast run has others that walk the same path

BRIDGE = ["ip link add br0 type bridge", "ip link set br0 up"]
OF_2015 = Subject(script=str(GOOD / "of-2015"), details={"bridge": "br0"}, setup=BRIDGE)
ARGUMENTS = ["--details", '{"bridge": "br0"}', "--setup", BRIDGE[0], "--setup", BRIDGE[1]]


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def broken(name: str, tmp_path: Path) -> Path:
    script = tmp_path / "broken"
    script.write_text(BROKEN[name].text())
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("case", cases(OF_2015, only=["verbs"]), ids=str)
def test_an_authors_test_is_five_lines(case: BoundCase) -> None:
    case()


def test_a_case_that_fails_is_an_assertion_that_quotes_the_contract(tmp_path: Path) -> None:
    subject = Subject(script=str(broken("unknown-verb", tmp_path)), details={"bridge": "br0"}, setup=BRIDGE)
    (case,) = cases(subject, only=["unknown-verb"])

    with pytest.raises(AssertionError) as failed:
        case()

    assert "an unknown verb ended with 1, not with 64" in str(failed.value)
    assert "asked: " in str(failed.value)
    assert "exit status 1" in str(failed.value)
    assert "“Any verb that a script does not know must end with status 64”" in str(failed.value)


def test_a_case_that_does_not_apply_is_skipped_with_its_reason() -> None:
    (case,) = cases(OF_2015, only=["activate"])

    with pytest.raises(pytest.skip.Exception, match="its info does not name activate"):
        case()


def test_the_host_is_not_touched(netns: None, tmp_path: Path) -> None:
    before = subprocess.run(["ip", "link"], capture_output=True, check=True).stdout
    listing = names("/run"), names("/var/tmp")

    report = conform(
        msgspec.structs.replace(OF_2015, setup=[*BRIDGE, "touch /run/of-the-kit /var/tmp/x /etc/of-the-kit"]),
        only=["plug-connects"],
    )  # fmt: skip

    assert report.ok
    assert subprocess.run(["ip", "link"], capture_output=True, check=True).stdout == before
    assert "of-the-kit" not in (names("/run") - listing[0]) | names("/etc")
    assert "x" not in names("/var/tmp") - listing[1]


def test_a_script_that_is_not_trusted_is_copied_and_that_is_said() -> None:
    report = conform(OF_2015, only=["plug-connects"])

    assert any("a copy of it in a trusted place is tested" in note for note in report.notes)
    assert report.path == "/run/vifplug-conform/lib/scripts/of-2015"


def test_a_shipped_script_is_run_where_it_lies() -> None:
    report = conform(
        Subject(script="linux-bridge", details={"bridge": "br0"}, setup=BRIDGE), only=["plug-connects"]
    )

    assert report.path.endswith("/vifplug/scripts/linux-bridge")
    assert report.notes == []


def test_a_setup_that_fails_is_said_with_its_words() -> None:
    with pytest.raises(
        InvalidInput, match=r"setup: 'echo no such thing; exit 3' ended with exit status 3: no such thing"
    ):
        conform(Subject(script=str(GOOD / "of-2015"), setup=["echo no such thing; exit 3"]))


def test_a_watch_that_fails_is_said_with_its_words() -> None:
    with pytest.raises(
        InvalidInput, match=r"watch: 'echo no switch; exit 3' ended with exit status 3: no switch"
    ):
        conform(msgspec.structs.replace(OF_2015, watch=["echo no switch; exit 3"]))


def test_what_is_watched_must_not_stay_either(tmp_path: Path) -> None:
    script = tmp_path / "leaves"
    script.write_text(
        (GOOD / "of-2015")
        .read_text()
        .replace("plug) ip", "plug) echo $VIF_ID >>/run/vifplug-conform/backend; ip")
    )
    script.chmod(0o755)
    watch = ["touch /run/vifplug-conform/backend; cat /run/vifplug-conform/backend"]

    report = conform(msgspec.structs.replace(OF_2015, script=str(script), watch=watch), only=["nothing-left"])

    assert not report.ok
    assert "+ watch 0000000" in report.results[0].reason


def test_a_script_that_is_not_there_is_said() -> None:
    with pytest.raises(
        ScriptNotFound, match="there is no plug script 'linux-brigde'.*did you mean linux-bridge"
    ):
        conform(Subject(script="linux-brigde"))
    with pytest.raises(InvalidInput, match=r"/nowhere/x cannot be read: No such file"):
        conform(Subject(script="/nowhere/x"))


def test_a_file_that_is_not_executable_is_said(tmp_path: Path) -> None:
    script = broken("plug-connects", tmp_path)
    script.chmod(stat.S_IRUSR)

    with pytest.raises(InvalidInput, match="is not executable: chmod"):
        conform(Subject(script=str(script)))


def test_an_unknown_case_is_said_with_one_like_it() -> None:
    with pytest.raises(InvalidInput, match="there is no case 'plug-agian'; did you mean plug-again"):
        conform(OF_2015, only=["plug-agian"])


def test_the_command_ends_with_0_and_writes_junit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit = tmp_path / "report.xml"

    only = ["--only", "verbs", "--only", "activate"]
    status = main(["conform", str(GOOD / "of-2015"), *ARGUMENTS, *only, "--junit", str(junit)])

    assert status == 0
    assert "conforms: 3 ok, 0 failed, 1 not applicable" in capsys.readouterr().out
    suite = etree.fromstring(junit.read_bytes())[0]
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "0"
    assert [entry.attrib["name"] for entry in suite if entry.find("skipped") is not None] == ["activate"]


def test_the_command_ends_with_1_and_says_what_was_asked_and_what_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit = tmp_path / "report.xml"

    script = ["--path", str(broken("unplug-again", tmp_path))]
    status = main(["conform", *script, *ARGUMENTS, "--only", "unplug-again", "--junit", str(junit)])

    said = capsys.readouterr().out
    assert status == 1
    assert "FAILED  unplug called again succeeds and changes nothing" in said
    assert 'asked: /run/vifplug-conform/lib/scripts/broken unplug <<< {"protocol":1,' in said
    assert "came: exit status 1" in said
    assert "(docs/contract.md#verbs)" in said
    failure = etree.fromstring(junit.read_bytes()).find(".//failure")
    assert failure is not None
    assert "asked: " in (failure.text or "")


def test_json_is_the_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", str(GOOD / "of-2015"), *ARGUMENTS, "--only", "plug-connects", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    (result,) = report["results"]
    assert (result["name"], result["verdict"]) == ("plug-connects", "ok")
    assert report["speed"]["plug"]["median"] > 0


def test_the_list_has_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "--list", "--json"]) == 0

    assert [case["name"] for case in json.loads(capsys.readouterr().out)] == list(CASES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one SCRIPT, or --path FILE"),
        (["x", "--path", "y"], "name one SCRIPT, or --path FILE"),
        (["x", "--details", "{"], "is not JSON"),
        (["x", "--details", "[]"], "is not a JSON object"),
        (["x", "--environment", "A"], "'A' is not NAME=VALUE"),
        (["linux-bridge", "--capability", "CAP_NET_ADMN"], "CAP_NET_ADMIN"),
        (["linux-bridge", "--vif-type", "tap"], "tap"),
        (["linux-bridge", "--keep", "/run/nowhere"], "there is no directory /run/nowhere"),
    ],
)
def test_each_mistake_gets_one_message(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conform", *arguments]) not in (0, 1, 70)

    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


#: a user who finds this checkout and this Python, also where they lie below a home of root's
AS_USER = """
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/root
mount --rbind /root /mnt/root
mount -t tmpfs -o mode=755 tmpfs /root
for path in $NEEDED; do
    case $path in /root/*) mkdir -p "$path"; mount --rbind "/mnt$path" "$path" ;; esac
done
umount -l /mnt
exec setpriv --reuid=1234 --regid=1234 --clear-groups --inh-caps=-all "$@"
"""


@pytest.mark.slow
@pytest.mark.real_root
def test_an_ordinary_user_can_run_it() -> None:
    needed = {str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix, GOOD)}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", AS_USER, "sh", str(Path(sys.executable).parent / "vifplug"),
         "conform", str(GOOD / "of-2015"), *ARGUMENTS, "--only", "plug", "--only", "halfway", "--only", "output"],
        env={**os.environ, "NEEDED": " ".join(needed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "conforms: " in done.stdout, done.stdout + done.stderr
    assert "note: In a user namespace" in done.stdout
    assert done.returncode == 0
