"""What can be asked of vifplugd: every route, who may take it, and what it answers.

The OpenAPI description is made from this table, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ..errors import InvalidInput, NotAllowed, VifplugError
from ..host.results import (
    CallRecord,
    CheckReport,
    GcReport,
    Plugged,
    Record,
    Recovered,
    Rehearsal,
    ScriptEntry,
    State,
    Unplugged,
)
from ..host.steps import OnStep
from ..model import Vif, read_binding, read_bindings
from ..model.binding import device_name
from ..model.learn import learn
from ..model.vif import Ethernet
from . import looks, privacy
from .looks import Capabilities, Health, Waited
from .many import plug_all, unplug_all
from .peers import Peer, Role
from .service import Service
from .status import Status
from .streams import Line, PlugLine, UnplugLine, lines, server_sent

Seconds = Annotated[float, Meta(gt=0, le=86400)]

JSON, NDJSON, XML = "application/json", "application/x-ndjson", "application/xml"
EVENTS, METRICS = "text/event-stream", "text/plain; version=0.0.4; charset=utf-8"

#: bytes of a request's body: one binding, many bindings
_ONE, _MANY = 1 << 20, 64 << 20


class Ask(Struct, frozen=True, kw_only=True):
    """One request, let in."""

    peer: Peer
    role: Role
    #: of the path: "id"
    path: dict[str, str]
    #: the query, converted to what the route says
    query: dict[str, Any]
    body: bytes
    #: whether the caller has hung up
    gone: Callable[[], bool]
    #: the last event that a returning reader of events has seen
    last_event: str | None = None
    on_step: OnStep | None = None


class Raw(Struct, frozen=True):
    """An answer that is not JSON."""

    content: bytes
    kind: str


T = TypeVar("T")
Stream = Iterator[bytes]
Handler = Callable[[Service, Ask], Any]


class Route(Struct, frozen=True, kw_only=True):
    method: Literal["GET", "POST"]
    #: as in OpenAPI: "/v1/vifs/{id}"
    path: str
    role: Role
    summary: str
    handle: Handler
    #: the query's parameters and their types
    query: dict[str, Any] = {}  # a struct's default is copied
    #: what the body is: a type, the name of a shipped schema, or nothing
    body: Any = None
    limit: int = 0
    #: the type of the answer; what a line of it holds for a stream
    answer: Any
    kind: str = JSON
    #: whether it can tell its steps (Accept: application/x-ndjson)
    steps: bool = False
    #: whether it lasts for as long as the caller likes: there is room for so many of those
    lasting: bool = False


class Vifs(Struct, frozen=True, kw_only=True):
    vifs: list[Record]
    #: what to ask for next (``after``), or null at the end
    next: int | None


class Calls(Struct, frozen=True, kw_only=True):
    calls: list[CallRecord]


class Scripts(Struct, frozen=True, kw_only=True):
    scripts: list[ScriptEntry]


class RecoveredAll(Struct, frozen=True, kw_only=True):
    recovered: list[Recovered]


class Forgotten(Struct, frozen=True, kw_only=True):
    #: debts written off
    forgotten: int


class Which(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which VIFs to unplug: these, or all on record."""

    ids: Annotated[list[str], Meta(max_length=10_000)] | UnsetType = UNSET
    all: Literal[True] | UnsetType = UNSET


# --- verbs ---------------------------------------------------------------------------------------


def _as_may_be_seen(
    service: Service, ask: Ask, vif_id: str, work: Callable[[OnStep | None], T], of: Callable[[T], T]
) -> T:
    """What comes of a verb, as who asks may see it: what was said of another user's VIF is its owner's."""
    if not looks.is_others(service, ask.peer, ask.role, vif_id):
        return work(ask.on_step)
    on_step = ask.on_step
    try:
        return of(work(on_step and (lambda step: on_step(privacy.of_step(step)))))
    except VifplugError as error:
        raise privacy.of_error(error) from None


def _whole(answer: T) -> T:
    return answer


def _check_device(ask: Ask, vif: Vif) -> None:
    """Who may plug may have vifplug take a device that they made, and no other that is on this host."""
    takes = isinstance(vif.shape, Ethernet) and vif.shape.made_by == "caller"
    if takes and ask.role < Role.ADMIN and vif.devname != device_name(vif.id):
        raise NotAllowed(
            f'VIF {vif.id}: only an admin may hand over device "{vif.devname}" with made_by "caller"; anybody else '
            f"one that is named after the VIF: {device_name(vif.id)}"
        )


