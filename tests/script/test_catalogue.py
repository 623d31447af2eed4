"""Which scripts may run: names, paths, pins, settings, and the list of them all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trusted import TrustedDir
from vifplug.config import ScriptSettings
from vifplug.errors import ConfigError, ScriptNotFound, ScriptNotTrusted
from vifplug.script.catalogue import Catalogue, Entry

WRONG = "0" * 64


def reason(
    place: TrustedDir, name: str, script: dict[str, ScriptSettings] | None = None, **trust: Any
) -> str:
    with pytest.raises(ScriptNotTrusted) as caught:
        Catalogue(place.config(script=script, **trust)).find(name)
    return str(caught.value.context["reason"])


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-rf", ".hidden", "+x", "a b", "a;b", "ü", "x" * 129, "~", "a*"]
)
def test_a_name_that_is_none_is_refused(trusted_dir: TrustedDir, name: str) -> None:
    assert "a name is 1 to 128 of the characters" in reason(trusted_dir, name)


@pytest.mark.parametrize("name", ["a/b", "../s", "./s", "scripts.d/s"])
def test_a_relative_path_is_refused(trusted_dir: TrustedDir, name: str) -> None:
    trusted_dir.write("s", ":")
    assert "neither a bare name nor an absolute path" in reason(trusted_dir, name)


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x00", "/usr/bin/\ud800", "a\u202eb", "/usr/bin/x\x7f", "\x1b[2J"]
)
def test_names_that_cannot_be_printed_are_refused_and_not_repeated(
    trusted_dir: TrustedDir, name: str
) -> None:
    with pytest.raises(ScriptNotTrusted, match="cannot be printed") as caught:
        Catalogue(trusted_dir.config()).find(name)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "path", ["/usr/bin/../bin/x", "//usr/bin/x", "/usr//bin/x", "/usr/bin/./x", "/usr/bin/x/", "/usr/bin/.."]
)
def test_a_path_that_is_not_in_plain_form_is_refused(trusted_dir: TrustedDir, path: str) -> None:
    assert "not in plain form; that would be /usr" in reason(
        trusted_dir, path, allow=["/usr/bin/*", "/*/*/*/*"]
    )


@pytest.mark.parametrize(
    "ending", ["~", ".bak", ".old", ".orig", ".dpkg-old", ".dpkg-new", ".rpmsave", ".swp"]
)
def test_what_editors_and_package_managers_leave_behind_does_not_run(
    trusted_dir: TrustedDir, ending: str
) -> None:
    path = trusted_dir.write("s" + ending, ":")
    assert "left behind" in reason(trusted_dir, str(path), allow=[f"{trusted_dir.path}/*"])
    with pytest.raises(ScriptNotTrusted):
        Catalogue(trusted_dir.config()).find("s" + ending)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.one_of(st.text(), st.text().map(lambda text: "/" + text), st.text(alphabet="./a-~*[")))
def test_any_name_is_found_or_refused_in_words(trusted_dir: TrustedDir, name: str) -> None:
    trusted_dir.write("a", ":")
    catalogue = Catalogue(trusted_dir.config(allow=["/*", "/run/*"]))
    try:
        found = catalogue.find(name)
    except (ScriptNotFound, ScriptNotTrusted) as error:
        assert error.message.isprintable()
    else:
        assert found.path == f"{trusted_dir.path}/a"


# --- directories and patterns -----------------------------------------------------------------


def test_the_first_directory_that_has_the_name_decides(trusted_dir: TrustedDir) -> None:
    first, second = (trusted_dir.path / name for name in ("first", "second"))
    for directory in (first, second):
        directory.mkdir()
        TrustedDir(directory).write("s", ":")
    places = [f"{trusted_dir.path}/missing", str(first), str(second)]
    assert Catalogue(trusted_dir.config(directories=places)).find("s").path == f"{first}/s"
    assert Catalogue(trusted_dir.config(directories=places[::-1])).find("s").path == f"{second}/s"


def test_a_refused_script_does_not_let_another_of_its_name_run(trusted_dir: TrustedDir) -> None:
    first, second = (trusted_dir.path / name for name in ("first", "second"))
    for directory in (first, second):
        directory.mkdir()
        TrustedDir(directory).write("s", ":")
    (first / "s").chmod(0o777)
    assert "may be written by everybody" in reason(trusted_dir, "s", directories=[str(first), str(second)])


def test_a_path_must_match_the_allow_list(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("neutron-x-vif-plug", ":")
    allow = [f"{trusted_dir.path}/neutron-*-vif-plug"]
    assert Catalogue(trusted_dir.config(allow=allow)).find(str(path)).path == str(path)
    assert "matches nothing in trust.allow (/usr/bin/neutron-*-vif-plug)" in reason(
        trusted_dir, "/bin/sh", allow=["/usr/bin/neutron-*-vif-plug"]
    )
    assert "trust.allow (empty)" in reason(trusted_dir, "/bin/sh")


def test_a_star_does_not_cross_a_slash(trusted_dir: TrustedDir) -> None:
    below = trusted_dir.path / "neutron-a"
    below.mkdir()
    path = TrustedDir(below).write("b-vif-plug", ":")
    assert "matches nothing" in reason(
        trusted_dir, str(path), allow=[f"{trusted_dir.path}/neutron-*-vif-plug"]
    )


def test_who_asks_by_path_for_what_has_a_name_is_told_the_name(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", ":")
    assert reason(trusted_dir, str(path)).endswith('ask for it by its name, "s"')


@pytest.mark.parametrize("key", ["directories", "allow"])
def test_a_place_that_is_not_absolute_is_a_mistake_in_the_configuration(
    trusted_dir: TrustedDir, key: str
) -> None:
    with pytest.raises(ConfigError, match=f"trust.{key}: 'scripts' is not an absolute path"):
        Catalogue(
            trusted_dir.config(directories=["scripts"] if key == "directories" else [], allow=["scripts"])
        )


def test_the_packaged_scripts_come_last_and_can_be_left_out(trusted_dir: TrustedDir) -> None:
    packaged = Catalogue(trusted_dir.config(packaged=True)).entries()
    assert "linux-bridge" in [entry.name for entry in packaged]
    trusted_dir.write("linux-bridge", ":")
    found = Catalogue(trusted_dir.config(packaged=True)).find("linux-bridge")
    assert found.path == f"{trusted_dir.path}/linux-bridge"
    assert [entry.name for entry in Catalogue(trusted_dir.config()).entries()] == ["linux-bridge"]


# --- pins and settings ------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_a_pinned_script_runs_as_long_as_it_is_what_was_pinned(trusted_dir: TrustedDir, prefix: str) -> None:
    path = trusted_dir.write("s", ":")
    digest = Catalogue(trusted_dir.config()).find("s").digest
    pin = {"s": ScriptSettings(sha256=prefix + digest.removeprefix("sha256:"))}
    assert Catalogue(trusted_dir.config(script=pin)).find("s").settings == pin["s"]
    path.write_text("#!/bin/sh\necho other\n")
    found = Catalogue(trusted_dir.config()).find("s").digest
    assert reason(trusted_dir, "s", pin) == (
        f"{path} is not what the configuration pins: [script.s] expects {digest}, found {found}: if this change was "
        "meant, set sha256 to that"
    )


def test_a_pin_in_capitals_is_the_same_pin(trusted_dir: TrustedDir) -> None:
    trusted_dir.write("s", ":")
    digest = Catalogue(trusted_dir.config()).find("s").digest.removeprefix("sha256:").upper()
    assert Catalogue(trusted_dir.config(script={"s": ScriptSettings(sha256=digest)})).find("s")


@pytest.mark.parametrize("pin", ["", "abc", "g" * 64, WRONG + "0", "md5:" + WRONG])
def test_a_pin_that_is_no_digest_is_a_mistake_in_the_configuration(trusted_dir: TrustedDir, pin: str) -> None:
    with pytest.raises(ConfigError, match=r"script\.s\.sha256"):
        Catalogue(trusted_dir.config(script={"s": ScriptSettings(sha256=pin)}))


def test_a_pin_holds_whatever_name_the_script_is_reached_by(trusted_dir: TrustedDir) -> None:
    path = trusted_dir.write("s", ":")
    (trusted_dir.path / "alias").symlink_to("s")
    for key in ("s", str(path)):
        pin = {key: ScriptSettings(sha256=WRONG)}
        for name in ("s", "alias", str(path)):
            assert "configuration pins" in reason(trusted_dir, name, pin, allow=[str(path)])


def test_settings_of_a_name_are_not_those_of_a_like_named_file_elsewhere(trusted_dir: TrustedDir) -> None:
    """A grant to the script "s" must not widen another file of that name that the allow list reaches."""
    trusted_dir.write("s", ":")
    other = trusted_dir.path / "other"
    other.mkdir()
    path = TrustedDir(other).write("s", ":")
    grant = {"s": ScriptSettings(capabilities=["CAP_SYS_ADMIN"])}
    catalogue = Catalogue(trusted_dir.config(script=grant, allow=[str(path)]))
    assert catalogue.find("s").settings == grant["s"]
    assert catalogue.find(str(path)).settings == ScriptSettings()


# --- the list ---------------------------------------------------------------------------------


def listed(place: TrustedDir, **trust: Any) -> dict[str, Entry]:
    return {entry.path: entry for entry in Catalogue(place.config(**trust)).entries()}


def test_the_list_has_what_would_run_and_why_the_rest_would_not(trusted_dir: TrustedDir) -> None:
    first, second, bin_ = (trusted_dir.path / name for name in ("first", "second", "bin"))
    for directory in (first, second, bin_):
        directory.mkdir()
    TrustedDir(first).write("good", ":")
    TrustedDir(first).write("open", ":", mode=0o777)
    TrustedDir(first).write("good.dpkg-old", ":")
    TrustedDir(first).write("README.md", ":")
    TrustedDir(first).write(".hidden", ":")
    TrustedDir(second).write("good", ":")
    TrustedDir(bin_).write("neutron-x-vif-plug", ":")
    entries = listed(
        trusted_dir, directories=[str(first), str(second), "/nowhere"], allow=[f"{bin_}/neutron-*-vif-plug"]
    )
    assert {path: (entry.name, entry.ok) for path, entry in entries.items()} == {
        f"{first}/good": ("good", True),
        f"{first}/open": ("open", False),
        f"{first}/good.dpkg-old": ("good.dpkg-old", False),
        f"{second}/good": ("good", False),
        f"{bin_}/neutron-x-vif-plug": (f"{bin_}/neutron-x-vif-plug", True),
    }
    digest = entries[f"{first}/good"].digest
    assert digest is not None
    assert digest.startswith("sha256:")
    assert "may be written by everybody" in (entries[f"{first}/open"].reason or "")
    assert "left behind" in (entries[f"{first}/good.dpkg-old"].reason or "")
    assert entries[f"{second}/good"].reason == f"hidden by {first}/good, which is found first"


def test_the_list_can_be_shown_whatever_the_names_are(trusted_dir: TrustedDir) -> None:
    for name in (b"a\nb", b"\xff\xfe", b"\x1b[2J"):
        path = os.fsencode(trusted_dir.path) + b"/" + name
        Path(os.fsdecode(path)).touch(mode=0o755)
    for entry in Catalogue(trusted_dir.config()).entries():
        assert not entry.ok
        for text in (entry.name, entry.path, entry.reason):
            assert text is not None
            assert text.isprintable()
