"""What the daemon answers, as read-only objects: the same names as in vifplug.host.results and vifplug.model.

They are plain reading aids over JSON, and import nothing: a caller of the client needs no msgspec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal


class Answer(Mapping[str, Any]):
    """One JSON object: ``plugged.xml`` and ``plugged["xml"]`` are the same, and so with all that is in it.

    What JSON leaves out because it is the default is filled in. A key that this version does not know is
    there too. Lists are copies; nothing can be set.
    """

    __slots__ = ("_found",)
    _absent: ClassVar[Mapping[str, Any]]
    _absent_by_type: ClassVar[Mapping[str, Mapping[str, Any]]]
    _parts: ClassVar[Mapping[str, type[Answer]]]

    def __init_subclass__(
        cls,
        *,
        absent: Mapping[str, Any] | None = None,
        absent_by_type: Mapping[str, Mapping[str, Any]] | None = None,
        parts: Mapping[str, type[Answer]] | None = None,
    ) -> None:
        """What JSON may leave out is None where its annotation allows that, else as ``absent`` says, for all
        or by the object's ``type``. ``parts``: what the object under a key is, or the objects in its list."""
        optional = [name for name, kind in cls.__annotations__.items() if kind.endswith("| None")]
        cls._absent = dict.fromkeys(optional) | dict(absent or {})
        cls._absent_by_type, cls._parts = absent_by_type or {}, parts or {}

    def __init__(self, found: Mapping[str, Any]) -> None:
        absent = self._absent_by_type.get(found.get("type", ""), {}) if self._absent_by_type else self._absent
        object.__setattr__(self, "_found", {**absent, **found})

    def __getitem__(self, key: str) -> Any:
        return self._wrapped(self._found[key], self._parts.get(key, Answer))

    def __getattr__(self, name: str) -> Any:
        if name in self._found:
            return self[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self._found)}")

    def __setattr__(self, name: str, _: Any) -> None:
        raise AttributeError(f"{name} cannot be set: an answer is for reading")

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._found!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._found,)

    def _wrapped(self, value: Any, kind: type[Answer]) -> Any:
        if isinstance(value, dict):
            return kind(value)
        if isinstance(value, list):
            return [self._wrapped(each, kind) for each in value]
        return value


# --- the VIF --------------------------------------------------------------------------------


class Rate(Answer):
    __slots__ = ()
    average: int
    peak: int | None
    burst: int | None
    floor: int | None


class Bandwidth(Answer, parts={"inbound": Rate, "outbound": Rate}):
    __slots__ = ()
    inbound: Rate | None
    outbound: Rate | None


class Driver(Answer):
    __slots__ = ()
    name: str | None
    rx_queue_size: int | None
    tx_queue_size: int | None
    txmode: str | None
    ioeventfd: bool | None
    event_idx: bool | None
    packed: bool | None
    iommu: bool | None
    ats: bool | None


class Route(Answer):
    __slots__ = ()
    destination: str
    nexthop: str


class Subnet(Answer, absent={"addresses": [], "routes": [], "dns": []}, parts={"routes": Route}):
    __slots__ = ()
    id: str | None
    cidr: str | None
    gateway: str | None
    addresses: list[str]
    routes: list[Route]
    dns: list[str]


class NetworkInfo(Answer, absent={"subnets": []}, parts={"subnets": Subnet}):
    __slots__ = ()
    id: str | None
    label: str | None
    bridge: str | None
    mtu: int | None
    project_id: str | None
    subnets: list[Subnet]


class Instance(Answer):
    __slots__ = ()
    id: str | None
    name: str | None
    project_id: str | None


class Migration(Answer):
    __slots__ = ()
    role: str
    phase: str


class Vlan(Answer, absent={"trunk": False}):
    __slots__ = ()
    tags: list[int]
    trunk: bool
    native: int | None
    native_mode: str | None


class VirtualPort(
    Answer,
    absent_by_type={
        "openvswitch": {"interface_id": None, "profile_id": None},
        "802.1Qbg": {"instance_id": None},
    },
):
    __slots__ = ()
    type: str


class PortForward(Answer):
    __slots__ = ()
    proto: str
    start: int
    end: int | None
    to: int | None
    address: str | None
    dev: str | None


class Shape(
    Answer,
    absent_by_type={
        "ethernet": {"made_by": "vifplug"},
        "bridge": {"virtualport": None, "vlan": None},
        "network": {"portgroup": None, "virtualport": None, "vlan": None},
        "direct": {"mode": "bridge", "virtualport": None, "vlan": None},
        "hostdev": {"pci_slot": None, "managed": True, "vlan": None, "virtualport": None},
        "vhostuser": {"path": None, "mode": "server", "reconnect": None},
        "vdpa": {"device": None},
        "user": {"backend": "slirp", "source_dev": None, "log_file": None, "port_forwards": []},
    },
    parts={"vlan": Vlan, "virtualport": VirtualPort, "port_forwards": PortForward},
):
    __slots__ = ()
    type: str