def _plug(service: Service, ask: Ask) -> Plugged:
    vif = read_binding(ask.body)
    _check_device(ask, vif)
    seconds, refresh = ask.query.get("seconds"), ask.query.get("refresh", False)

    def work(on_step: OnStep | None) -> Plugged:
        return service.plug(vif, owner=ask.peer.uid, seconds=seconds, refresh=refresh, on_step=on_step)

    return _as_may_be_seen(service, ask, vif.id, work, _whole)


def _update(service: Service, ask: Ask) -> Plugged:
    vif = read_binding(ask.body)
    _check_device(ask, vif)

    def work(on_step: OnStep | None) -> Plugged:
        return service.update(vif, owner=ask.peer.uid, seconds=ask.query.get("seconds"), on_step=on_step)

    return _as_may_be_seen(service, ask, vif.id, work, _whole)


def _rehearse(service: Service, ask: Ask) -> Rehearsal:
    return service.rehearse(ask.body)


def _unplug(service: Service, ask: Ask) -> Unplugged:
    vif_id, generation, seconds = ask.path["id"], ask.query.get("generation"), ask.query.get("seconds")
    remove = ask.query.get("remove_device", False)

    def work(on_step: OnStep | None) -> Unplugged:
        return service.unplug(
            vif_id, generation=generation, seconds=seconds, remove_device=remove, on_step=on_step
        )

    return _as_may_be_seen(service, ask, vif_id, work, privacy.of_unplugged)


def _check(service: Service, ask: Ask) -> CheckReport:
    vif_id = ask.path["id"]
    return _as_may_be_seen(service, ask, vif_id, lambda _: service.check(vif_id), privacy.of_check)


def _activate(service: Service, ask: Ask) -> Plugged:
    vif_id, seconds = ask.path["id"], ask.query.get("seconds")

    def work(on_step: OnStep | None) -> Plugged:
        return service.activate(vif_id, seconds=seconds, on_step=on_step)

    return _as_may_be_seen(service, ask, vif_id, work, privacy.of_plugged)


def _repair(service: Service, ask: Ask) -> Plugged:
    vif_id, seconds = ask.path["id"], ask.query.get("seconds")

    def work(on_step: OnStep | None) -> Plugged:
        return service.repair(vif_id, seconds=seconds, on_step=on_step)

    return _as_may_be_seen(service, ask, vif_id, work, privacy.of_plugged)


def _forget(service: Service, ask: Ask) -> Forgotten:
    return Forgotten(forgotten=service.forget(ask.path["id"]))


def _recover(service: Service, _: Ask) -> RecoveredAll:
    return RecoveredAll(recovered=service.recover())


def _gc(service: Service, _: Ask) -> GcReport:
    return service.gc()


def _plug_all(service: Service, ask: Ask) -> Stream:
    vifs = read_bindings(ask.body)
    for vif in vifs:
        _check_device(ask, vif)
    return lines(
        lambda tell: plug_all(
            service, vifs, owner=ask.peer.uid, on_done=lambda index, answer: tell(Line.of(answer, index))
        )
    )


def _unplug_all(service: Service, ask: Ask) -> Stream:
    try:
        which = msgspec.json.decode(ask.body, type=Which)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f'the body must be {{"ids": […]}} or {{"all": true}}: {error}', field="") from None
    if (which.ids is UNSET) == (which.all is UNSET):
        raise InvalidInput('the body must have either "ids" or "all"', field="", allowed=["ids", "all"])
    if which.all is True and ask.role < Role.ADMIN:
        raise NotAllowed("only an admin may unplug all VIFs of this host at once: name them")
    ids = None if which.ids is UNSET else which.ids

    others = {vif_id for vif_id in ids or () if looks.is_others(service, ask.peer, ask.role, vif_id)}

    def work(tell: Callable[[Line], None]) -> None:
        def done(index: int, vif_id: str, answer: Unplugged | VifplugError) -> None:
            if vif_id in others:
                answer = privacy.of_unplugged_or_not(answer)
            tell(Line.of(answer, index, vif_id))

        unplug_all(service, ids, on_done=done)

    return lines(work)


# --- look ----------------------------------------------------------------------------------------


