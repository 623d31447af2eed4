"""What docs/vif-types.md says is what the model does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vifplug.model import VifType, read_binding
from vifplug.model.details import ALIASES, shape_fields
from vifplug.model.reply import ANSWERS
from vifplug.model.vif import PortBinding

PAGE = (Path(__file__).parents[2] / "docs" / "vif-types.md").read_text()
SECTIONS = {name: body for name, _, body in (part.partition("\n") for part in PAGE.split("\n## "))}


def examples(text: str) -> list[str]:
    return re.findall(r"```json\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("example", examples(PAGE))
def test_every_example_is_accepted(example: str) -> None:
    assert read_binding(example).id


@pytest.mark.parametrize("vif_type", VifType)
def test_each_type_has_its_section_with_every_key_and_an_example_of_it(vif_type: VifType) -> None:
    section = SECTIONS[vif_type]
    for key in (*shape_fields(vif_type), *ALIASES.get(vif_type, {})):
        assert f"`{key}`" in section
    assert [read_binding(example).type for example in examples(section)] == [vif_type]


@pytest.mark.parametrize("vif_type", VifType)
def test_the_table_says_what_a_script_may_answer(vif_type: VifType) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| [`{vif_type}`]"))
    answers = set(re.findall(r"`(\w+)`", row.rsplit("|", 2)[1])) - {"devname"}
    assert answers == set(ANSWERS[vif_type])


def test_every_key_of_a_binding_is_explained() -> None:
    for key in PortBinding.__struct_fields__:
        assert f"`{key}`" in SECTIONS["A port binding"]
