"""Whether a host, by what it reported, can plug what a driver means to bind there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from .._version import CONTRACT_VERSION
from ..model.checks import nearest
from . import report as reports
from .plan import Plan, Refused

_LOG = logging.getLogger(__name__)


def check(
    plan: Plan,
    physical_network: str | None,
    host: str,
    agents: Sequence[Mapping[str, Any]],
    *,
    require_report: bool,
) -> bool:
    """Whether the host's agent plugs there. Raises Refused with the reason why it cannot be plugged there.

    ``agents`` are Neutron's records of ``report.AGENT_TYPE`` on the host.
    """
    if not agents:
        if plan.via_agent:
            raise Refused(
                f"host {host} has no {reports.AGENT_TYPE!r}, and via_agent asks for one; start "
                "vifplug-neutron-agent there"
            )
        if require_report:
            raise Refused(
                f"host {host} has reported no plug scripts (no {reports.AGENT_TYPE!r} there), and "
                "[ml2_vifplug] require_report asks for it"
            )
        return False
    agent = agents[0]  # Neutron keeps one of a type for each host
    if not agent["alive"]:
        raise Refused(
            f"the {reports.AGENT_TYPE!r} of host {host} has not been heard of for longer than Neutron's "
            "agent_down_time; start it, or delete it if the host no longer reports (openstack network agent delete)"
        )
    if not agent.get("admin_state_up", True):
        raise Refused(f"the {reports.AGENT_TYPE!r} of host {host} is disabled (openstack network agent set)")
    try:
        report = reports.read(agent["configurations"])
    except ValueError as error:
        raise Refused(f"what host {host} reported cannot be read: {error}") from None
    if plan.via_agent and not report.reports_status:
        raise Refused(
            f"the {reports.AGENT_TYPE!r} of host {host} only reports (plugs = false there), and via_agent asks for one "
            "that plugs"
        )
    _check_host(plan, physical_network, host, report)
    if plan.plug_script is not None:
        _check_script(plan, plan.plug_script, host, report)
    return report.reports_status


def _check_host(plan: Plan, physical_network: str | None, host: str, report: reports.Report) -> None:
    if report.vif_types and plan.vif_type not in report.vif_types:
        raise Refused(f"vifplug {report.version} on host {host} does not know VIF type {plan.vif_type}")
    if (
        physical_network is not None
        and report.physical_networks is not None
        and physical_network not in report.physical_networks
    ):
        raise Refused(
            f'host {host} does not reach physical network "{physical_network}"; it reports '
            f"{', '.join(report.physical_networks) or 'none'}"
        )


def _check_script(plan: Plan, name: str, host: str, report: reports.Report) -> None:
    script = report.scripts.get(name)
    if script is None:
        raise Refused(
            f'host {host} has no plug script "{name}"{nearest(name, report.scripts)}; '
            "install the mechanism's package there"
        )
    if script.refused is not None:
        raise Refused(f'host {host} would not run plug script "{name}": {script.refused}')
    if CONTRACT_VERSION not in script.protocols:
        raise Refused(
            f'plug script "{name}" on host {host} speaks version {_words(script.protocols)} of the plug-script '
            f"contract, and this driver is for version {CONTRACT_VERSION}"
        )
    if script.vif_types and plan.vif_type not in script.vif_types:
        raise Refused(
            f'plug script "{name}" on host {host} serves VIF type {_words(script.vif_types)}, not {plan.vif_type}'
        )
    if plan.min_version is not None and not at_least(script.version, plan.min_version):
        raise Refused(
            f'plug script "{name}" on host {host} has version {script.version or "unknown"}, '
            f"and at least {plan.min_version} is needed; upgrade the mechanism's package there"
        )
    _check_details(plan.details, name, host, report)


def _check_details(details: Mapping[str, Any], name: str, host: str, report: reports.Report) -> None:
    try:
        schema = report.schema(name)
    except ValueError as error:
        raise Refused(f"what host {host} reported cannot be read: {error}") from None
    if schema is None:
        return
    import jsonschema  # type: ignore[import-untyped]  # it ships no types
    import referencing

    try:
        # a registry of its own: by default a "$ref" would be fetched from wherever it points to
        validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
        worst = jsonschema.exceptions.best_match(validator.iter_errors(dict(details)))
    except Exception as error:  # a schema may be wrong in any way: it binds no less than none
        _LOG.warning('The schema of plug script "%s" on host %s is not usable: %s', name, host, error)
        return
    if worst is not None:
        place = ".".join(["vif_details", *map(str, worst.absolute_path)])
        raise Refused(f'plug script "{name}" on host {host} does not take {place}: {worst.message}')


def at_least(version: str | None, least: str) -> bool:
    """Whether ``version`` is ``least`` or newer; what cannot be compared is not."""
    from packaging.version import InvalidVersion, Version

    try:
        return version is not None and Version(version) >= Version(least)
    except InvalidVersion:
        return version == least


def _words(values: Sequence[object]) -> str:
    return " or ".join(map(str, values)) or "none"
