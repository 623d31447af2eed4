"""What a driver means to bind, and the vif_details that come of it: checked as the host will check them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ..errors import InvalidInput
from ..model import Vif, VifType, read_binding

#: ml2_port_bindings.vif_details is a column of this many characters (neutron/plugins/ml2/models.py)
MOST_DETAILS = 4095


class Refused(InvalidInput):
    """A port that is not bound; the message completes the sentence "… is not bound: "."""

    code = "binding_refused"


class Plan(Struct, frozen=True, kw_only=True):
    """How one port would be plugged in one segment."""

    vif_type: VifType
    plug_script: str | None = None
    #: the script's, and those that shape the VIF
    details: Mapping[str, Any] = {}
    #: the oldest version of the script that does
    min_version: str | None = None
    port_filter: bool = False
    #: bind it only where the host agent plugs
    via_agent: bool = False


def vif_details(plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What Neutron is given as vif_details. ``facts`` are what the driver adds of itself (connectivity, mtu,
    bandwidth): the plan's own details go before them. Raises Refused for what Neutron cannot keep."""
    details = {"port_filter": plan.port_filter} | dict(facts) | dict(plan.details)
    if plan.plug_script is not None:
        details["vif_plug_script"] = plan.plug_script
    check_size(details)
    return details


def check_size(details: Mapping[str, Any]) -> None:
    """Raises Refused for vif_details that Neutron cannot keep."""
    try:
        size = len(json.dumps(details))  # as oslo's jsonutils does: ASCII, so characters are bytes
    except (TypeError, ValueError) as error:
        raise Refused(f"its vif_details cannot be written as JSON: {error}", field="vif_details") from None
    if size > MOST_DETAILS:
        parts = {key: len(json.dumps(value)) for key, value in details.items()}
        largest = max(parts, key=lambda key: parts[key])
        raise Refused(
            f"its vif_details take {size} bytes as JSON, and Neutron keeps at most {MOST_DETAILS}; "
            f'the largest of them is "{largest}" with {parts[largest]}',
            field="vif_details",
        )


def read(port: Mapping[str, Any], vif_type: VifType, details: Mapping[str, Any]) -> Vif:
    """The VIF that the host would read from the port, once it is bound. Raises Refused with what the host
    would say."""
    try:
        return read_binding(
            {**port, "binding:vif_type": str(vif_type), "binding:vif_details": dict(details)},
        )
    except InvalidInput as error:
        raise Refused(error.message, **error.context) from None
