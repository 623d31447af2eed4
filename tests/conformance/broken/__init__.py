"""Plug scripts that are broken on purpose, one for each case: a good script with one thing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct, field

GOOD = Path(__file__).resolve().parent.parent / "good"


class Mutant(Struct, frozen=True, kw_only=True):
    """A good script's name, what is replaced in it, and what the subject has besides."""

    good: str = "plain"
    changes: dict[str, str] = field(default_factory=dict)
    subject: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The broken script. Fails for a change that changes nothing."""
        text = (GOOD / self.good).read_text()
        for old, new in self.changes.items():
            assert text.count(old) >= 1, f"{self.good} has no {old!r}"
            text = text.replace(old, new, 1)
        return text


def at(verb: str, code: str, *, good: str = "plain", **subject: Any) -> Mutant:
    """``code`` before what the verb does."""
    return Mutant(good=good, changes={f"\n{verb}() {{\n": f"\n{verb}() {{\n    {code}\n"}, subject=subject)


def change(old: str, new: str, *, good: str = "plain", **subject: Any) -> Mutant:
    """``new`` in the place of ``old``."""
    return Mutant(good=good, changes={old: new}, subject=subject)


def when(pattern: str, code: str = "exit 1", *, verb: str = "plug", **subject: Any) -> Mutant:
    """``code`` before what the verb does, if its request looks like ``pattern``."""
    return at(verb, f"case $(cat) in {pattern}) {code} ;; esac", **subject)
