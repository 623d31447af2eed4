"""Every case quotes the contract: its sentence stands there, under that heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vifplug.conformance import CASES, Case

CONTRACT = Path(__file__).resolve().parents[2] / "docs" / "contract.md"


def plain(text: str) -> str:
    """Without Markdown, line breaks and the letters' case."""
    text = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text.replace("\\|", "|"))
    return re.sub(r"\s+", " ", re.sub(r"[`*]", "", text).replace("|", " ")).casefold().strip()


def sections() -> dict[str, str]:
    """The text under each heading, by the anchor that GitHub gives it."""
    found: dict[str, str] = {}
    for part in re.split(r"(?m)^## ", CONTRACT.read_text()):
        heading, _, text = part.partition("\n")
        anchor = re.sub(r"[^a-z0-9 -]", "", heading.casefold()).replace(" ", "-")
        found[anchor] = plain(text)
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_a_case_quotes_the_contract(case: Case) -> None:
    found = sections()

    assert case.anchor in found, f"the contract has no heading #{case.anchor}"
    assert plain(case.sentence) in found[case.anchor]