def _list(service: Service, ask: Ask) -> Vifs:
    limit = ask.query.get("limit", 1000)
    state, after = ask.query.get("state"), ask.query.get("after")
    found = looks.page(service, ask.peer, ask.role, state=state, limit=limit, after=after)
    return Vifs(vifs=found, next=found[-1].generation if len(found) == limit else None)


def _show(service: Service, ask: Ask) -> Record:
    return looks.show(service, ask.peer, ask.role, ask.path["id"])


def _xml(service: Service, ask: Ask) -> Raw:
    return Raw(service.host.xml(ask.path["id"]).encode(), XML)


def _calls(service: Service, ask: Ask) -> Calls:
    return Calls(calls=looks.calls(service, ask.peer, ask.role, ask.path["id"]))


def _wait(service: Service, ask: Ask) -> Waited:
    return looks.wait(service,
        ask.peer, ask.role, ask.path["id"], ask.query.get("state", "settled"),
        seconds=ask.query.get("seconds", 30.0), gone=ask.gone,
    )  # fmt: skip


def _capabilities(service: Service, _: Ask) -> Capabilities:
    return looks.capabilities(service)


def _health(service: Service, _: Ask) -> Health:
    return looks.health(service)


def _status(service: Service, _: Ask) -> Status:
    return looks.status(service)


def _scripts(service: Service, _: Ask) -> Scripts:
    return Scripts(scripts=service.host.scripts())


def _events(service: Service, ask: Ask) -> Stream:
    after = ask.query.get("after")
    if after is None and ask.last_event is not None and ask.last_event.isdecimal():
        after = int(ask.last_event)
    shown = _whole if ask.role is Role.ADMIN else privacy.of_event
    return server_sent(service.events.subscribe(after), ask.gone, shown)


def _metrics(service: Service, _: Ask) -> Raw:
    return Raw(service.metrics(), METRICS)


def _openapi(_service: Service, _: Ask) -> Raw:
    from .openapi import description

    return Raw(description(), JSON)


_DEADLINE = {"seconds": Seconds}
_ID = "/v1/vifs/{id}"

