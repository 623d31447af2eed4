"""A wrong configuration: the server does not start, and says in one sentence what is wrong and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from oslo_config import cfg

from neutron_server import NeutronServer
from vifplug.errors import ConfigError
from vifplug.neutron import options, template

START = "[ml2_vifplug]\nrules = one\n[vifplug_rule:one]\n"

WRONG = {
    "no rules": ("", "[ml2_vifplug] rules is empty"),
    "a rule without its section": (
        "[ml2_vifplug]\nrules = two\n[vifplug_rule:twoo]\n",
        "[vifplug_rule:twoo] is not used: add twoo to [ml2_vifplug] rules",
    ),
    "a rule that is not there": (
        "[ml2_vifplug]\nrules = one\n",
        "[ml2_vifplug] rules names one, and there is no section [vifplug_rule:one]",
    ),
    "a misspelt option": (
        START + "plugscript = linux-bridge\n",
        '[vifplug_rule:one] plugscript: there is no such option (did you mean "plug_script"?)',
    ),
    "a VIF type that is none": (
        START + "vif_type = tap\n",
        '[vifplug_rule:one] vif_type: "tap" is not allowed; it must be one of "ethernet", "bridge"',
    ),
    "a VNIC type that is none": (
        START + "vnic_types = normall\n",
        '[vifplug_rule:one] vnic_types: "normall"',
    ),
    "a name that stands for nothing": (
        START + "detail = vlan: {segment.segmentation}\n",
        '[vifplug_rule:one] detail "vlan": {segment.segmentation} stands for nothing (did you mean '
        '"segment.segmentation_id"?)',
    ),
    "a tenant's free text": (START + "detail = bridge: {port.name}\n", "{port.name} stands for nothing"),
    "a detail that is none": (
        START + "detail = bridge\n",
        '[vifplug_rule:one] detail: "bridge" is not allowed',
    ),
    "a detail twice": (START + "detail = a: 1\ndetail = a: 2\n", '"a" is there twice'),
    "a VIF that no host could plug": (
        START + "vif_type = bridge\n",
        "[vifplug_rule:one] would bind no port: binding:vif_details.bridge",
    ),
    "a detail of the wrong kind": (
        START + "vif_type = direct\ndetail = source_dev: eth1\ndetail = mode: sideways\n",
        "[vifplug_rule:one] would bind no port: binding:vif_details.mode",
    ),
    "a script's name that is none": (
        START + "plug_script = ../evil\n",
        '[vifplug_rule:one] plug_script: "../evil"',
    ),
    "a version that is none": (START + "min_version = newest\n", '[vifplug_rule:one] min_version: "newest"'),
    "a truth that is none": (START + "port_filter = perhaps\n", "[vifplug_rule:one]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_rules_are_refused_with(what: str, tmp_path: Path) -> None:
    config, sentence = WRONG[what]
    file = tmp_path / "neutron.conf"
    file.write_text(config)
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)], project="neutron")
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        options.read_rules(conf)


def test_a_server_with_a_wrong_rule_does_not_start_and_says_why(tmp_path: Path) -> None:
    config, sentence = WRONG["a misspelt option"]
    server = NeutronServer(tmp_path, config)
    try:
        assert server.begin().wait(120) != 0
    finally:
        server.stop()
    assert server.log.splitlines()[-1].startswith(f"vifplug: {sentence}")


def test_rules_of_several_files_add_up(tmp_path: Path) -> None:
    first, second = tmp_path / "neutron.conf", tmp_path / "neutron.conf.d"
    first.write_text("[ml2_vifplug]\nrules = one, two\n[vifplug_rule:one]\n")
    second.mkdir()
    (second / "two.conf").write_text("[vifplug_rule:two]\nvif_type = bridge\ndetail = bridge: br0\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(first), "--config-dir", str(second)], project="neutron")
    assert [(rule.name, str(rule.vif_type)) for rule in options.read_rules(conf)] == [
        ("one", "ethernet"),
        ("two", "bridge"),
    ]


def test_values_keep_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "neutron.conf"
    file.write_text(
        START
        + 'detail = number: 7\ndetail = truth: true\ndetail = text: seven: eight\ndetail = digits: "7"\n'
        'detail = deep: {"a": ["{segment.segmentation_id}", "x{segment.segmentation_id}"]}\n'
        "detail = address: {port.mac_address}\n"
    )
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)], project="neutron")
    (rule,) = options.read_rules(conf)
    assert template.fill(rule.details, template.EXAMPLES) == {
        "number": 7,
        "truth": True,
        "text": "seven: eight",
        "digits": "7",
        "deep": {"a": [100, "x100"]},
        "address": "fa:16:3e:00:00:01",
    }
