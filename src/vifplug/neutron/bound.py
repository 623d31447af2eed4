"""Ports that are bound already, in Neutron's database."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from neutron.db import models_v2
from neutron.objects import ports
from neutron.plugins.ml2 import db as ml2_db
from neutron.plugins.ml2 import driver_context, models
from neutron_lib import constants, exceptions
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api
from sqlalchemy import and_, or_

from . import plain
from .plan import Plan

#: what changes on a port without any meaning for its details
_INDIFFERENT = {"status", "updated_at", "revision_number", "name", "description", "tags"}


def request(context: Any) -> Any:
    """The request's own context, of one of ML2's: it became public as ``plugin_context`` after Neutron 20."""
    return context._plugin_context


def changed(context: Any) -> bool:
    """Whether an update says something of a port that its details may depend on."""
    now: Mapping[str, Any] = context.current
    before: Mapping[str, Any] = context.original or {}
    return any(
        now.get(key) != before.get(key)
        for key in now.keys() | before.keys()
        if key not in _INDIFFERENT and not key.startswith("binding:")
    )


def driver_before(context: Any) -> str | None:
    """Which driver had bound a port on its host before this update."""
    levels = context.original_binding_levels
    return levels[-1][api.BOUND_DRIVER] if levels else None


def as_it_was(context: Any, plan: Plan | None) -> tuple[str, dict[str, Any]] | None:
    """VIF type and details of a port that is only bound anew, for the same device on the same host, while a guest may
    use it: Neutron does so when the profile changes, which Nova does for a live migration. None where it is another
    binding than this plan's, or the port's network has several segments and nobody can tell which it was."""
    before: Mapping[str, Any] = context.original or {}
    if (
        plan is None
        or len(context.segments_to_bind) != 1
        or not before.get("device_id")
        or before["device_id"] != context.current["device_id"]
        or before.get(portbindings.HOST_ID) != context.host
        or before.get(portbindings.VIF_TYPE) in (None, "", *portbindings.VIF_UNPLUGGED_TYPES)
    ):
        return None
    details = dict(before.get(portbindings.VIF_DETAILS) or {})
    details.pop("bound_drivers", None)  # Neutron's own, and made anew
    meant = plain.read(before[portbindings.VIF_TYPE], details)
    if meant.vif_type != plan.vif_type or meant.details.get("vif_plug_script") != plan.plug_script:
        return None
    return before[portbindings.VIF_TYPE], details


def keep_details(context: Any, details: Mapping[str, Any]) -> None:
    """Write the vif_details of a binding, on disk and into what this request answers."""
    plugin_context = request(context)
    host = context._binding.host
    with db_api.CONTEXT_WRITER.using(plugin_context):
        binding = ports.PortBinding.get_object(plugin_context, port_id=context.current["id"], host=host)
        if binding is None:
            return  # deleted meanwhile
        binding.vif_details = dict(details)
        binding.update()
    if context.current.get(portbindings.HOST_ID) == host:
        context.current[portbindings.VIF_DETAILS] = dict(details)


def contexts(
    plugin_context: Any, driver: str, *, network_id: str | None = None, port_ids: list[str] | None = None
) -> Iterator[Any]:
    """A PortContext for each binding, active or not, that a driver made in a network or of some ports."""
    binding, level = models.PortBinding, models.PortBindingLevel
    with db_api.CONTEXT_READER.using(plugin_context) as session:
        query = _of_drivers(session.query(binding.port_id, binding.host), [driver])
        if network_id is not None:
            query = query.filter(models_v2.Port.network_id == network_id)
        if port_ids is not None:
            query = query.filter(level.port_id.in_(port_ids))
        found = query.distinct().all()
    plugin = directory.get_plugin()
    for port_id, host in found:
        context = _context(plugin, plugin_context, port_id, host)
        if context is not None:
            yield context


def left_down(plugin_context: Any, driver: str) -> set[tuple[str, str]]:
    """Port and host of each active binding of a driver's whose port is DOWN, should be up, and has no agent that
    says so."""
    binding, port = models.PortBinding, models_v2.Port
    with db_api.CONTEXT_READER.using(plugin_context) as session:
        columns = session.query(binding.port_id, binding.host, binding.vif_details)
        query = _of_drivers(columns, [driver]).filter(
            binding.status == constants.ACTIVE,
            port.status == constants.PORT_STATUS_DOWN,
            port.admin_state_up.is_(True),
        )
        found = query.distinct().all()
    return {(port_id, host) for port_id, host, details in found if not _is_plain(details)}


def on_host(
    plugin_context: Any,
    drivers: Collection[str],
    host: str,
    *,
    ports: Collection[str] | None = None,
    after: str | None = None,
    limit: int,
) -> tuple[list[Any], str | None]:
    """A PortContext for each binding, active or not, that some drivers made on a host for its agent to plug.

    ``ports``: ids of ports, or the first characters of them; None: all, ordered by id, those ``after`` one, ``limit``
    at most. With what to ask for next (``after``), or None at the end.
    """
    binding = models.PortBinding
    with db_api.CONTEXT_READER.using(plugin_context) as session:
        query = _of_drivers(session.query(binding.port_id, binding.vif_details), drivers)
        query = query.filter(binding.host == host).order_by(binding.port_id)
        if ports is not None:
            query = query.filter(or_(*(binding.port_id.startswith(each, autoescape=True) for each in ports)))
        if after is not None:
            query = query.filter(binding.port_id > after)
        found = query.distinct().limit(limit + 1).all()
    plugin = directory.get_plugin()
    page = [
        _context(plugin, plugin_context, port_id, host)
        for port_id, details in found[:limit]
        if _is_plain(details)
    ]
    return [each for each in page if each is not None], found[limit - 1][0] if len(found) > limit else None


def notify(context: Any) -> None:
    """Tell the agent of a port's host that the port has changed."""
    segment = context.bottom_bound_segment
    directory.get_plugin().notifier.port_update(
        request(context),
        context.current,
        segment[api.NETWORK_TYPE],
        segment[api.SEGMENTATION_ID],
        segment[api.PHYSICAL_NETWORK],
    )


