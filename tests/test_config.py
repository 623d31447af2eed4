"""The configuration: every key, every mistake with its line, and nobody else's file."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.config import Config, load, loader
from vifplug.config.check import dotted
from vifplug.config.example import example
from vifplug.config.loader import Loaded, _lines
from vifplug.errors import ConfigError
from vifplug.script.contract import Info

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def no_file_of_this_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader, "DEFAULT_PATH", str(tmp_path / "default.toml"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the text as a configuration file; its path."""

    def one(text: str) -> str:
        file = tmp_path / "vifplug.toml"
        file.write_text(text)
        file.chmod(0o644)
        return str(file)

    return one


def _mistakes(path: str) -> list[str]:
    """The lines of the error, each without the path."""
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    lines = caught.value.message.splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_without_a_file_the_defaults_hold() -> None:
    loaded = load(None, {})
    assert loaded.config == Config()
    assert loaded.path is None
    assert set(loaded.origins.values()) == {"default"}


def test_each_key_says_where_it_comes_from(write: Write) -> None:
    path = write(
        '# ours\nworkers = 3\n\n[trust]\nallow = [\n  "/opt/*",\n]\n'
        '[script."a.sh"]\ndeadlines.plug = 9\n[script."a.sh".environment]\nX = "1"\n'
    )
    loaded = load(path, {"VIFPLUG_STATE_DIR": "/run/mine"})
    assert loaded.config.workers == 3
    assert loaded.config.trust.allow == ["/opt/*"]
    assert loaded.config.script["a.sh"].deadlines == {"plug": 9.0}
    assert loaded.config.state_dir == "/run/mine"
    told = {key: origin for key, origin in loaded.origins.items() if origin != "default"}
    assert told == {
        "state_dir": "VIFPLUG_STATE_DIR",
        "workers": f"{path}:2",
        "trust.allow": f"{path}:5",
        'script."a.sh".deadlines': f"{path}:9",
        'script."a.sh".environment': f"{path}:10",
    }


