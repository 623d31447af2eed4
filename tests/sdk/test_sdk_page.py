"""The page for authors: its scripts run, and its lines are what comes out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import plugscript
from sdk_author import SDK, SHELL_SDK, Author, Script

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-script.md"
TAP = "tap4c1b1b0a-7d"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(params=["python", "sh"])
def blue(request: pytest.FixtureRequest, author: Author, netns: None) -> Script:
    library = author.place.path
    for file in (SDK / "plugscript.py", SHELL_SDK):
        shutil.copy(file, library)
    (library / "scripts").mkdir()
    return Script(author.place.write("scripts/blue", block(request.param)), [])


def ip(arguments: str) -> str:
    return subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True).stdout


def test_the_scripts_of_the_page_do_what_it_says(blue: Script) -> None:
    ip("link add br0 type bridge")
    ip(f"tuntap add {TAP} mode tap")
    details = {"VIF_DETAILS_BRIDGE": "br0", "VIF_DETAILS_ISOLATED": "true"}
    for _ in range(2):
        assert blue("plug", None, **details).reply == {}
    assert "isolated on" in ip(f"-d link show dev {TAP}")
    assert blue("check", None, **details).reply == {"ok": True}
    ip(f"link set {TAP} nomaster")
    assert blue("check", None, **details).reply["drift"] == [
        {"what": "bridge", "expected": "br0", "found": None}
    ]
    ip(f"link delete {TAP}")
    for _ in range(2):
        assert blue("unplug", None, **details).reply == {}
    assert blue("plug").error["message"] == "vif_details.bridge is missing (the bridge to join)"
    own = blue("plug", None, VIF_DETAILS_BRIDGE=TAP)
    assert own.error["message"] == "vif_details.bridge is the guest's own device"


def test_by_hand_it_is_as_the_page_shows(blue: Script) -> None:
    called = blue("plug", None, VIFPLUG_DRY_RUN="1", VIF_DEVNAME="tap0", VIF_DETAILS_BRIDGE="br0")
    shown = [line for line in block("console").splitlines() if line.startswith("#vifplug")]

    assert called.stderr.splitlines() == shown


def test_the_page_names_what_there_is() -> None:
    text = PAGE.read_text()

    for name in plugscript.__all__:
        assert name in text or name in ("Error", "Request", "Script", "VerbNotSupported")
    for function in re.findall(r"^([a-z]\w*)\(\) \{", SHELL_SDK.read_text(), re.MULTILINE):
        assert f"{function} " in text
