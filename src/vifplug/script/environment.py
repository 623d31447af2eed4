"""What a script finds in its environment: nothing of ours but what the contract lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import InvalidInput
from .contract import PROTOCOL, Request, RequestNetwork, RequestVif

#: what a script has before the operator's environment, which may change both
BASE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

#: The kernel refuses a longer "NAME=value" (MAX_ARG_STRLEN, execve(2)), with its final NUL.
LONGEST = 128 * 1024 - 1

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")


def environment_for(
    request: Request, *, operator: Mapping[str, str] | None = None, call: str = ""
) -> dict[str, str]:
    """Names and values for ``request``: the contract's, PATH, LANG, and the operator's; ``call`` is its mark's.

    The contract's names are always set, to the empty string where nothing is known. A detail that
    is too long for the environment is left out: the script has it on standard input. Raises
    InvalidInput for a value with control characters, and for two details with one name.
    """
    environment = {
        **BASE,
        **(operator or {}),
        "VIFPLUG_PROTOCOL": str(request.protocol),
        "VIFPLUG_DEADLINE": str(int(max(request.deadline, 0))),
        "VIFPLUG_CALL": call,
        "TRACEPARENT": request.traceparent or "",
    }
    if request.dry_run:
        environment["VIFPLUG_DRY_RUN"] = "1"
    if request.vif is not None:
        environment |= _details(request.vif.details)
        for name, value, place in _scalars(request, request.vif):
            environment[name] = _clean(value, place)
    return environment


def resident_environment(operator: Mapping[str, str], call: str) -> dict[str, str]:
    """What a script that stays up finds: nothing of any one VIF. ``call`` is the process's mark's."""
    return {**BASE, **operator, "VIFPLUG_PROTOCOL": str(PROTOCOL), "VIFPLUG_CALL": call}


def _scalars(request: Request, vif: RequestVif) -> list[tuple[str, str, str]]:
    network, instance = request.network, request.instance
    return [
        ("VIF_ID", vif.id, "id"),
        ("VIF_TYPE", vif.type, "type"),
        ("VIF_DEVNAME", vif.devname, "devname"),
        ("VIF_ADDRESS", vif.address or "", "address"),
        ("VIF_MTU", "" if vif.mtu is None else str(vif.mtu), "mtu"),
        ("VIF_INSTANCE_ID", (instance and instance.id) or "", "instance.id"),
        ("VIF_INSTANCE_NAME", (instance and instance.name) or "", "instance.name"),
        ("VIF_PROJECT_ID", (instance and instance.project_id) or "", "instance.project_id"),
        ("VIF_NETWORK_ID", (network and network.id) or "", "network.id"),
        ("VIF_NETWORK_LABEL", (network and network.label) or "", "network.label"),
        ("VIF_NETWORK_BRIDGE", (network and network.bridge) or "", "network.bridge"),
        ("VIF_FIXED_IPS", " ".join(_addresses(network)), "network.subnets.addresses"),
        ("VIF_OVS_INTERFACEID", _ovs_interface_id(vif), "vif_details.ovs_interfaceid"),
    ]


def _addresses(network: RequestNetwork | None) -> list[str]:
    return [address for subnet in (network.subnets if network else []) for address in subnet.addresses]


def _ovs_interface_id(vif: RequestVif) -> str:
    """Open vSwitch's name for the port: what the details say, else the port id (as in Nova)."""
    port = vif.details.get("virtualport")
    for said in (
        vif.details.get("ovs_interfaceid"),
        port.get("interface_id") if isinstance(port, Mapping) else None,
    ):
        if isinstance(said, str) and said:
            return said
    return vif.id


def _details(details: Mapping[str, Any]) -> dict[str, str]:
    environment: dict[str, str] = {}
    came_from: dict[str, str] = {}
    for key, value in details.items():
        name = "VIF_DETAILS_" + _NOT_IN_A_NAME.sub("_", str(key).upper())
        if name in came_from:
            raise InvalidInput(
                f"vif_details has both {came_from[name]!r} and {key!r}, and a script would read both as {name}: "
                "rename one",
                field=f"vif_details.{key}",
            )
        came_from[name] = key
        text = _clean(_as_text(key, value), f"vif_details.{key}")
        if len(name) + 1 + len(text.encode()) <= LONGEST:
            environment[name] = text
    return environment


def _as_text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(
            f"vif_details.{key} cannot be written as JSON: {error}", field=f"vif_details.{key}"
        ) from error


def _clean(value: str, place: str) -> str:
    if found := _CONTROL.search(value):
        raise InvalidInput(
            f"{place} has the control character {found[0]!r} at position {found.start()}, which an environment "
            "variable for shell scripts must not have: remove it, or put the text into a list or an object, "
            "which scripts get as JSON",
            field=place,
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{place} is not valid Unicode: {error.reason}", field=place) from error
    return value
