"""What plugscript.sh writes as JSON is what was meant, whatever that is, in three shells."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk_author import PATH, SHELL_SDK

#: writes each word that it reads (they end with \1, and \2 stands for a newline) as JSON, one per line
_ESCAPE_ALL = r"""
set -- info
. "$0"
newline='
'
while IFS= read -r word; do
    text=''
    while :; do
        part=${word%%@newline@*}
        text=$text$part
        [ "$part" != "$word" ] || break
        text=$text$newline
        word=${word#"$part"@newline@}
    done
    _to_json "$text"
    printf '%s\n' "$_json"
done
"""


class Escaper:
    """One process of a shell that escapes word after word."""

    def __init__(self, shell: list[str], locale: str) -> None:
        self._process = subprocess.Popen(
            [*shell, "-c", _ESCAPE_ALL, str(SHELL_SDK)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": PATH, "LC_ALL": locale},
        )

    def __call__(self, text: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.replace("\n", "@newline@").encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().decode()

    def close(self) -> None:
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


@pytest.fixture(scope="module", params=["dash", "busybox sh", "bash --posix"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split()


@pytest.fixture(scope="module", params=["C", "C.UTF-8"])
def escaper(request: pytest.FixtureRequest, shell: list[str]) -> Iterator[Escaper]:
    escaper = Escaper(shell, request.param)
    yield escaper
    escaper.close()


#: what the environment can carry: anything but NUL and what is not UTF-8
_TEXT = st.text(
    st.sampled_from("\"\\\n\t\x01\x1f\x7f\x80\x9f ]['*?$`!^-/%é\U0001f600 ab")
    | st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    max_size=40,
).filter(lambda text: "@newline@" not in text)


@settings(max_examples=60, deadline=None)
@given(text=_TEXT)
def test_any_text_comes_back_from_json_as_it_was(escaper: Escaper, text: str) -> None:
    line = escaper(text)

    assert json.loads(line) == text
    assert line.endswith('"\n')
    assert not any(ord(character) < 32 for character in line[:-1])


def test_each_control_character_is_escaped(escaper: Escaper) -> None:
    for code in range(1, 32):
        assert escaper(f"a{chr(code)}b") == f'"a\\u{code:04x}b"\n'


def test_utf_8_is_passed_on_as_it_is(escaper: Escaper) -> None:
    assert escaper("müller \x7f\x85  \U0001f600") == '"müller \x7f\x85  \U0001f600"\n'
