"""QoS: a port's bandwidth limits become the ``bandwidth`` of its binding, in the words of vifplug.

Neutron tells of kilobits (1,000 bits) from the guest's point of view: egress is what the guest sends. vifplug
and libvirt tell of kibibytes, and call it outbound.
"""

from __future__ import annotations

import logging
from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import constants as db_constants
from neutron_lib.services.qos import base
from neutron_lib.services.qos import constants as qos

from ..model import VifType
from . import bound

_LOG = logging.getLogger(__name__)

_DIRECTIONS = {constants.EGRESS_DIRECTION: "outbound", constants.INGRESS_DIRECTION: "inbound"}
_AMOUNT = {"type:range": [0, db_constants.DB_INTEGER_MAX_VALUE]}


def bandwidth(context: Any) -> dict[str, dict[str, int]] | None:
    """The limits of a port's policy, else of its network's; None where there are none."""
    port = context.current
    policy_id = port.get("qos_policy_id") or port.get("qos_network_policy_id")
    if not policy_id:
        return None
    from neutron.objects.qos import policy as policies

    policy = policies.QosPolicy.get_object(bound.request(context).elevated(), id=policy_id)
    found: dict[str, dict[str, int]] = {}
    for rule in policy.rules if policy else ():
        if rule.rule_type == qos.RULE_TYPE_BANDWIDTH_LIMIT and rule.max_kbps:
            rate = {"average": _kibibytes(rule.max_kbps)}
            if rule.max_burst_kbps:
                rate["burst"] = _kibibytes(rule.max_burst_kbps)
            found[_DIRECTIONS[rule.direction]] = rate
    return found or None


def register(driver: Any) -> None:
    """Let Neutron's QoS plugin, where it is loaded, know what VIFs of ours can do."""
    global _DRIVER  # noqa: PLW0603 (Neutron wants one QoS driver, however many mechanism drivers there are)
    if _DRIVER is None:
        _DRIVER = _QosDriver()
    _DRIVER.mechanisms.append(driver)


class _QosDriver(base.DriverBase):
    def __init__(self) -> None:
        super().__init__(
            name="vifplug",
            vif_types=[str(type_) for type_ in VifType],
            vnic_types=portbindings.VNIC_TYPES,
            supported_rules={
                qos.RULE_TYPE_BANDWIDTH_LIMIT: {
                    qos.MAX_KBPS: _AMOUNT,
                    qos.MAX_BURST: _AMOUNT,
                    qos.DIRECTION: {"type:values": constants.VALID_DIRECTIONS},
                }
            },
            requires_rpc_notifications=False,
        )
        self.mechanisms: list[Any] = []

    def update_policy(self, context: Any, policy: Any) -> None:
        """A rule of a policy was made, changed or deleted."""
        context = context.elevated()
        for mechanism in self.mechanisms:
            for network_id in policy.get_bound_networks():
                mechanism.refresh_all(context, network_id=network_id)
            if port_ids := policy.get_bound_ports():
                mechanism.refresh_all(context, port_ids=port_ids)


_DRIVER: _QosDriver | None = None


def _kibibytes(kilobits: int) -> int:
    return max(1, round(kilobits * 1000 / 8 / 1024))
