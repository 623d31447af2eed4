"""Work that costs the same for one as for many: whoever comes first does it for all who came meanwhile.

A commit to disk and the removal of network devices are such work. Callers block until their own
item is done; nobody waits for more than the round in progress and the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Ticket(Generic[Item, Answer]):
    __slots__ = ("answer", "done", "item")
    answer: Answer | BaseException

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = False

    def finish(self, answer: Answer | BaseException) -> None:
        self.answer = answer
        self.done = True


class Together(Generic[Item, Answer]):
    """``work`` gets a list of items and returns as many answers; an exception among them is that
    caller's own. What ``work`` raises, all callers of the round get."""

    def __init__(self, work: Callable[[list[Item]], list[Answer | BaseException]]) -> None:
        self._work = work
        self._working = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Ticket[Item, Answer]] = []

    def do(self, item: Item) -> Answer:
        ticket: _Ticket[Item, Answer] = _Ticket(item)
        with self._guard:
            self._waiting.append(ticket)
        with self._working:
            if not ticket.done:  # nobody did it for us: lead a round
                with self._guard:
                    tickets, self._waiting = self._waiting, []
                self._round(tickets)
        if isinstance(ticket.answer, BaseException):
            raise ticket.answer
        return ticket.answer

    def _round(self, tickets: list[_Ticket[Item, Answer]]) -> None:
        try:
            answers = self._work([ticket.item for ticket in tickets])
        except BaseException as error:
            for ticket in tickets:
                ticket.finish(error)
            if not isinstance(error, Exception):
                raise
            return
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.finish(answer)
