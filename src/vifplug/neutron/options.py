"""The configuration: ``[ml2_vifplug]``, and one section ``[vifplug_rule:NAME]`` for each rule.

A section for each rule, rather than one option that holds them all: oslo.config reads, documents and merges
sections over several files by itself, each option has its type, and a message can say which rule is wrong.
``rules`` gives the order, which sections do not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from neutron_lib.api.definitions import portbindings
from oslo_config import cfg

from ..errors import ConfigError, InvalidInput
from ..model import VifType, read_binding
from ..model.checks import nearest, one_of
from ..model.words import ScriptName
from . import template

GROUP = "ml2_vifplug"
RULE = "vifplug_rule:"
DRIVER = "vifplug_driver:"

OPTIONS = [
    cfg.BoolOpt(
        "require_report",
        default=False,
        help="Bind no port on a host that has not reported its plug scripts. By default such a host is trusted to "
        "have them. Holds for every mechanism driver that is built on vifplug.",
    ),
    cfg.IntOpt(
        "reconcile_interval",
        default=60,
        min=0,
        help="Seconds between two looks for ports that are bound and yet DOWN; 0: only one look, at start. "
        "Holds for every mechanism driver that is built on vifplug.",
    ),
    cfg.ListOpt(
        "rules",
        default=[],
        help="The rules of mechanism driver vifplug, in order: for each segment of a port's network the first that "
        "matches holds. Rule NAME stands in section [vifplug_rule:NAME].",
    ),
]
RULE_OPTIONS = [
    cfg.ListOpt("network_types", default=[], help="Network types that it is for; none: all."),
    cfg.ListOpt("physical_networks", default=[], help="Physical networks that it is for; none: all."),
    cfg.ListOpt("vnic_types", default=["normal"], help="VNIC types that it is for."),
    cfg.StrOpt("vif_type", default="ethernet", help="One of vifplug's eight VIF types."),
    cfg.StrOpt("plug_script", help="The plug script: a bare name or an absolute path."),
    cfg.MultiStrOpt(
        "detail",
        default=[],
        help='One of vif_details, as "KEY: VALUE". VALUE is JSON where it can be read as such, else text; in both, '
        "{port.id}, {segment.segmentation_id} and the like stand for values. May be given many times.",
    ),
    cfg.StrOpt("min_version", help="The oldest version of the script that does."),
    cfg.BoolOpt(
        "port_filter", default=False, help="Whether the script itself enforces the port's security groups."
    ),
    cfg.BoolOpt(
        "via_agent",
        default=False,
        help="Bind ports only on hosts where the host agent (vifplug-neutron-agent) plugs. By default they are bound "
        "for the agent where it plugs, and elsewhere for nova-compute with vifplug's os-vif plugin.",
    ),
]
DRIVER_OPTIONS = [
    cfg.ListOpt("network_types", default=[], help="Only these of the network types that the driver is for."),
    cfg.ListOpt("physical_networks", default=[], help="Only these of the physical networks that it is for."),
    cfg.BoolOpt(
        "via_agent", help="Whether its ports are bound only where the host agent plugs; else as it says."
    ),
]


class Limits(Struct, frozen=True, kw_only=True):
    """What the operator says of a vendor's driver, where several share a cloud: ``[vifplug_driver:NAME]``."""

    network_types: list[str] = []
    physical_networks: list[str] = []
    via_agent: bool | None = None

    def allow(self, segment: Mapping[str, Any]) -> bool:
        return (not self.network_types or segment["network_type"] in self.network_types) and (
            not self.physical_networks or segment.get("physical_network") in self.physical_networks
        )


