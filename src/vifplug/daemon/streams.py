"""Answers that come line by line: steps as they happen, many VIFs as each is done, events."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ..errors import Bug, VifplugError
from ..host.results import Plugged, Step, Unplugged
from ..model.learn import learn
from .events import Event, Subscription

#: seconds of silence after which a stream of events shows that it lives
_HEARTBEAT = 15.0
#: seconds after which it looks whether its reader is still there
_LOOK_UP = 2.0

_log = logging.getLogger("vifplug.daemon")
_encode = msgspec.json.Encoder(enc_hook=repr).encode  # a value that was refused may be anything


class Line(Struct, frozen=True, kw_only=True):
    """One line of an answer in JSON lines: a step, or what came of a VIF."""

    #: which of the VIFs that were asked for
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    step: Step | UnsetType = UNSET
    answer: Any = UNSET
    error: dict[str, Any] | UnsetType = UNSET

    @classmethod
    def of(cls, answer: Plugged | Unplugged | VifplugError, index: int, vif_id: str | None = None) -> Line:
        where = vif_id or getattr(answer, "id", None) or UNSET
        if isinstance(answer, VifplugError):
            return cls(index=index, id=where, error=answer.as_dict())
        return cls(index=index, id=where, answer=answer)


class PlugLine(Line, frozen=True, kw_only=True):
    """A line of plug-all; of plug, update, repair and activate where steps are asked for."""

    answer: Plugged | UnsetType = UNSET


class UnplugLine(Line, frozen=True, kw_only=True):
    """A line of unplug-all; of unplug where steps are asked for."""

    answer: Unplugged | UnsetType = UNSET


def lines(work: Callable[[Callable[[Line], None]], Any]) -> Iterator[bytes]:
    """The lines that ``work`` tells, while a thread of its own does it.

    The work goes on whatever becomes of the reader. An error that ``work`` raises is the last line.
    """
    told: queue.SimpleQueue[Line | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(told.put)
        except VifplugError as error:
            told.put(Line(error=error.as_dict()))
        except Exception:
            _log.exception("a bug: what was asked for line by line failed")
            told.put(Line(error=Bug().as_dict()))
        finally:
            told.put(None)

    threading.Thread(target=copy_context().run, args=(run,), name="vifplugd-work").start()
    return _told(told)


def _told(told: queue.SimpleQueue[Line | None]) -> Iterator[bytes]:
    while (line := told.get()) is not None:
        yield _encode(line) + b"\n"


def server_sent(
    news: Subscription, gone: Callable[[], bool], shown: Callable[[Event], Event]
) -> Iterator[bytes]:
    """Events as a text/event-stream (the HTML standard, server-sent events); a comment now and then.

    Ends when the stream of events does, or its reader has ``gone``. ``shown`` gives an event as the reader may see it.
    """
    yield b"id: %d\n\n" % news.after  # who loses the connection before the first event knows where it stood
    missed = 0
    spoke = time.monotonic()
    while not news.closed and not gone():
        event = news.next(min(_LOOK_UP, _HEARTBEAT))
        if news.missed > missed:
            yield b": %d events were missed\n\n" % (news.missed - missed)
            missed = news.missed
        if event is not None:
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                event.number,
                event.kind.encode(),
                _encode(shown(event)),
            )
        elif time.monotonic() - spoke >= _HEARTBEAT:
            yield b": alive\n\n"
        else:
            continue
        spoke = time.monotonic()


learn(PlugLine, UnplugLine)
