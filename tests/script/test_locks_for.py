"""The named locks that a script asks for, for one VIF."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vifplug.script.contract import Info, locks_for


@pytest.mark.parametrize(
    ("names", "details", "needed"),
    [
        (["iptables"], {}, ["iptables"]),
        (["b", "a", "b"], {}, ["a", "b"]),
        (["bridge.{bridge}"], {"bridge": "br0"}, ["bridge.br0"]),
        (["bridge.{bridge}"], {}, []),
        (["make.{create}"], {"create": False}, []),
        (["make.{create}"], {"create": True}, ["make.True"]),
        (["{a}-{b}"], {"a": 1, "b": 0}, ["1-0"]),
        (["{a}-{b}"], {"a": 1}, []),
        (["{a}"], {"a": "{b}", "b": "x"}, ["{b}"]),
    ],
)
def test_a_detail_in_a_name_gives_a_lock_for_each_value(
    names: list[str], details: dict[str, Any], needed: list[str]
) -> None:
    assert locks_for(names, details) == needed


@pytest.mark.parametrize("name", ["", "{", "}", "a b", "{}", "a{b", "x" * 65, "a\n"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "s", "locks": [name]}, Info)
