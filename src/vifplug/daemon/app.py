"""From a request to its answer: route, role, pace, the handler, and each error under its status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ..errors import (
    Bug,
    InvalidInput,
    LedgerCorrupt,
    LedgerReplaced,
    NotAllowed,
    TooBusy,
    VifplugError,
    from_dict,
)
from . import api
from .observer import Observer
from .peers import Peer, Role
from .server import App, Head, Reply
from .service import Service
from .statuses import status_of
from .streams import Line, lines

log = logging.getLogger("vifplug.daemon")

#: bytes of a body where none is expected, or where the route is not known
_UNASKED = 64 * 1024
#: seconds after which, at the latest, anything may be tried again, whatever a script says
_LATEST = 3600
#: what a route of this method takes
_METHODS = {"GET": ("GET", "HEAD"), "POST": ("POST",)}
_encode = msgspec.json.Encoder().encode


class _NoSuchRoute(VifplugError):
    code = "no_such_route"


class _MethodNotAllowed(VifplugError):
    code = "method_not_allowed"


class _TooLarge(InvalidInput):
    code = "too_large"


class Api(App):
    """The API over one Service."""

    def __init__(self, service: Service, observer: Observer) -> None:
        self._service = service
        self._observer = observer

    def limit(self, role: Role, head: Head) -> int:
        routes, _ = api.find(_path(head))
        mine = [route.limit for route in routes if route.method == head.method and route.role <= role]
        return max([*mine, _UNASKED])

    def refuse(self, peer: Peer, code: str, message: str) -> Reply:
        error: VifplugError
        if code == "too_large":
            error = _TooLarge(message)
        elif code == "too_busy":
            error = TooBusy(message, retry_after=1)
        else:
            error = from_dict({"code": code, "message": message})
        log.info("turned away", extra={"vifplug": {"uid": peer.uid, "pid": peer.pid, "code": code}})
        return _failed(error, ("connection", "close"))

    def answer(self, peer: Peer, role: Role, head: Head, body: bytes, gone: Callable[[], bool]) -> Reply:
        path = _path(head)
        routes, named = api.find(path)
        shape = routes[0].path if routes else "(unknown)"
        traceparent = head.headers.get("traceparent")
        with self._observer.request(head.method, shape, path, peer=peer, traceparent=traceparent) as span:
            reply = self._answer(peer, role, head, body, gone, routes, named)
            span.attributes["http.response.status_code"] = reply.status
            return reply

    def _answer(  # noqa: PLR0917
        self, peer: Peer, role: Role, head: Head, body: bytes, gone: Callable[[], bool],
        routes: list[api.Route], named: dict[str, str],
    ) -> Reply:  # fmt: skip
        try:
            self._service.admission.pace(peer.uid)
            route = _route(head, routes)
            _check_role(route, role, peer)
            ask = api.Ask(
                peer=peer,
                role=role,
                path=named,
                query=api.read_query(route, _query(head)),
                body=body,
                gone=gone,
                last_event=head.headers.get("last-event-id"),
            )
            if route.steps and api.NDJSON in head.headers.get("accept", ""):
                return _streamed(api.NDJSON, lines(_step_by_step(self._service, route, ask)))
            with ExitStack() as stack:
                if route.lasting:
                    admission = self._service.admission
                    stack.enter_context(admission.lasting(peer.uid, admin=role is Role.ADMIN))
                reply = _answered(route, route.handle(self._service, ask))
                if not isinstance(reply.content, bytes):
                    reply = msgspec.structs.replace(reply, ended=stack.pop_all().close)
                return reply
        except VifplugError as error:
            if isinstance(error, LedgerCorrupt | LedgerReplaced):
                self._service.events.publish("ledger-failed", error=error.as_dict())
            return _failed(error)
        except Exception:
            log.exception("a bug: %s %s failed", head.method, _path(head))
            return _failed(Bug())


def _route(head: Head, routes: list[api.Route]) -> api.Route:
    method = "GET" if head.method == "HEAD" else head.method
    for route in routes:
        if route.method == method:
            return route
    if routes:
        allowed = [name for route in routes for name in _METHODS[route.method]]
        raise _MethodNotAllowed(f"{routes[0].path} takes {', '.join(allowed)}", allowed=allowed)
    raise _NoSuchRoute(f"there is no {_path(head)!r} here: GET /v1/openapi.json lists what there is")


def _check_role(route: api.Route, role: Role, peer: Peer) -> None:
    if role < route.role:
        needed, had = route.role.name.lower(), role.name.lower()
        raise NotAllowed(
            f"{route.method} {route.path} is for the role {needed}, and user {peer.uid} is a {had} here"
            f" (daemon.{needed}s in the configuration)",
            role=had,
            needed=needed,
        )


def _step_by_step(
    service: Service, route: api.Route, ask: api.Ask
) -> Callable[[Callable[[Line], None]], Any]:
    def work(tell: Callable[[Line], None]) -> None:
        stepping = msgspec.structs.replace(ask, on_step=lambda step: tell(Line(step=step)))
        tell(Line(answer=route.handle(service, stepping)))

    return work


def _answered(route: api.Route, answer: Any) -> Reply:
    if isinstance(answer, api.Raw):
        return Reply(200, [("content-type", answer.kind)], answer.content)
    if route.kind in (api.NDJSON, api.EVENTS):
        return _streamed(route.kind, answer)
    return Reply(200, [("content-type", api.JSON)], _encode(answer))


def _streamed(kind: str, parts: Iterator[bytes]) -> Reply:
    headers = [("content-type", kind), ("transfer-encoding", "chunked"), ("cache-control", "no-store")]
    return Reply(200, headers, parts)


def _failed(error: VifplugError, *headers: tuple[str, str]) -> Reply:
    said = [("content-type", api.JSON), *headers]
    if isinstance(error, _MethodNotAllowed):
        said.append(("allow", ", ".join(error.context["allowed"])))
    if "retry_after" in error.context:
        seconds = min(max(1, float(error.context["retry_after"])), _LATEST)
        said.append(("retry-after", str(round(seconds))))
    return Reply(status_of(error), said, _encode({"error": _plain(error.as_dict())}))


def _plain(error: dict[str, Any]) -> dict[str, Any]:
    """The error as JSON can carry it: a value that was refused may be anything."""
    return dict(msgspec.to_builtins(error, enc_hook=repr))


def _path(head: Head) -> str:
    """Of the target in its origin form or, as for a proxy, its absolute form (RFC 9112, 3.2)."""
    target = head.target.partition("?")[0]
    if target.startswith("http://"):
        return "/" + target.removeprefix("http://").partition("/")[2]
    return target


def _query(head: Head) -> list[tuple[str, str]]:
    return parse_qsl(head.target.partition("?")[2], keep_blank_values=True, errors="replace")