class Rule(Struct, frozen=True, kw_only=True):
    """One section, checked."""

    name: str
    network_types: list[str]
    physical_networks: list[str]
    vnic_types: list[str]
    vif_type: VifType
    plug_script: str | None
    details: dict[str, Any]
    min_version: str | None
    port_filter: bool
    via_agent: bool

    def matches(self, vnic_type: str, segment: Mapping[str, Any]) -> bool:
        return (
            vnic_type in self.vnic_types
            and (not self.network_types or segment["network_type"] in self.network_types)
            and (not self.physical_networks or segment.get("physical_network") in self.physical_networks)
        )


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo-config-generator."""
    return [(GROUP, OPTIONS), (f"{RULE}NAME", RULE_OPTIONS), (f"{DRIVER}NAME", DRIVER_OPTIONS)]


def register(conf: Any) -> None:
    conf.register_opts(OPTIONS, group=GROUP)


def read_limits(conf: Any) -> dict[str, Limits]:
    """By the name of each driver that has a section. Raises ConfigError, which names section and option."""
    found: dict[str, Limits] = {}
    for section, keys in _sections(conf).items():
        if not section.startswith(DRIVER):
            continue
        name = section.removeprefix(DRIVER)
        drivers = list(conf.ml2.mechanism_drivers)
        if name not in drivers:
            raise ConfigError(
                f"[{section}] is not used: [ml2] mechanism_drivers has no {name}{nearest(name, drivers)}",
                field=section,
                value=name,
            )
        _unknown(section, keys, DRIVER_OPTIONS)
        conf.register_opts(DRIVER_OPTIONS, group=section)
        try:
            found[name] = Limits(
                **{option.dest: getattr(conf[section], option.dest) for option in DRIVER_OPTIONS}
            )
        except (cfg.Error, ValueError) as error:
            raise ConfigError(f"[{section}]: {error}", field=section) from None
    return found


def read_rules(conf: Any) -> list[Rule]:
    """The rules in their order. Raises ConfigError, which names section and option."""
    register(conf)
    names = list(conf[GROUP].rules)
    written = _sections(conf)
    for section in written:
        if section.startswith(RULE) and section.removeprefix(RULE) not in names:
            name = section.removeprefix(RULE)
            raise ConfigError(
                f"[{section}] is not used: add {name} to [{GROUP}] rules, which gives their order",
                field=section,
            )
    _unknown(GROUP, written.get(GROUP, ()), OPTIONS)
    if not names:
        raise ConfigError(
            f"[{GROUP}] rules is empty: mechanism driver vifplug would bind nothing; name a rule there and write its "
            f"section [{RULE}NAME]",
            field=f"{GROUP}.rules",
        )
    if len(set(names)) != len(names):
        raise ConfigError(
            f"[{GROUP}] rules names one twice: {', '.join(names)}", field=f"{GROUP}.rules", value=names
        )
    return [_rule(conf, name, written) for name in names]


def _rule(conf: Any, name: str, written: Mapping[str, Iterable[str]]) -> Rule:
    section = f"{RULE}{name}"
    if section not in written:
        raise ConfigError(
            f"[{GROUP}] rules names {name}, and there is no section [{section}]"
            + nearest(section, [known for known in written if known.startswith(RULE)]),
            field=f"{GROUP}.rules",
            value=name,
        )
    _unknown(section, written[section], RULE_OPTIONS)
    conf.register_opts(RULE_OPTIONS, group=section)
    try:
        given = {option.dest: getattr(conf[section], option.dest) for option in RULE_OPTIONS}
    except (cfg.Error, ValueError) as error:
        raise ConfigError(f"[{section}]: {error}", field=section) from None
    if given["vif_type"] not in list(VifType):
        raise _wrong(
            section, "vif_type", given["vif_type"], one_of(VifType), nearest(given["vif_type"], VifType)
        )
    for vnic_type in given["vnic_types"]:
        if vnic_type not in portbindings.VNIC_TYPES:
            raise _wrong(section, "vnic_types", vnic_type, one_of(portbindings.VNIC_TYPES))
    _check_version(section, given["min_version"])
    details = _details(section, given.pop("detail"))
    rule = Rule(name=name, details=details, **{**given, "vif_type": VifType(given["vif_type"])})
    _check_binding(section, rule)
    return rule


def _details(section: str, lines: Iterable[str]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    for line in lines:
        key, colon, text = (part.strip() for part in line.partition(":"))
        if not colon or not key:
            raise _wrong(section, "detail", line, '"KEY: VALUE", such as "bridge: br-data"')
        if key == "vif_plug_script":
            raise _wrong(section, "detail", line, "another key: the script is named by plug_script")
        if key in details:
            raise _wrong(section, "detail", line, f'a key that no other line has: "{key}" is there twice')
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        template.check(value, f'[{section}] detail "{key}"')
        details[key] = value
    return details


def _check_version(section: str, least: str | None) -> None:
    from packaging.version import InvalidVersion, Version

    try:
        Version(least or "0")
    except InvalidVersion:
        raise _wrong(section, "min_version", least, "a version such as 1.4") from None


def _check_binding(section: str, rule: Rule) -> None:
    """What no port could be bound with is refused now: the rule with an example's values is read as a host would."""
    if rule.plug_script is not None:
        try:
            msgspec.convert(rule.plug_script, ScriptName)
        except msgspec.ValidationError:
            raise _wrong(
                section, "plug_script", rule.plug_script, "a script's bare name or its absolute path"
            ) from None
    details = template.fill(rule.details, template.EXAMPLES)
    script = {} if rule.plug_script is None else {"vif_plug_script": rule.plug_script}
    port = {"id": template.EXAMPLES["port.id"], "mac_address": template.EXAMPLES["port.mac_address"]}
    try:
        read_binding(
            {**port, "binding:vif_type": str(rule.vif_type), "binding:vif_details": details | script}
        )
    except InvalidInput as error:
        key = str(error.context.get("field")).removeprefix("binding:vif_details.").partition(".")[0]
        if key in rule.details and template.has_places(rule.details[key]):
            return  # a real port's value may be as it should
        raise ConfigError(f"[{section}] would bind no port: {error.message}", field=section) from None


def _unknown(section: str, keys: Iterable[str], options: Iterable[Any]) -> None:
    """oslo.config takes any key without a word: a misspelt one would be no rule at all."""
    known = [option.dest for option in options]
    for key in keys:
        if key not in known:
            raise ConfigError(
                f"[{section}] {key}: there is no such option{nearest(key, known)}; it must be {one_of(known)}",
                field=f"{section}.{key}",
            )


def _wrong(section: str, option: str, value: object, allowed: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f'[{section}] {option}: "{value}" is not allowed; it must be {allowed}{hint}',
        field=f"{section}.{option}",
        value=value,
    )


def _sections(conf: Any) -> dict[str, set[str]]:
    """Every section that the configuration files have, with its keys, which oslo.config does not tell."""
    files = [*conf.config_file] if conf.config_file else []
    for directory in conf.config_dirs:
        files += sorted(str(path) for path in Path(directory).glob("*.conf"))
    found: dict[str, set[str]] = {}
    for file in dict.fromkeys(files):
        parsed: dict[str, dict[str, Any]] = {}
        cfg.ConfigParser(file, parsed).parse()
        for section, values in parsed.items():
            found.setdefault(section, set()).update(values)
    return found