ROUTES: tuple[Route, ...] = (
    Route(method="POST", path="/v1/plug", role=Role.PLUGGER, handle=_plug, answer=Plugged,
          summary="Connect a VIF to its network; the same binding again gives the same answer.",
          query={**_DEADLINE, "refresh": bool}, body="binding", limit=_ONE, steps=True),
    Route(method="POST", path="/v1/rehearse", role=Role.PLUGGER, handle=_rehearse, answer=Rehearsal,
          summary="What a plug of this binding would do, in order, without doing it.",
          body="binding", limit=_ONE),
    Route(method="POST", path="/v1/update", role=Role.PLUGGER, handle=_update, answer=Plugged,
          summary="Bring a plugged VIF to a changed binding without taking it from its guest.",
          query=_DEADLINE, body="binding", limit=_ONE, steps=True),
    Route(method="POST", path=f"{_ID}/unplug", role=Role.PLUGGER, handle=_unplug, answer=Unplugged,
          summary="Undo a plug; again, or for a VIF never plugged, is fine.",
          query={**_DEADLINE, "generation": Annotated[int, Meta(ge=0, le=2**63 - 1)], "remove_device": bool},
          steps=True),
    Route(method="POST", path=f"{_ID}/activate", role=Role.PLUGGER, handle=_activate, answer=Plugged,
          summary="The guest has moved here, at the end of a live migration: this host owns the VIF now.",
          query=_DEADLINE, steps=True),
    Route(method="POST", path=f"{_ID}/check", role=Role.PLUGGER, handle=_check, answer=CheckReport,
          summary="Is it still as plugged? Asks the kernel and the script."),
    Route(method="POST", path=f"{_ID}/repair", role=Role.PLUGGER, handle=_repair, answer=Plugged,
          summary="Bring a VIF that drifted back to what it was plugged as.", query=_DEADLINE, steps=True),
    Route(method="POST", path=f"{_ID}/forget", role=Role.ADMIN, handle=_forget, answer=Forgotten,
          summary="Write off what a VIF owes, for a backend that is gone for good."),
    Route(method="POST", path="/v1/plug-all", role=Role.PLUGGER, handle=_plug_all, answer=PlugLine, kind=NDJSON,
          summary="Plug many side by side: a line as each is done.", body="bindings", limit=_MANY),
    Route(method="POST", path="/v1/unplug-all", role=Role.PLUGGER, handle=_unplug_all, answer=UnplugLine, kind=NDJSON,
          summary="Unplug many: a line as each is done.", body=Which, limit=_ONE),
    Route(method="POST", path="/v1/recover", role=Role.ADMIN, handle=_recover, answer=RecoveredAll,
          summary="Finish what a process that died left in the middle."),
    Route(method="POST", path="/v1/gc", role=Role.ADMIN, handle=_gc, answer=GcReport,
          summary="Pay debts, tell backends of VIFs that a reboot took, remove devices nobody owns."),
    Route(method="GET", path="/v1/host", role=Role.READER, handle=_capabilities, answer=Capabilities,
          summary="What this host can do: protocol versions, VIF types, plug scripts."),
    Route(method="GET", path="/v1/health", role=Role.READER, handle=_health, answer=Health,
          summary="Whether the daemon is well."),
    Route(method="GET", path="/v1/status", role=Role.READER, handle=_status, answer=Status,
          summary="What runs now, what is queued, how long calls take."),
    Route(method="GET", path="/v1/scripts", role=Role.READER, handle=_scripts, answer=Scripts,
          summary="What would run, from where, and why a refused script is refused."),
    Route(method="GET", path="/v1/vifs", role=Role.READER, handle=_list, answer=Vifs,
          summary="VIFs on record, oldest first, page by page.",
          query={"state": State, "limit": Annotated[int, Meta(ge=1, le=10_000)],
                 "after": Annotated[int, Meta(ge=0, le=2**63 - 1)]}),
    Route(method="GET", path=_ID, role=Role.READER, handle=_show, answer=Record,
          summary="One VIF on record."),
    Route(method="GET", path=f"{_ID}/xml", role=Role.READER, handle=_xml, answer=str, kind=XML,
          summary="libvirt's <interface> for it."),
    Route(method="GET", path=f"{_ID}/calls", role=Role.READER, handle=_calls, answer=Calls,
          summary="What its script was called for, oldest first."),
    Route(method="GET", path=f"{_ID}/wait", role=Role.READER, handle=_wait, answer=Waited,
          summary="Wait until it is plugged, unplugged, or settled (either, or a debt).",
          query={"state": Literal["plugged", "unplugged", "settled"],
                 "seconds": Annotated[float, Meta(ge=0, le=3600)]}, lasting=True),
    Route(method="GET", path="/v1/events", role=Role.READER, handle=_events, answer=str, kind=EVENTS,
          summary="What happens on this host, as server-sent events.",
          query={"after": Annotated[int, Meta(ge=0, le=2**63 - 1)]}, lasting=True),
    Route(method="GET", path="/v1/openapi.json", role=Role.READER, handle=_openapi, answer=dict[str, Any],
          summary="This description."),
    Route(method="GET", path="/metrics", role=Role.READER, handle=_metrics, answer=str, kind=METRICS,
          summary="Metrics, for Prometheus."),
)  # fmt: skip


def find(path: str) -> tuple[list[Route], dict[str, str]]:
    """The routes of a path (one for each method), and what stands in its braces."""
    from urllib.parse import unquote

    parts = [unquote(part, errors="replace") for part in path.split("/")]
    for shape, routes in _BY_SHAPE.items():
        if len(shape) == len(parts) and all(
            want == part if not want.startswith("{") else part
            for want, part in zip(shape, parts, strict=True)
        ):
            named = {
                want[1:-1]: part for want, part in zip(shape, parts, strict=True) if want.startswith("{")
            }
            return routes, named
    return [], {}


def read_query(route: Route, given: list[tuple[str, str]]) -> dict[str, Any]:
    """The query as the route's types have it. Raises InvalidInput for what does not belong."""
    found: dict[str, Any] = {}
    for name, text in given:
        if name not in route.query:
            raise InvalidInput(
                f"the query has {name!r}, which {route.path} does not take"
                f" ({', '.join(route.query) or 'it takes none'})",
                field=name,
            )
        if name in found:
            raise InvalidInput(f"the query has {name!r} twice", field=name)
        try:
            found[name] = msgspec.convert(_bare(text), route.query[name], strict=False)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{name}={text!r} in the query: {error}", field=name, value=text) from None
    return found


def _bare(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


_BY_SHAPE: dict[tuple[str, ...], list[Route]] = {}
for _route in ROUTES:
    _BY_SHAPE.setdefault(tuple(_route.path.split("/")), []).append(_route)

learn(Vifs, Calls, Scripts, RecoveredAll, Forgotten, Which)
