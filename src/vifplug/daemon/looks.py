"""What callers may see of the host, and wait for: nothing here changes anything."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from .. import __version__
from ..errors import NotPlugged, Stopping, TimedOut
from ..host.results import CallRecord, Record, ScriptEntry, State
from ..model import VifType
from ..model.learn import learn
from ..script.contract import PROTOCOL
from . import privacy
from .peers import Peer, Role
from .service import Service
from .status import Status

#: seconds after which a waiting caller looks at the record though no event came: another process may write it
_LOOK_AGAIN = 1.0


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this host can do: what a scheduler or a live migration asks first."""

    hostname: str
    boot_id: str
    #: of vifplug
    version: str
    #: versions of the plug-script contract
    protocols: list[int]
    vif_types: list[str]
    scripts: list[ScriptEntry]
    #: seconds since 1970
    started: float


class Health(msgspec.Struct, frozen=True, kw_only=True):
    #: "ok", "stopping", or "ailing": a part of the daemon no longer answers
    status: str
    started: float


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """A VIF that came to the state waited for; ``vif`` is its record, or None when it is unplugged."""

    id: str
    state: str
    vif: Record | None = None


def capabilities(service: Service) -> Capabilities:
    return Capabilities(
        hostname=socket.gethostname(),
        boot_id=service.host.boot_id,
        version=__version__,
        protocols=[PROTOCOL],
        vif_types=[type_.value for type_ in VifType],
        scripts=service.host.scripts(),
        started=service.started,
    )


def health(service: Service) -> Health:
    if service.stopping:
        return Health(status="stopping", started=service.started)
    return Health(status="ok" if service.alive() else "ailing", started=service.started)


def status(service: Service) -> Status:
    counts = service.host.counts()
    return Status(
        hostname=socket.gethostname(),
        version=__version__,
        pid=os.getpid(),
        now=time.time(),
        started=service.started,
        vifs=counts,
        debts=sum(count.vifs for count in counts if count.state is State.DEBT),
        running=service.activity.running(),
        queue=service.admission.queue(),
        connections=service.connections(),
        calls=service.activity.calls(),
        events=service.events.number,
    )


def page(
    service: Service, peer: Peer, role: Role, *, state: State | None, limit: int, after: int | None
) -> list[Record]:
    records = service.host.list(state, limit=limit, after=after)
    return [_seen(peer, role, record) for record in records]


def show(service: Service, peer: Peer, role: Role, vif_id: str) -> Record:
    return _seen(peer, role, service.host.show(vif_id))


def is_others(service: Service, peer: Peer, role: Role, vif_id: str) -> bool:
    """Whether the VIF is on record, and not this caller's to see all of."""
    try:
        return role is not Role.ADMIN and not _whose(peer, role, service.host.show(vif_id))
    except NotPlugged:
        return False


def calls(service: Service, peer: Peer, role: Role, vif_id: str) -> list[CallRecord]:
    """Its script calls; those of other users' VIFs without what scripts said and answered."""
    found = service.host.calls(vif_id)
    try:
        if role is Role.ADMIN or _whose(peer, role, service.host.show(vif_id)):
            return found
    except NotPlugged:  # unplugged, with its calls still kept: whose it was is no longer known
        pass
    return [privacy.of_call(call) for call in found]


def wait(
    service: Service,
    peer: Peer,
    role: Role,
    vif_id: str,
    state: str,
    *,
    seconds: float,
    gone: Callable[[], bool],
) -> Waited:
    """Until the VIF is plugged, unplugged, or settled (either, or a debt).

    Raises TimedOut, also when the caller has ``gone``, and Stopping.
    """
    until = time.monotonic() + seconds
    news = service.events.subscribe()
    while True:
        try:
            record = service.host.show(vif_id)
        except NotPlugged:
            record = None
        now = record.state.value if record is not None else "unplugged"
        if now == state or (state == "settled" and now in ("plugged", "unplugged", "debt")):
            return Waited(id=vif_id, state=now, vif=record and _seen(peer, role, record))
        left = until - time.monotonic()
        if service.stopping:
            raise Stopping("vifplugd is being stopped: wait again in a moment", retry_after=2)
        if left <= 0 or gone():
            raise TimedOut(
                f"VIF {vif_id} is {now}, and was not {state} within {seconds:g} s",
                vif_id=vif_id,
                state=now,
            )
        _await(news.next, vif_id, min(left, _LOOK_AGAIN))


def _await(next_event: Callable[[float], Any], vif_id: str, seconds: float) -> None:
    """Until something happened to the VIF, or the time is over."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        event = next_event(left)
        if event is None or event.vif_id == vif_id:
            return


def _seen(peer: Peer, role: Role, record: Record) -> Record:
    """The record as this caller may see it."""
    return record if _whose(peer, role, record) else privacy.of_record(record)


def _whose(peer: Peer, role: Role, record: Record) -> bool:
    """Whether the VIF is this caller's, as every VIF is an admin's."""
    return role is Role.ADMIN or record.owner == peer.uid


learn(Capabilities, Health, Waited)
