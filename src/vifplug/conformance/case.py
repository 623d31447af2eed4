"""A case: one promise of the contract, and a function that asks a script to keep it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from .kit import Came, Kit

Verdict = Literal["ok", "failed", "not applicable"]


class Broken(Exception):
    """The script did not keep its promise. ``came`` is the call that showed it."""

    def __init__(self, why: str, came: Came | None = None) -> None:
        super().__init__(why)
        self.came = came


class NotApplicable(Exception):
    """The promise does not concern this script; the message says why."""


class Result(Struct, frozen=True, kw_only=True):
    """What became of one case."""

    topic: str
    name: str
    #: what the case looks at, in a few words
    title: str
    verdict: Verdict
    #: why it failed, or is not applicable
    reason: str = ""
    #: the call that showed it
    asked: str = ""
    came: str = ""
    #: what the contract says, word for word, and where (docs/contract.md#…)
    sentence: str = ""
    anchor: str = ""
    seconds: float = 0.0


class Case(Struct, frozen=True, kw_only=True):
    """One case of the kit."""

    topic: str
    name: str
    title: str
    sentence: str
    anchor: str
    run: Callable[[Kit], None]

    def result(
        self, verdict: Verdict, reason: str = "", *, asked: str = "", came: str = "", seconds: float = 0.0
    ) -> Result:
        return Result(
            topic=self.topic, name=self.name, title=self.title, verdict=verdict, reason=reason, asked=asked,
            came=came, sentence=self.sentence, anchor=self.anchor, seconds=seconds,
        )  # fmt: skip


#: every case by its name, in the order of the report
CASES: dict[str, Case] = {}


def case(
    topic: str, name: str, title: str, *, anchor: str, says: str
) -> Callable[[Callable[[Kit], None]], Callable[[Kit], None]]:
    """Make a function a case. ``says`` is the sentence of the contract, under the heading ``anchor``."""

    def register(function: Callable[[Kit], None]) -> Callable[[Kit], None]:
        CASES[name] = Case(topic=topic, name=name, title=title, sentence=says, anchor=anchor, run=function)
        return function

    return register