class Vif(
    Answer,
    absent={"queues": 1, "model": "virtio", "details": {}, "profile": {}, "network": {}, "instance": {}},
    parts={
        "shape": Shape,
        "driver": Driver,
        "bandwidth": Bandwidth,
        "network": NetworkInfo,
        "instance": Instance,
        "migration": Migration,
    },
):
    __slots__ = ()
    id: str
    shape: Shape
    devname: str
    plug_script: str | None
    details: Answer
    address: str | None
    mtu: int | None
    queues: int
    model: str
    driver: Driver | None
    bandwidth: Bandwidth | None
    boot_order: int | None
    alias: str | None
    link_state: str | None
    network: NetworkInfo
    instance: Instance
    migration: Migration | None
    vnic_type: str | None
    profile: Answer

    @property
    def type(self) -> str:
        """The VIF type: ``"ethernet"``, ``"bridge"``, …"""
        return str(self.shape.type)

    @property
    def made_here(self) -> bool:
        """Whether it is vifplug that makes the device: not the script, and not libvirt."""
        return bool(self.type == "ethernet" and self.shape.made_by == "vifplug")


# --- answers --------------------------------------------------------------------------------


class ScriptRef(Answer):
    __slots__ = ()
    name: str
    path: str
    digest: str


class Record(Answer, parts={"vif": Vif, "request": Vif, "next_request": Vif, "script": ScriptRef}):
    """One VIF on record: see `vifplug.host.results.Record`."""

    __slots__ = ()
    id: str
    state: Literal["plugging", "plugged", "updating", "unplugging", "debt"]
    generation: int
    vif: Vif
    request: Vif
    next_request: Vif | None
    script: ScriptRef | None
    device: str | None
    boot_id: str
    lost: bool
    attempts: int
    error: Answer | None
    owner: int | None
    created: float
    changed: float


class CallRecord(Answer):
    """One call of a script: see `vifplug.host.results.CallRecord`."""

    __slots__ = ()
    vif_id: str
    generation: int
    verb: str
    script: str
    digest: str
    attempt: int
    started: float
    seconds: float
    outcome: str
    exit_status: int | None
    signal: int | None
    message: str | None
    reply: Answer | None
    stderr: str
    traceparent: str
    ran: bool


class Plugged(Answer, parts={"vif": Vif}):
    """The answer of plug, update, repair and activate."""

    __slots__ = ()
    id: str
    generation: int
    vif: Vif
    xml: str
    changed: bool
    activated: bool
    seconds: float


class Unplugged(Answer):
    __slots__ = ()
    id: str
    generation: int | None
    changed: bool
    notes: list[str]
    seconds: float


class Drift(Answer):
    __slots__ = ()
    what: str
    expected: Any
    found: Any


class CheckReport(Answer, parts={"drift": Drift}):
    __slots__ = ()
    id: str
    ok: bool
    drift: list[Drift]
    script: Literal["asked", "no check", "no script", "failed"]
    message: str | None


class Recovered(Answer):
    __slots__ = ()
    id: str
    was: str
    now: str
    message: str | None


class GcReport(Answer):
    __slots__ = ()
    forgotten: list[str]
    paid: list[str]
    owing: Answer
    devices: list[str]
    given_up: list[str]
    calls: int


class Step(Answer):
    __slots__ = ()
    vif_id: str
    name: str
    phase: Literal["begin", "end", "failed"]
    seconds: float
    text: str


class Planned(Answer):
    __slots__ = ()
    name: str
    text: str
    commands: list[list[str]]


class Rehearsal(Answer, parts={"steps": Planned}):
    __slots__ = ()
    id: str
    steps: list[Planned]
    xml: str | None


class ScriptEntry(Answer):
    __slots__ = ()
    name: str
    path: str
    digest: str | None
    trusted: bool
    reason: str | None
    info: Answer | None


class VifCount(Answer):
    __slots__ = ()
    state: str
    type: str | None
    vifs: int


class Waited(Answer, parts={"vif": Record}):
    """What a VIF that was waited for came to."""

    __slots__ = ()
    id: str
    state: str
    vif: Record | None


class Event(Answer):
    """One thing that happened on the host: docs/observing.md has the kinds."""

    __slots__ = ()
    number: int
    time: float
    kind: str
    vif_id: str | None
    data: Answer


Answer._absent, Answer._absent_by_type, Answer._parts = {}, {}, {}
