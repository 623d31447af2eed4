"""Values of vif_details with ``{port.…}``, ``{network.…}`` or ``{segment.…}`` in them.

Small on purpose: a name in braces stands for one value, and that is all. A text that is one such place and
nothing else becomes the value itself, so numbers stay numbers and lists lists. What is filled in is never
looked at again, and names that a tenant chooses freely (of ports and networks) cannot be said at all: they
would end up as bridges and paths on a host. A device's id and owner, which a tenant may set too, are no part of
another text unless they are a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..model.checks import nearest
from .plan import Refused

#: what may stand in braces: the key in Neutron's port, network or segment, and an example
NAMES: dict[str, tuple[str, Any]] = {
    "port.id": ("id", "4c1b1b0a-7d5e-4f0a-9c55-2f7a3c1d9e01"),
    "port.mac_address": ("mac_address", "fa:16:3e:00:00:01"),
    "port.device_id": ("device_id", "0b6f0f0e-2f0b-4a0e-9d0c-7a3f5b1c2d3e"),
    "port.device_owner": ("device_owner", "compute:nova"),
    "port.project_id": ("project_id", "5d0c1a2b7e8f49c1a3b4c5d6e7f80910"),
    "port.host": ("binding:host_id", "compute-1"),
    "port.vnic_type": ("binding:vnic_type", "normal"),
    "port.fixed_ips": ("fixed_ips", []),
    "port.allowed_address_pairs": ("allowed_address_pairs", []),
    "port.security_groups": ("security_groups", []),
    "port.port_security_enabled": ("port_security_enabled", True),
    "network.id": ("id", "2d4f8c1e-93f5-4a40-8d0b-6f6f5f0f1c11"),
    "network.project_id": ("project_id", "5d0c1a2b7e8f49c1a3b4c5d6e7f80910"),
    "network.mtu": ("mtu", 1450),
    "segment.id": ("id", "8f2c1e44-93f5-4a40-8d0b-6f6f5f0f1c11"),
    "segment.network_type": ("network_type", "vlan"),
    "segment.physical_network": ("physical_network", "physnet1"),
    "segment.segmentation_id": ("segmentation_id", 100),
}
EXAMPLES: dict[str, Any] = {name: example for name, (_, example) in NAMES.items()}

#: what a tenant may set to any text, and Nova sets to a UUID and the like: part of another text only as such
_TENANTS = {"port.device_id", "port.device_owner"}
_WORD = re.compile(r"(?!.*\.\.)[A-Za-z0-9_.:-]*")
_PLACE = re.compile(r"\{([^{}]*)\}")
_NOTHING = object()


def check(value: Any, where: str) -> None:
    """Raises ConfigError for a name in braces that stands for nothing; ``where`` begins the message."""
    if isinstance(value, Mapping):
        for item in value.values():
            check(item, where)
    elif isinstance(value, list):
        for item in value:
            check(item, where)
    elif isinstance(value, str):
        for name in _PLACE.findall(value):
            if name not in NAMES:
                raise ConfigError(
                    f"{where}: {{{name}}} stands for nothing{nearest(name, NAMES)}; "
                    f"there are {', '.join(f'{{{known}}}' for known in NAMES)}",
                    field=where,
                    value=name,
                )
        if "{" in (rest := _PLACE.sub("", value)) or "}" in rest:
            raise ConfigError(f"{where}: {value!r} has a brace without its partner", field=where, value=value)


def has_places(value: Any) -> bool:
    """Whether something is filled in somewhere in ``value``."""
    if isinstance(value, Mapping):
        return any(map(has_places, value.values()))
    if isinstance(value, list):
        return any(map(has_places, value))
    return isinstance(value, str) and _PLACE.search(value) is not None


def facts(port: Mapping[str, Any], network: Mapping[str, Any], segment: Mapping[str, Any]) -> dict[str, Any]:
    """What each name stands for, for one port in one segment."""
    of = {"port": port, "network": network, "segment": segment}
    return {name: of[name.partition(".")[0]].get(key) for name, (key, _) in NAMES.items()}


def fill(details: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The details with every place filled in. A detail that is a single place without a value is left out;
    raises Refused where a value is missing inside a text."""
    filled = {key: _filled(value, known, key) for key, value in details.items()}
    return {key: value for key, value in filled.items() if value is not _NOTHING}


def _filled(value: Any, known: Mapping[str, Any], key: str) -> Any:
    if isinstance(value, Mapping):
        return fill(value, known)
    if isinstance(value, list):
        return [item for part in value if (item := _filled(part, known, key)) is not _NOTHING]
    if not isinstance(value, str):
        return value
    if place := _PLACE.fullmatch(value):
        found = known[place[1]]
        return _NOTHING if found is None else found

    def word(place: re.Match[str]) -> str:
        found = known[place[1]]
        if found is None or isinstance(found, list | Mapping):
            raise Refused(
                f'detail "{key}" is {value!r}, and {place[0]} '
                + ("has no value here" if found is None else "is a list, which stands alone or not at all"),
                field=f"vif_details.{key}",
            )
        if place[1] in _TENANTS and not _WORD.fullmatch(str(found)):
            raise Refused(
                f'detail "{key}" is {value!r}, and {place[0]} is {str(found)[:60]!r} here: only letters, digits, '
                '"_", ".", ":" and "-" may be put into a text',
                field=f"vif_details.{key}",
            )
        return str(found)

    return _PLACE.sub(word, value)
