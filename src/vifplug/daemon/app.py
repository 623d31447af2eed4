"""From a request to its answer: route, role, pace, the handler, and each error under its status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ..errors import InvalidInput, NotAllowed, VifplugError, from_dict
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
_encode = msgspec.json.Encoder().encode


class _NoSuchRoute(VifplugError):
    code = "no_such_route"


class _MethodNotAllowed(VifplugError):
    code = "method_not_allowed"


class _TooLarge(InvalidInput):
    code = "too_large"


class _Bug(VifplugError):
    code = "bug"


class Api(App):
    """The API over one Service."""

    def __init__(self, service: Service, observer: Observer) -> None:
        self._service = service
        self._observer = observer

    def limit(self, head: Head) -> int:
        routes, _ = api.find(_path(head))
        return max([route.limit for route in routes if route.method == head.method] + [_UNASKED])

    def refuse(self, peer: Peer, code: str, message: str) -> Reply:
        error = _TooLarge(message) if code == "too_large" else from_dict({"code": code, "message": message})
        log.info("turned away", extra={"vifplug": {"uid": peer.uid, "pid": peer.pid, "code": code}})
        return _failed(error, ("connection", "close"))

    def answer(self, peer: Peer, role: Role, head: Head, body: bytes) -> Reply:
        path = _path(head)
        routes, named = api.find(path)
        shape = routes[0].path if routes else "(unknown)"
        traceparent = head.headers.get("traceparent")
        with self._observer.request(head.method, shape, path, peer=peer, traceparent=traceparent) as span:
            reply = self._answer(peer, role, head, body, routes, named)
            span.attributes["http.response.status_code"] = reply.status
            return reply

    def _answer(  # noqa: PLR0917
        self, peer: Peer, role: Role, head: Head, body: bytes, routes: list[api.Route], named: dict[str, str]
    ) -> Reply:
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
                last_event=head.headers.get("last-event-id"),
            )
            if route.steps and api.NDJSON in head.headers.get("accept", ""):
                return _streamed(api.NDJSON, lines(_step_by_step(self._service, route, ask)))
            return _answered(route, route.handle(self._service, ask))
        except VifplugError as error:
            return _failed(error)
        except Exception:
            log.exception("a bug: %s %s failed", head.method, _path(head))
            return _failed(_Bug("this is a bug in vifplug; the daemon's log has the traceback"))


def _route(head: Head, routes: list[api.Route]) -> api.Route:
    for route in routes:
        if route.method == head.method:
            return route
    if routes:
        allowed = [route.method for route in routes]
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
        said.append(("retry-after", str(max(1, round(float(error.context["retry_after"]))))))
    return Reply(status_of(error), said, _encode({"error": _plain(error.as_dict())}))


def _plain(error: dict[str, Any]) -> dict[str, Any]:
    """The error as JSON can carry it: a value that was refused may be anything."""
    return dict(msgspec.to_builtins(error, enc_hook=repr))


def _path(head: Head) -> str:
    return urlsplit(head.target).path


def _query(head: Head) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(head.target).query, keep_blank_values=True, errors="replace")