def _is_plain(details: Any) -> bool:
    """As the column has them: JSON text, which later releases turn into an object by themselves."""
    found = json.loads(details or "{}") if isinstance(details, str) or details is None else details
    return plain.read("", found).plain


def _of_drivers(query: Any, drivers: Collection[str]) -> Any:
    binding, level, port = models.PortBinding, models.PortBindingLevel, models_v2.Port
    same = and_(level.port_id == binding.port_id, level.host == binding.host)
    return (
        query.join(level, same)
        .join(port, port.id == binding.port_id)
        .filter(level.driver.in_(drivers), binding.vif_type.notin_(portbindings.VIF_UNPLUGGED_TYPES))
    )


def _context(plugin: Any, plugin_context: Any, port_id: str, host: str) -> Any | None:
    """As the plugin makes them; None for what was deleted meanwhile."""
    with db_api.CONTEXT_READER.using(plugin_context):
        binding = ports.PortBinding.get_object(plugin_context, port_id=port_id, host=host)
        levels = ml2_db.get_binding_level_objs(plugin_context, port_id, host)
        if binding is None or not levels:
            return None
        try:
            port = plugin.get_port(plugin_context, port_id)
            network = plugin.get_network(plugin_context, port["network_id"])
        except exceptions.NotFound:
            return None
        port |= {  # those of this binding, which may not be the active one
            portbindings.HOST_ID: host,
            portbindings.VIF_TYPE: binding.vif_type,
            portbindings.VIF_DETAILS: binding.vif_details or {},
            portbindings.VNIC_TYPE: binding.vnic_type,
            portbindings.PROFILE: binding.profile or {},
        }
        return driver_context.PortContext(plugin, plugin_context, port, network, binding.db_obj, levels)
