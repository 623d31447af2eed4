"""The base class of a mechanism driver whose VIFs are plugged by a script.

A vendor's driver says what it binds, and nothing else::

    class DemoMechanismDriver(VifplugMechanismDriver):
        vif_type = "ethernet"
        plug_script = "/usr/bin/neutron-demo-vif-plug"
        network_types = ("vlan",)

        def details(self, context, segment):
            return {"tag": segment["segmentation_id"]}

Facts about ML2 are from neutron_lib.plugins.ml2.api and neutron/plugins/ml2/plugin.py.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, ClassVar

import msgspec
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg
from oslo_serialization import jsonutils

from ..errors import ConfigError
from ..model import VifType
from . import bound, fitness, options, plain, qos, report, rpc, rpc_server, status
from .plan import Plan, Refused, read, vif_details

_LOG = logging.getLogger(__name__)

#: Neutron asks a driver up to ten times for one binding (MAX_BIND_TRIES): one line in the log is enough
_SAID_AGAIN_AFTER = 10.0
_SAID_AT_MOST = 1000


def wrong(error: ConfigError) -> SystemExit:
    """Neutron ends where the configuration is wrong, as it does itself where a driver cannot be loaded."""
    _LOG.critical("%s", error)
    return SystemExit(f"vifplug: {error}")


class VifplugMechanismDriver(api.MechanismDriver):
    """Binds ports to the eight VIF types, each with a plug script; no VIF type is its own.

    Subclasses set the attributes below, and write ``details``, or ``plan`` where one set of attributes does
    not do for all ports.
    """

    #: one of the eight
    vif_type: str = "ethernet"
    #: a bare name or an absolute path; None: the VIF type is all there is to it
    plug_script: str | None = None
    network_types: Sequence[str] = ("local", "flat", "vlan", "vxlan", "gre", "geneve")
    #: empty: all
    physical_networks: Sequence[str] = ()
    vnic_types: Sequence[str] = ("normal",)
    #: the oldest version of the script that does; hosts with an older one are not bound
    min_version: str | None = None
    #: whether the script, or the backend, enforces security groups itself
    port_filter: bool = False
    #: whether ports are bound only where the host agent plugs
    via_agent: bool = False
    #: "l2": a port needs no address to be bound
    connectivity: str = "l2"

    _telling: ClassVar[float] = _SAID_AGAIN_AFTER

    #: what the operator says of drivers, by name
    _limits: Mapping[str, options.Limits]

    def __init__(self) -> None:
        super().__init__()
        self._limits = {}
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def details(self, context: Any, segment: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002 (subclasses' own)
        """The vif_details of a port (PortContext) in one segment, without vif_plug_script.

        Called again when the port, its network's MTU or its QoS policy changes. Raise ``Refused`` with the
        reason where it cannot be bound.
        """
        return {}

    def plan(self, context: Any, segment: Mapping[str, Any]) -> Plan | None:
        """What to bind in one segment; None where this driver has nothing to do with it."""
        if context.current.get(portbindings.VNIC_TYPE, "normal") not in self.vnic_types:
            return None
        if segment[api.NETWORK_TYPE] not in self.network_types:
            return None
        if self.physical_networks and segment.get(api.PHYSICAL_NETWORK) not in self.physical_networks:
            return None
        return Plan(
            vif_type=VifType(self.vif_type),
            plug_script=self.plug_script,
            details=self.details(context, segment),
            min_version=self.min_version,
            port_filter=self.port_filter,
            via_agent=self.via_agent,
        )

    # --- called by ML2 --------------------------------------------------------------------------

    def initialize(self) -> None:
        VifType(self.vif_type)  # a vendor's mistake: better now than at the first port
        options.register(cfg.CONF)
        try:
            self._limits = options.read_limits(cfg.CONF)
        except ConfigError as error:
            raise wrong(error) from None
        qos.register(self)
        self._reconciler = status.Reconciler(self)
        self._agents = rpc.Agents()
        rpc_server.register()

    def start_rpc_listeners(self) -> Sequence[Any]:
        """Called by ML2 in each process that answers agents."""
        return rpc_server.start()

    def bind_port(self, context: Any) -> None:
        reasons: list[str] = []
        for segment in self._segments(context):
            plan: Plan | None = None
            try:
                plan = self._planned(context, segment)
                if plan is None or not self._limit.allow(segment):
                    continue
                vif_type, found = self._checked(context, plan, segment)
            except Refused as refused:
                kept = bound.as_it_was(context, plan)
                if kept is None:
                    reasons.append(refused.message)
                    continue
                _LOG.warning(
                    "Port %s stays bound on host %s as it was, though it would be refused now: %s",
                    context.current["id"],
                    context.host,
                    refused,
                )
                vif_type, found = kept
            else:
                if context.original and context.original.get(portbindings.VIF_TYPE) != vif_type:
                    vif_type, found = bound.as_it_was(context, plan) or (vif_type, found)
            context.set_binding(segment[api.ID], vif_type, found)
            if plain.read(vif_type, found).vif_type == VifType.VHOSTUSER:
                self._agents.look(bound.request(context), context.host, context.current["id"])
            return
        if reasons:
            self._tell(context, "; ".join(dict.fromkeys(reasons)))

    def create_port_precommit(self, context: Any) -> None:
        status.hold_for_agent(context, self.vnic_types)

    def update_port_precommit(self, context: Any) -> None:
        if context.host != context.original_host:
            status.hold_for_agent(context, self.vnic_types)
        elif self.is_bound(context) and bound.changed(context):
            self.refresh(context)
        elif bound.driver_before(context) == self.name:
            status.keep_up(context)

    def update_port_postcommit(self, context: Any) -> None:
        if self.is_bound(context):
            self._reconciler.start()  # Neutron before 2024.2 does not tell a process of the API that it has begun
            status.settle(context)
        left = context.original_host if context.original_host != context.host else None
        if left and plain.read("", context.original_vif_details or {}).plain:
            self._agents.look(bound.request(context), left, context.current["id"])

    def update_network_postcommit(self, context: Any) -> None:
        if context.current.get("mtu") != context.original.get("mtu") or (
            context.current.get("qos_policy_id") != context.original.get("qos_policy_id")
        ):
            self.refresh_all(bound.request(context), network_id=context.current["id"])

    # --- what is bound already ------------------------------------------------------------------

    @property
    def name(self) -> str | None:
        """What ML2 knows this driver by: its entry point's name, under which bindings are on record."""
        plugin = directory.get_plugin()
        drivers = plugin.mechanism_manager.mech_drivers if plugin else {}
        return next((name for name, known in drivers.items() if known.obj is self), None)

    def is_bound(self, context: Any) -> bool:
        """Whether it was this driver that bound the port."""
        levels = context.binding_levels
        return bool(levels) and levels[-1][api.BOUND_DRIVER] == self.name

    def refresh(self, context: Any) -> bool:
        """Make the vif_details of a bound port anew and keep them, if they differ; returns whether they did.

        The VIF's type and script stay as they were bound, and so do the details where new ones would be refused.
        """
        old, segment = context.vif_details, context.bottom_bound_segment
        meant = plain.read(context.vif_type, old)
        try:
            plan = self._planned(context, segment)
            if plan is None or plan.vif_type != meant.vif_type:
                return False
            _, new = self._written(context, plan, plain_words=meant.plain)
        except Refused as refused:
            _LOG.warning(
                "Port %s keeps its details: what they would be now is refused: %s",
                context.current["id"],
                refused,
            )
            return False
        if plan.plug_script != meant.details.get("vif_plug_script") or new == old:
            return False
        bound.keep_details(context, new)
        return True

    def refresh_all(self, plugin_context: Any, **which: Any) -> None:
        """``refresh`` the bound ports of a network or a QoS policy, and tell the agents of those that changed."""
        name = self.name
        if name is None:
            return
        for context in bound.contexts(plugin_context, name, **which):
            try:
                if self.refresh(context):
                    bound.notify(context)
            except Exception:  # of a vendor's details(), say: it is nothing to the other ports
                _LOG.exception("The details of port %s are as they were", context.current["id"])

    @property
    def _limit(self) -> options.Limits:
        return self._limits.get(self.name or "", options.Limits())

    def _planned(self, context: Any, segment: Mapping[str, Any]) -> Plan | None:
        """The driver's plan, as far as the operator has not said otherwise."""
        plan = self.plan(context, segment)
        if plan is None or self._limit.via_agent is None:
            return plan
        return msgspec.structs.replace(plan, via_agent=self._limit.via_agent)

    # --- the parts of a binding -----------------------------------------------------------------

    def _segments(self, context: Any) -> Iterator[Mapping[str, Any]]:
        """Those that the port's subnets allow: in a routed network a subnet belongs to one segment."""
        subnets = [fixed.get("subnet_id") for fixed in context.current.get("fixed_ips") or ()]
        allowed: set[str] = set()
        for subnet_id in filter(None, subnets):
            found = directory.get_plugin().get_subnet(bound.request(context), subnet_id).get("segment_id")
            if found is None:
                allowed.clear()
                break
            allowed.add(found)
        for segment in context.segments_to_bind:
            if not allowed or segment[api.ID] in allowed:
                yield segment

    def _checked(self, context: Any, plan: Plan, segment: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The plan's vif_type and vif_details. Raises Refused where the host could not plug them."""
        by_agent = fitness.check(
            plan,
            segment.get(api.PHYSICAL_NETWORK),
            context.host,
            context.host_agents(report.AGENT_TYPE),
            require_report=cfg.CONF[options.GROUP].require_report,
        )
        return self._written(context, plan, plain_words=by_agent)

    def _written(self, context: Any, plan: Plan, *, plain_words: bool) -> tuple[str, dict[str, Any]]:
        own: dict[str, Any] = {portbindings.VIF_DETAILS_CONNECTIVITY: self.connectivity}
        if mtu := context.network.current.get("mtu"):
            own["mtu"] = mtu
        if bandwidth := qos.bandwidth(context):
            own["bandwidth"] = bandwidth
        found = vif_details(plan, own)
        vif = read(context.current, plan.vif_type, found)
        return plain.write(vif, found) if plain_words else (str(plan.vif_type), found)

    def _tell(self, context: Any, reason: str) -> None:
        """Say why a port is not bound: in the log, and on the port itself if no other driver binds it.

        Neutron has no field for it; what ``vif_details`` say of a port whose vif_type is binding_failed nobody else
        reads, and an administrator sees them.
        """
        port, host = context.current["id"], context.host
        binding = getattr(
            context, "_binding", None
        )  # Neutron's own class has it, and set_binding writes there too
        if binding is not None:
            binding.vif_details = jsonutils.dumps({"binding_failure": reason[:600]})
        said, now = (port, host, reason), monotonic()
        if now - self._said.get(said, -self._telling) >= self._telling:
            _LOG.warning("Port %s is not bound on host %s: %s", port, host, reason)
            self._said[said] = now
            self._said.move_to_end(said)
            if len(self._said) > _SAID_AT_MOST:
                self._said.popitem(last=False)
