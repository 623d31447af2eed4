"""Spans of the work done here: a request, the verb in it, the verb's steps, and each call of a script.

The ids are those of `vifplug.script.tracecontext`: the span of a call has the very id that the script
finds in its TRACEPARENT, so that what the script traces by itself hangs below it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Literal

from msgspec import Struct, field

from ..errors import VifplugError
from ..host.results import CallRecord, Step
from ..script.tracecontext import TraceContext, current, within

Value = str | int | float | bool


class Span(Struct, kw_only=True):
    """A piece of work; attributes and error may be set until it ends."""

    name: str
    context: TraceContext
    #: the span id of the work that it is part of
    parent: str | None
    #: "server" for a request, "client" for a script, which is another program
    kind: Literal["server", "internal", "client"] = "internal"
    #: seconds since 1970
    start: float
    end: float = 0.0
    attributes: dict[str, Value] = field(default_factory=dict)
    #: what went wrong, if anything did
    error: str | None = None


class _Open(Struct):
    """A step under way."""

    span: Span
    scope: AbstractContextManager[TraceContext]
    outer: _Open | None


_steps: ContextVar[_Open | None] = ContextVar("vifplug_steps", default=None)


class Spans:
    """Any number of threads may share it. ``export`` gets each span as it ends, and must not wait.

    Without ``export`` there are no spans, but a caller's trace goes on in the scripts all the same.
    """

    def __init__(self, export: Callable[[Span], None] | None = None) -> None:
        self._export = export

    @contextmanager
    def request(self, method: str, route: str, traceparent: str | None = None) -> Iterator[Span]:
        """A request: part of the trace that ``traceparent`` (the header, unread) says, else of a new one."""
        caller = TraceContext.read(traceparent) if traceparent else None
        context = caller.child() if caller else TraceContext.new()
        attributes: dict[str, Value] = {
            "http.request.method": method,
            "http.route": route,
            "network.transport": "unix",
        }
        with self._span(
            f"{method} {route}", context, caller.span if caller else None, "server", attributes
        ) as span:
            yield span

    @contextmanager
    def verb(self, verb: str, vif_id: str | None = None) -> Iterator[Span]:
        """A verb, be it asked for in a request or done by the daemon itself."""
        outer = current()
        attributes: dict[str, Value] = {"vifplug.verb": verb}
        if vif_id is not None:
            attributes["vif.id"] = vif_id
        context = outer.child() if outer else TraceContext.new()
        with self._span(verb, context, outer.span if outer else None, "internal", attributes) as span:
            yield span

    def on_step(self, step: Step) -> None:
        """For ``Host(on_step=…)``. A step is told where it is done: its scripts are part of it."""
        if self._export is None:
            return
        if step.phase == "begin":
            self._begin(step)
        elif (open_step := _steps.get()) is not None:
            _steps.set(open_step.outer)
            open_step.scope.__exit__(None, None, None)
            open_step.span.end = time.time()
            if step.phase == "failed":
                open_step.span.error = step.text or "failed"
            self._ended(open_step.span)

    def on_call(self, call: CallRecord) -> None:
        """For ``Host(on_call=…)``: told where the call was made."""
        context, outer = TraceContext.read(call.traceparent), current()
        if self._export is None or context is None:
            return
        attributes: dict[str, Value | None] = {
            "vif.id": call.vif_id,
            "vifplug.script": call.script,
            "vifplug.script.digest": call.digest,
            "vifplug.verb": call.verb,
            "vifplug.attempt": call.attempt,
            "vifplug.outcome": call.outcome,
            "vifplug.generation": call.generation,
            "process.exit.code": call.exit_status,
        }
        span = Span(
            name=f"{call.script} {call.verb}",
            context=context,
            parent=outer.span if outer is not None and outer.trace == context.trace else None,
            kind="client",
            start=call.started,
            end=call.started + call.seconds,
            attributes={name: value for name, value in attributes.items() if value is not None},
            error=None if call.outcome == "done" else call.message or call.outcome,
        )
        self._ended(span)

    def _begin(self, step: Step) -> None:
        outer = current()
        context = outer.child() if outer else TraceContext.new()
        span = Span(
            name=step.name,
            context=context,
            parent=outer.span if outer else None,
            start=time.time(),
            attributes={"vif.id": step.vif_id},
        )
        if step.text:
            span.attributes["vifplug.step"] = step.text
        scope = within(context)
        scope.__enter__()
        _steps.set(_Open(span, scope, _steps.get()))

    @contextmanager
    def _span(
        self,
        name: str,
        context: TraceContext,
        parent: str | None,
        kind: Literal["server", "internal"],
        attributes: dict[str, Value],
    ) -> Iterator[Span]:
        span = Span(
            name=name, context=context, parent=parent, kind=kind, start=time.time(), attributes=attributes
        )
        with ExitStack() as ending:
            ending.callback(self._ended, span)
            try:
                with within(context):
                    yield span
            except BaseException as error:
                span.error = span.error or str(error) or type(error).__name__
                if isinstance(error, VifplugError):
                    span.attributes["error.type"] = error.code
                raise
            finally:
                span.end = time.time()

    def _ended(self, span: Span) -> None:
        if self._export is not None and span.context.sampled:
            self._export(span)