def test_the_option_goes_before_the_environment_which_goes_before_the_default(
    write: Write, tmp_path: Path
) -> None:
    named = write("workers = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("workers = 2\n")
    assert load(named, {"VIFPLUG_CONFIG": str(other)}).config.workers == 1
    assert load(None, {"VIFPLUG_CONFIG": str(other)}).config.workers == 2
    assert load(None, {"VIFPLUG_CONFIG": ""}).config.workers == Config().workers
    (tmp_path / "default.toml").write_text("workers = 3\n")
    assert load(None, {"VIFPLUG_CONFIG": str(other)}).config.workers == 2
    assert load(None, {}).config.workers == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("state_dir = 'relative'", '1: state_dir = "relative": must be an absolute path'),
        ("\nworkers = 0", "2: workers = 0: must be a whole number, 1 to 1024"),
        ("workers = true", "1: workers = true: must be a whole number"),
        ("lock_wait = nan", "1: lock_wait = NaN: must be a number of seconds, more than 0"),
        ("lock_wait = inf", "1: lock_wait = Infinity: must be a number of seconds"),
        ("lock_wait = 1979-05-27", '1: lock_wait = "1979-05-27": must be a number of seconds'),
        ("worker = 3", "1: unknown key worker; did you mean workers?"),
        ("trust = 3", "1: trust = 3: must be a table: [trust]"),
        ("script = 3", "1: script = 3: must be a table"),
        ("[[trust]]", "1: trust = [{}]: must be a table: [trust]"),
        ("[trust]\npackaged = 'yes'", '2: trust.packaged = "yes": must be true or false'),
        ("[trust]\nallow = '/x'", '2: trust.allow = "/x": must be a list, each entry an absolute path'),
        ("[trust]\nallow = ['/x', 'y']", '2: trust.allow = "y": must be an absolute path'),
        ("[trust]\nowners = [-1]", "2: trust.owners = -1: must be a numeric user id"),
        ("[trust]\nowners = ['root']", '2: trust.owners = "root": must be a numeric user id'),
        ("[deadlines]\nplugg = 3", "2: unknown key deadlines.plugg; did you mean plug?"),
        ("[deadlines]\nplug = 0", "2: deadlines.plug = 0: must be a number of seconds, more than 0"),
        ("[device]\nowner = 'nobody-here'", '2: device.owner = "nobody-here": must be the name of a user on this host'),
        ("[device]\nowner = ''", '2: device.owner = "": must be the name of a user'),
        ("[device]\ngroup = 'none-such'", "2: device.group"),
        ("[log]\nkeep_days = 0", "2: log.keep_days = 0: must be a number of days"),
        ("[log]\nmax_bytes = 10", "2: log.max_bytes = 10: must be a whole number of bytes, 1024 to"),
        ("[script.a]\nsha256 = 'abc'", '2: script.a.sha256 = "abc": must be the 64 hexadecimal digits'),
        ("[script.a]\ncapabilities = ['CAP_SYS_ADMN']", '"CAP_SYS_ADMN" is no capability; did you mean CAP_SYS_ADMIN?'),
        ("[script.a]\ncapabilities = ['sys_admin']", "did you mean CAP_SYS_ADMIN?"),
        ("[script.a]\ndeadlines = { plg = 3 }", '"plg" is no verb (verbs: plug, unplug'),
        ("[script.a]\ndeadlines = { grace = 3 }", '"grace" is no verb'),
        ("[script.a]\ndeadlines = { plug = -3 }", "2: script.a.deadlines.plug = -3: must be a number of seconds"),
        ("[script.a]\nenvironment = { 'A=B' = 'x' }", "not a name that a variable can have"),
        ("[script.a]\nenvironment = { VIF_ID = 'x' }", "vifplug itself sets"),
        ("[script.a]\nenvironment = { A = 3 }", "2: script.a.environment.A = 3: must be a string"),
        ('[script.a]\nenvironment = { A = "x\\u0000" }', "a variable cannot hold a NUL"),
        ("[script.a]\nlocks = ['a b']", '2: script.a.locks = "a b": must be the name of a lock'),
        ("[script.a]\ndetails = { a = [1] }", "2: script.a.details.a = [1]: must be a string or a whole number or"),
        ("[script.'../x']\n", '1: script."../x": a script is named by a bare name or an absolute path'),
        ("[script.neutron-x.sh]\n", '1: unknown key script.neutron-x.sh; a script\'s name with a dot needs quotes'),
        ("workers = 3\nworkers = 4", "2: not valid TOML: Cannot overwrite a value"),
        ("a = [\n1,\n", "2: not valid TOML:"),
        ("workers 3\n", "1: not valid TOML: Expected '=' after a key in a key/value pair (column 9)"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_its_value_and_what_is_allowed(
    write: Write, text: str, told: str
) -> None:
    [mistake] = _mistakes(write(text))
    assert told in mistake


def test_all_mistakes_are_told_at_once_in_their_order(write: Write) -> None:
    path = write("workers = 0\n[log]\nkeep_calls = 0\n[trust]\nnope = 1\n")
    assert [line.split(":")[0] for line in _mistakes(path)] == ["1", "3", "5"]
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    problems = caught.value.context["problems"]
    assert [problem["key"] for problem in problems] == ["workers", "log.keep_calls", "trust.nope"]


def test_a_value_in_the_environment_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r'VIFPLUG_STATE_DIR: state_dir = "here": must be an absolute path'):
        load(None, {"VIFPLUG_STATE_DIR": "here"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigError, match=re.escape(f"'{missing}' cannot be read: No such file")):
        load(str(missing), {})
    with pytest.raises(ConfigError, match="not a regular file"):
        load(str(tmp_path), {})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        load(str(tmp_path / "pipe"), {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load("/a\0b", {})


def test_a_file_that_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"workers = 1\n\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"binary.toml:2: not UTF-8"):
        load(str(file), {})
    file.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="larger than"):
        load(str(file), {})


# --- who could have written it -------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's configuration must be root's")


@as_root
def test_a_file_that_others_can_write_is_refused(write: Write) -> None:
    path = write("workers = 3\n")
    for mode in (0o666, 0o664, 0o646):
        Path(path).chmod(mode)
        with pytest.raises(
            ConfigError, match=rf"can be written by others than root \(mode {mode:04o}\).*chmod go-w"
        ):
            load(path, {})
    Path(path).chmod(0o644)
    assert load(path, {}).config.workers == 3


@pytest.mark.real_root
@as_root
def test_a_file_of_another_user_is_refused(write: Write) -> None:
    path = write("workers = 3\n")
    os.chown(path, 1234, -1)
    with pytest.raises(ConfigError, match=r"belongs to user 1234, not to root.*chown root"):
        load(path, {})


@as_root
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    file = folder / "vifplug.toml"
    file.write_text("")
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=re.escape(f"{folder} can be written by others than root")):
        load(str(file), {})
    folder.chmod(0o1777)  # as /tmp: others can add names there and cannot take root's away
    assert load(str(file), {}).path == str(file)


@pytest.mark.real_root
@as_root
def test_a_link_is_as_good_as_the_place_it_leads_to(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 1234, -1)
    (folder / "real.toml").write_text("")
    link = tmp_path / "link.toml"
    link.symlink_to(folder / "real.toml")
    with pytest.raises(ConfigError, match=re.escape(f"{folder} belongs to user 1234")):
        load(str(link), {})
    link.unlink()
    link.symlink_to(write("workers = 7\n"))
    assert load(str(link), {}).config.workers == 7


def test_the_locks_of_the_configuration_are_named_as_those_of_a_script_s_info(write: Write) -> None:
    for name in ("iptables", "bridge-{bridge}", "{vlan.id}", "a b", "{", "{}", "", "x" * 65, "a/b"):
        try:
            msgspec.convert({"name": "a", "locks": [name]}, Info)
            allowed = True
        except msgspec.ValidationError:
            allowed = False
        path = write(f"[script.a]\nlocks = ['{name}']\n")
        if allowed:
            assert load(path, {}).config.script["a"].locks == [name]
        else:
            assert "must be the name of a lock" in _mistakes(path)[0]


# --- the example ---------------------------------------------------------------------------------


def test_the_example_changes_nothing(write: Write) -> None:
    assert load(write(example()), {}).config == Config()


def test_the_example_shows_every_key_at_its_default(write: Write) -> None:
    text = (
        re.sub(r"(?m)^#(?=[a-z\[])", "", example())
        .replace('owner = "root"', "")
        .replace('group = "root"', "")
    )
    loaded = load(write(text), {})
    assert msgspec.structs.replace(loaded.config, script={}) == Config()
    keys = {key for key in loaded.origins if not key.startswith("device.")}
    assert all(loaded.origins[key] != "default" for key in keys)
    assert 'script."neutron-example-vif-plug"' not in keys  # a name with dashes alone needs no quotes
    assert any(key.startswith("script.neutron-example-vif-plug.") for key in keys)


def test_the_example_in_the_documentation_is_the_present_one() -> None:
    page = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()
    assert page.split("```toml\n")[1].split("```")[0] == example()


# --- lines of any document -----------------------------------------------------------------------

_key = st.text("abc-_", min_size=1, max_size=4)
_value = st.one_of(st.integers(-5, 5), st.booleans(), st.text("x#[]=\"'\\ \n", max_size=8))


def _toml_string(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"', '\\"') + '"""'


@given(st.dictionaries(_key, st.dictionaries(_key, _value, min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_line_of_a_key_is_where_it_stands(tables: dict[str, dict[str, Any]]) -> None:
    lines: list[str] = []
    expected = {}
    for table, entries in tables.items():
        lines += ["", "# a comment", f"[{table}]"]
        for key, value in entries.items():
            shown = _toml_string(value) if isinstance(value, str) else str(value).lower()
            expected[table, key] = len(lines) + 1
            lines += f"{key} = {shown}".split("\n")
    text = "\n".join(lines)
    assert tomllib.loads(text) == tables
    found = _lines(text)
    assert {key: line for key, line in found.items() if len(key) == 2} == expected


def test_a_key_that_is_no_bare_word_is_quoted() -> None:
    assert dotted(("script", 'a "b".sh', "locks")) == 'script."a \\"b\\".sh".locks'


def test_loaded_unpacks_in_its_documented_order() -> None:
    assert Loaded._fields == ("config", "path", "origins")
