"""Many VIFs in one request: their answers come line by line, each when it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from ..errors import DaemonUnreachable, InvalidInput, VifplugError, from_dict
from .answers import Answer, Plugged, Unplugged
from .asking import Asking, as_json

#: VIFs that the daemon takes in one request
_BATCH = 10_000
#: requests at once where each VIF has one of its own
_AT_ONCE = 32
#: where in a list of bindings something is wrong: "[3].mtu"
_PLACE = re.compile(r"\[(\d+)\]\.?")


class Many:
    """plug_all and unplug_all; ``on_done`` is called with each answer as it comes."""

    def __init__(
        self,
        asking: Asking,
        made: Callable[[type[Any], Any], Any],
        on_done: Callable[[Any], None] | None,
    ) -> None:
        self._asking = asking
        self._made = made
        self._on_done = on_done

    def plug(self, bindings: Iterable[Any]) -> list[Any]:
        """An answer for each, in their order; an error in the place of each that failed."""
        answers: dict[int, Any] = {}
        waiting: list[tuple[int, bytes]] = []
        for index, binding in enumerate(bindings):
            try:
                waiting.append((index, _one(as_json(binding))))
            except InvalidInput as error:
                answers[index] = self._done(error)
        count = len(answers) + len(waiting)
        while waiting:
            batch = waiting[:_BATCH]
            body = b"[%b]" % b",".join(text for _, text in batch)
            try:
                for place, answer in self._answers(Plugged, "/v1/plug-all", body, len(batch)):
                    answers[batch[place][0]] = answer
                del waiting[: len(batch)]
            except InvalidInput as error:
                # the daemon begins none while one of them is wrong; here that one fails, and the others go on
                found = _PLACE.match(error.context.get("field") or "")
                if found is None or int(found[1]) >= len(batch):
                    raise
                index, _ = waiting.pop(int(found[1]))
                answers[index] = self._done(_alone(error, found[0]))
        return [answers[index] for index in range(count)]

    def unplug(self, vif_ids: Iterable[str] | None) -> list[Any]:
        """An answer for each, in their order; for None, for all on record."""
        if vif_ids is None:
            found = dict(self._answers(Unplugged, "/v1/unplug-all", b'{"all": true}', None))
            return [found[index] for index in sorted(found)]
        asked = list(vif_ids)
        ids = list(dict.fromkeys(asked))
        answers: dict[str, Any] = {}
        for begin in range(0, len(ids), _BATCH):
            batch = ids[begin : begin + _BATCH]
            for place, answer in self._answers(
                Unplugged, "/v1/unplug-all", as_json({"ids": batch}), len(batch)
            ):
                answers[batch[place]] = answer
        return [answers[vif_id] for vif_id in asked]

    def _answers(
        self, kind: type[Answer], target: str, body: bytes, count: int | None
    ) -> Iterator[tuple[int, Any]]:
        """Index and answer of each as it comes.

        When the connection breaks off, those that are missing (of ``count``, where that is known) have
        failed with that, and the others' answers are not lost.
        """
        missing = dict.fromkeys(range(count or 0))
        broken = self._asking.senseless("too few answers")
        with self._asking.answer("POST", target, body, accept="application/x-ndjson") as response:
            try:
                for line in response.lines():
                    found = self._asking.object(line)
                    error = from_dict(found["error"]) if "error" in found else None
                    if "index" in found:
                        missing.pop(found["index"], None)
                        yield found["index"], self._done(error or self._made(kind, found["answer"]))
                    elif error is not None:
                        raise error
            except DaemonUnreachable as error:
                if count is None:
                    raise
                broken = error
        for index in missing:
            yield index, self._done(broken)

    def _done(self, answer: Any) -> Any:
        if self._on_done is not None:
            self._on_done(answer)
        return answer


def one_by_one(
    work: Callable[[Any], Any], items: Iterable[Any], on_done: Callable[[Any], None] | None
) -> list[Any]:
    """Each of them in a request of its own, side by side: for who wants to be told their steps.

    ``on_done`` is called in the caller's thread. When that is interrupted no more are begun; those at work
    are the daemon's.
    """
    wanted = list(items)
    answers: dict[int, Any] = {}
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    for index in range(len(wanted)):
        todo.put(index)

    ended = Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                index = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((index, work(wanted[index])))
            except BaseException as error:  # the caller's to judge, in its own thread
                done.put((index, error))

    for _ in range(min(_AT_ONCE, len(wanted))):
        Thread(target=serve, daemon=True).start()
    try:
        while len(answers) < len(wanted):
            index, answer = done.get()
            if isinstance(answer, BaseException) and not isinstance(answer, VifplugError):
                raise answer
            answers[index] = answer
            if on_done is not None:
                on_done(answer)
    finally:
        ended.set()
    return [answers[index] for index in range(len(wanted))]


def _one(text: bytes) -> bytes:
    """This JSON text, once it is sure that it is no more or less: among others it would spoil them all."""
    try:
        json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the input is not JSON: {error}", field="", allowed="JSON in UTF-8") from None
    return text


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is twice in one object")


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _alone(error: InvalidInput, place: str) -> InvalidInput:
    """The error as it is told of that binding alone."""
    field = error.context["field"].removeprefix(place)
    message = (field or "the input") + error.message.removeprefix(error.context["field"])
    return type(error)(message, **{**error.context, "field": field})
