"""Mechanism driver ``vifplug``: what it binds is configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from ..errors import ConfigError
from . import options, template
from .driver import VifplugMechanismDriver, wrong
from .plan import Plan


class ConfiguredMechanismDriver(VifplugMechanismDriver):
    """Binds by the rules of ``[ml2_vifplug]``."""

    _rules: tuple[options.Rule, ...] = ()

    def initialize(self) -> None:
        try:
            self._rules = tuple(options.read_rules(cfg.CONF))
        except ConfigError as error:
            raise wrong(error) from None
        self.vnic_types = tuple({vnic_type for rule in self._rules for vnic_type in rule.vnic_types})
        super().initialize()

    def plan(self, context: Any, segment: Mapping[str, Any]) -> Plan | None:
        vnic_type = context.current.get("binding:vnic_type", "normal")
        for rule in self._rules:
            if rule.matches(vnic_type, segment):
                known = template.facts(context.current, context.network.current, segment)
                return Plan(
                    vif_type=rule.vif_type,
                    plug_script=rule.plug_script,
                    details=template.fill(rule.details, known),
                    min_version=rule.min_version,
                    port_filter=rule.port_filter,
                    via_agent=rule.via_agent,
                )
        return None
