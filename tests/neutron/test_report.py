"""What a host tells Neutron: short enough to be kept, and read as it was written."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vifplug.config import Config
from vifplug.host import Host
from vifplug.neutron import report


def entry(name: str, **info: Any) -> dict[str, Any]:
    return {
        "name": name,
        "trusted": True,
        "digest": "sha256:" + "ab" * 32,
        "reason": None,
        "info": info or None,
    }


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The entries of all the scripts that come with vifplug."""
    import msgspec

    with Host(Config(state_dir=str(tmp_path_factory.mktemp("state")))) as host:
        found = [msgspec.to_builtins(script) for script in host.scripts()]
    return [script for script in found if script["trusted"]]


def test_all_shipped_scripts_fit_with_their_schemas(shipped: list[dict[str, Any]]) -> None:
    assert len(shipped) >= 13
    written = report.write(shipped, physical_networks=["physnet1"], reports_status=True)
    assert len(json.dumps(written)) <= 4095
    read = report.read(json.loads(json.dumps(written)))
    for script in shipped:
        facts = read.scripts[script["name"]]
        assert facts.version == script["info"]["version"]
        assert facts.vif_types == script["info"]["vif_types"]
        assert facts.digest == script["digest"].removeprefix("sha256:")[:16]
        schema, own = read.schema(script["name"]), script["info"]["details_schema"]
        assert (schema is None) == (not own)
        assert schema is None or schema["properties"].keys() == own["properties"].keys()
    assert (read.physical_networks, read.reports_status) == (["physnet1"], True)


def test_a_schema_loses_what_it_says_to_people_and_nothing_else() -> None:
    schema = {
        "description": "gone",
        "properties": {
            "description": {"title": "gone", "type": "string"},
            "title": {
                "enum": [{"description": "stays"}],
                "anyOf": [{"$comment": "gone", "minimum": 1}, True],
            },
        },
    }
    assert report.read(report.write([entry("a", details_schema=schema)])).schema("a") == {
        "properties": {
            "description": {"type": "string"},
            "title": {"enum": [{"description": "stays"}], "anyOf": [{"minimum": 1}, True]},
        }
    }


def test_where_all_schemas_are_too_long_the_largest_are_left_out() -> None:
    import random

    noise = random.Random(1)
    large = {"enum": ["".join(noise.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))]}
    small = {"type": "object"}
    written = report.write([entry("large", details_schema=large), entry("small", details_schema=small)])
    assert len(json.dumps(written)) <= 4095
    read = report.read(written)
    assert read.schema("small") == small
    assert read.schema("large") is None
    assert set(read.scripts) == {"large", "small"}


def test_more_scripts_than_neutron_can_keep_are_an_error_that_says_so() -> None:
    with pytest.raises(
        ValueError, match="the report of 200 scripts takes [0-9]+ characters, and Neutron keeps 4095"
    ):
        report.write([entry(f"script-{n}") for n in range(200)])


def test_a_script_that_the_host_would_not_run_says_why() -> None:
    script = {
        "name": "loose",
        "trusted": False,
        "digest": None,
        "reason": "others may write it" * 50,
        "info": None,
    }
    facts = report.read(report.write([script])).scripts["loose"]
    assert facts.refused is not None
    assert facts.refused.startswith("others may write it")
    assert len(facts.refused) <= 120


def test_a_later_host_may_tell_more() -> None:
    assert report.read({**report.write([entry("a")]), "later": {"x": 1}}).scripts.keys() == {"a"}


@pytest.mark.parametrize(
    "configurations", [{}, {"version": "1"}, {"version": "1", "scripts": {"a": {"version": 7}}}]
)
def test_what_is_no_report_is_said(configurations: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        report.read(configurations)


@given(st.binary() | st.text().map(lambda text: text.encode()))
def test_schemas_that_are_none_are_an_error_and_never_a_crash(data: bytes) -> None:
    packed = base64.b85encode(data).decode()
    for schemas in (packed, base64.b85encode(zlib.compress(data)).decode(), data.decode(errors="ignore")):
        read = report.Report(version="1", scripts={}, schemas=schemas)
        try:
            read.schema("a")
        except ValueError:
            continue


def test_schemas_that_unpack_to_too_much_are_cut_and_refused() -> None:
    bomb = base64.b85encode(zlib.compress(b"[" + b" " * 50_000_000 + b"]")).decode()
    with pytest.raises(ValueError, match="Expecting"):
        report.Report(version="1", scripts={}, schemas=bomb).schema("a")


def test_a_host_writes_it_without_neutron() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('neutron', 'neutron_lib', 'oslo_config')));"
        "from vifplug.neutron import report; report.write([]); assert 'vifplug.host' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
