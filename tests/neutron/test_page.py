"""What docs/openstack-neutron.md shows is what works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from neutron.tests.unit.plugins.ml2._test_mech_agent import FakePortContext
from oslo_config import cfg

from vifplug.neutron import Refused, VifplugMechanismDriver, options, report, template

PAGE = (Path(__file__).parents[2] / "docs" / "openstack-neutron.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_its_rules_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "ml2_conf.ini"
    file.write_text("".join(blocks("ini")))
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)], project="neutron")
    rules = {rule.name: rule for rule in options.read_rules(conf)}
    assert list(rules) == ["vlan", "overlay", "sockets"]
    assert template.fill(rules["vlan"].details, template.EXAMPLES)["bridge"] == "br-physnet1"


def test_its_driver_is_whole() -> None:
    (source,) = blocks("python")
    known: dict[str, Any] = {}
    exec(source, known)  # noqa: S102
    driver: VifplugMechanismDriver = known["BlueMechanismDriver"]()
    segment = {"id": "s", "network_type": "vlan", "physical_network": "p", "segmentation_id": 1999}
    with pytest.raises(Refused, match="VLANs up to 2000"):
        driver.details(None, {"segmentation_id": 2001})
    context = FakePortContext(report.AGENT_TYPE, [], [segment])
    plan = driver.plan(context, segment)
    assert plan is not None
    assert (plan.vif_type, plan.details) == ("ethernet", {"tag": 1999})


def test_it_names_every_option_and_every_place() -> None:
    for option in options.RULE_OPTIONS:
        assert f"`{option.name}`" in PAGE
    for option in options.OPTIONS:
        assert option.name in PAGE
    for name in template.NAMES:
        kind, _, key = name.partition(".")
        (row,) = re.findall(rf"^\| `{{{kind}\.…}}` \|(.*)$", PAGE, re.MULTILINE)
        assert f"`{key}`" in row
