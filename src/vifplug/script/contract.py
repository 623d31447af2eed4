"""The plug-script contract, version 1: the verbs and what a script is told (docs/contract.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from os import uname
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from vifplug._version import CONTRACT_VERSION

from ..errors import InvalidInput
from ..model import vif as model
from ..model.learn import learn

#: the one version of the contract that this host speaks
PROTOCOL = CONTRACT_VERSION


class Verb(StrEnum):
    """What a script can be asked to do; ``plug`` and ``unplug`` are the ones it must know."""

    PLUG = "plug"
    UNPLUG = "unplug"
    INFO = "info"
    CHECK = "check"
    UPDATE = "update"
    ACTIVATE = "activate"


_Word = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
_LockName = Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9_.-]|\{[A-Za-z0-9_.-]+\}){1,64}\Z")]
_PLACE = re.compile(r"\{([^}]+)\}")


class RequestVif(Struct, frozen=True, kw_only=True):
    id: str
    type: str
    address: str | None
    devname: str
    mtu: int | None
    queues: int
    bandwidth: model.Bandwidth | None
    #: what Neutron calls binding:vnic_type ("normal", "direct", …) and binding:profile
    vnic_type: str | None
    profile: dict[str, Any]
    #: all of vif_details, as the network service sent it
    details: dict[str, Any]


class RequestRoute(Struct, frozen=True, kw_only=True):
    destination: str
    nexthop: str


class RequestSubnet(Struct, frozen=True, kw_only=True):
    id: str | None
    cidr: str | None
    gateway: str | None
    addresses: list[str]
    routes: list[RequestRoute]
    dns: list[str]


class RequestNetwork(Struct, frozen=True, kw_only=True):
    id: str | None
    label: str | None
    bridge: str | None
    mtu: int | None
    project_id: str | None
    subnets: list[RequestSubnet]


class RequestInstance(Struct, frozen=True, kw_only=True):
    id: str | None
    name: str | None
    project_id: str | None


class RequestHost(Struct, frozen=True, kw_only=True):
    """The host as scripts know it: its name, and the id that the kernel drew at this boot."""

    name: str
    boot_id: str

    @staticmethod
    @cache
    def here() -> RequestHost:
        """This host, read once: uname(2) and ``/proc/sys/kernel/random/boot_id`` (random(4))."""
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 (pathlib is slow to import)
            return RequestHost(name=uname().nodename, boot_id=file.read().strip())


class Request(Struct, frozen=True, kw_only=True):
    """What a script reads on standard input. Every key is always there; null means unknown."""

    protocol: int = PROTOCOL
    verb: Verb
    #: None for ``info`` alone
    vif: RequestVif | None = None
    network: RequestNetwork | None = None
    instance: RequestInstance | None = None
    host: RequestHost
    generation: int = 0
    #: 1, and one more each time the host tries again within the same deadline
    attempt: int = 1
    #: seconds left
    deadline: float
    migration: model.Migration | None = None
    #: what the script answered to the last successful plug or update, as it wrote it
    previous: dict[str, Any] | None = None
    #: for ``update``: dotted names of what differs from the recorded request
    changes: list[str] = field(default_factory=list)
    #: True: say which commands would be run, and run none that changes anything
    dry_run: bool = False
    #: W3C trace context: the trace of the whole operation, the span of this call
    traceparent: str | None = None

    def to_json(self) -> bytes:
        """One line of JSON. Raises InvalidInput for a detail that JSON cannot carry."""
        try:
            return msgspec.json.encode(self) + b"\n"
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # msgspec's NotImplementedError and EncodeError are a TypeError and a ValueError
            raise InvalidInput(
                f"vif_details cannot be written as JSON: {error}", field="vif_details"
            ) from error


def host_facts(name: str, boot_id: str) -> RequestHost:
    """The ``host`` part of a request."""
    return RequestHost(name=name, boot_id=boot_id)


def request_for(
    verb: str,
    vif: model.Vif,
    *,
    generation: int,
    host: RequestHost,
    attempt: int = 1,
    deadline: float,
    previous: Mapping[str, Any] | None = None,
    changes: Iterable[str] | None = None,
) -> Request:
    """What ``verb`` tells the script about ``vif``.

    ``deadline`` is in seconds from now; ``previous`` is the reply of the last successful plug,
    ``changes`` (for ``update``) the dotted names of what changed. Raises InvalidInput for an
    unknown verb.
    """
    if verb not in tuple(Verb):
        raise InvalidInput(f"{verb!r} is not a verb; verbs are {', '.join(Verb)}", field="verb", value=verb)
    network = msgspec.convert(vif.network, RequestNetwork, from_attributes=True)
    if network.bridge is None:
        network = msgspec.structs.replace(network, bridge=_bridge_of(vif))
    return Request(
        verb=Verb(verb),
        vif=RequestVif(
            id=vif.id,
            type=vif.type,
            address=vif.address,
            devname=vif.devname,
            mtu=vif.mtu,
            queues=vif.queues,
            bandwidth=vif.bandwidth,
            vnic_type=vif.vnic_type,
            profile=vif.profile,
            details=vif.details,
        ),
        network=network,
        instance=msgspec.convert(vif.instance, RequestInstance, from_attributes=True),
        host=host,
        generation=generation,
        attempt=attempt,
        deadline=deadline,
        migration=vif.migration,
        previous=None if previous is None else dict(previous),
        changes=sorted(changes or ()),
    )


def _bridge_of(vif: model.Vif) -> str | None:
    """The bridge that 2015 scripts expect as VIF_NETWORK_BRIDGE: the shape's, else the details'."""
    if isinstance(vif.shape, model.Bridge):
        return vif.shape.bridge
    for key in ("bridge", "bridge_name"):
        if isinstance(name := vif.details.get(key), str) and name:
            return name
    return None


class Info(Struct, frozen=True, kw_only=True):
    """What a script says of itself. Keys that this version does not know are ignored."""

    name: _Word
    version: _Word = "0"
    protocols: Annotated[list[int], Meta(min_length=1)] = field(default_factory=lambda: [PROTOCOL])
    verbs: list[_Word] = field(default_factory=lambda: ["plug", "unplug"])
    #: VIF types that it serves; empty: it does not say
    vif_types: list[_Word] = field(default_factory=list)
    #: JSON Schema of its vif_details
    details_schema: dict[str, Any] | None = None
    #: named locks that the host holds around its verbs; see ``locks_for``
    locks: list[_LockName] = field(default_factory=list)
    #: dotted names that ``update`` applies to a live VIF, such as ``mtu`` and ``details.tag``
    update_fields: list[_Word] = field(default_factory=list)
    resident: bool = False
    #: whether it understands ``dry_run``; it is never asked for one otherwise
    dry_run: bool = False


def locks_for(names: Iterable[str], details: Mapping[str, Any]) -> list[str]:
    """The locks that a script's verbs need for one VIF, sorted.

    ``{key}`` in a name stands for that detail: one lock for each value. Where the binding does not
    have the detail, or says false, the lock is not needed.
    """
    needed = set()
    for name in names:
        values = [details.get(key) for key in _PLACE.findall(name)]
        if all(value is not None and value is not False for value in values):
            needed.add(_PLACE.sub(lambda place: str(details[place[1]]), name))
    return sorted(needed)


learn(RequestNetwork, RequestInstance, Info)
