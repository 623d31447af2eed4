"""The trace that this thread works in: a caller's goes on in the scripts that are run for it.

W3C Trace Context (https://www.w3.org/TR/trace-context/): a trace id for a whole operation, however
many programs take part in it, and a span id for each piece of work within it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct
from msgspec.structs import replace

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.DOTALL)
_SAMPLED = 0x01


class TraceContext(Struct, frozen=True, kw_only=True):
    """One piece of work: the trace that it belongs to, and its own id there."""

    #: 32 hexadecimal digits
    trace: str
    #: 16 hexadecimal digits
    span: str
    #: whether whoever began the trace wants it kept
    sampled: bool = True

    @classmethod
    def new(cls) -> TraceContext:
        """The first piece of work of a trace of its own."""
        return cls(trace=os.urandom(16).hex(), span=os.urandom(8).hex())

    @classmethod
    def read(cls, traceparent: str) -> TraceContext | None:
        """What a ``traceparent`` header says; None for one that the specification tells us to ignore."""
        found = _FORM.match(traceparent)
        if found is None:
            return None
        version, trace, span, flags, more = found.groups()
        if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
            return None
        return cls(trace=trace, span=span, sampled=bool(int(flags, 16) & _SAMPLED))

    def child(self) -> TraceContext:
        """A piece of work that is part of this one."""
        return replace(self, span=os.urandom(8).hex())

    def __str__(self) -> str:
        """As ``traceparent`` carries it."""
        return f"00-{self.trace}-{self.span}-{int(self.sampled):02x}"


_current: ContextVar[TraceContext | None] = ContextVar("vifplug_trace", default=None)


def current() -> TraceContext | None:
    """The piece of work that this thread does; None when nobody has said."""
    return _current.get()


@contextmanager
def within(context: TraceContext) -> Iterator[TraceContext]:
    """A block that is the piece of work ``context``: the scripts that it runs are parts of it."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
