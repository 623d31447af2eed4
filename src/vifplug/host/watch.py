"""What becomes of network devices, as the kernel tells it: rtnetlink's multicast group of links (rtnetlink(7))."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket

from msgspec import Struct

from .netlink import RECEIVE, RTM_DELLINK, RTM_NEWLINK, Link, Netlink, link_index, parse_link, parse_messages

_RTMGRP_LINK = 1  # linux/rtnetlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h

#: bytes of messages that may wait for us, about 2,000 of them for each 4 MiB; taken as they come
_BUFFER = 8 << 20
#: messages that one ``next`` takes in
_MOST = 1024


class LinkChange(Struct, frozen=True):
    """One device before and after: ``before`` is None for a new one, ``after`` for one that is gone."""

    before: Link | None
    after: Link | None


class LinkWatch:
    """The devices of this thread's network namespace, and what becomes of them from now on.

    Used by one thread; ``wake`` may be called by any. Messages that the kernel had to drop, because
    they came faster than they were read, are made up for by asking for all devices again: what
    changed meanwhile is told then, as one change for each device. ``buffer``: bytes that may wait.
    Raises OSError when the host refuses, say for want of descriptors.
    """

    def __init__(self, buffer: int = _BUFFER) -> None:
        #: every device by its index, as far as it has been told of
        self.links: dict[int, Link] = {}
        #: how often the kernel had to drop messages
        self.overruns = 0
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            self._socket = opened.enter_context(
                socket.socket(
                    socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
                )
            )
            _size(self._socket, buffer)
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, self._bell)
            self._socket.bind((0, _RTMGRP_LINK))
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
            self._poll.register(self._bell, select.POLLIN)
            self._ask_for_all()
            self._resources = opened.pop_all()

    def __enter__(self) -> LinkWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._resources.close()

    def wake(self) -> None:
        """Let ``next`` return now, or at once when it is called next."""
        os.eventfd_write(self._bell, 1)

    def next(self, timeout: float) -> list[LinkChange]:
        """What changed, one entry a device; empty after ``timeout`` seconds without a change, or ``wake``.

        A device that changed and is now as it was before has an entry, too: who looked in between saw it otherwise.
        """
        ready = {file for file, _ in self._poll.poll(math.ceil(max(0.0, timeout) * 1000))}
        if self._bell in ready:
            os.eventfd_read(self._bell)
        if self._socket.fileno() not in ready:
            return []
        before: dict[int, Link | None] = {}
        restless: set[int] = set()
        try:
            restless = self._take_in(before)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.overruns += 1
            self._discard()
            for index, link in self._ask_for_all().items():
                before.setdefault(index, link)
        changes = {index: LinkChange(link, self.links.get(index)) for index, link in before.items()}
        return [
            change for index, change in changes.items() if change.before != change.after or index in restless
        ]

    def _take_in(self, before: dict[int, Link | None]) -> set[int]:
        """Read what waits; ``before`` gets the devices concerned, as they were. Those that were told of in more
        than one state are returned."""
        latest: dict[int, tuple[int, bytes]] = {}
        restless: set[int] = set()
        for _ in range(_MOST):
            try:
                data = self._socket.recv(RECEIVE)
            except BlockingIOError:
                break
            for kind, body, _flags in parse_messages(data):
                # a port that leaves its bridge is told of as "deleted", too
                if kind not in (RTM_NEWLINK, RTM_DELLINK) or (index := link_index(body)) is None:
                    continue
                if latest.get(index, (kind, body)) != (kind, body):
                    restless.add(index)
                latest[index] = kind, body
        for index, (kind, body) in latest.items():
            before[index] = self.links.pop(index, None)
            if kind == RTM_NEWLINK:
                self.links[index] = parse_link(body)
            elif before[index] is None:  # it came and went before we looked: its end is still news
                before[index] = parse_link(body)
        return restless

    def _discard(self) -> None:
        """What waits is older than what will be asked for; and the kernel adds nothing until it is read."""
        while True:
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def _ask_for_all(self) -> dict[int, Link | None]:
        """Learn of every device anew; those that are new, gone or not as before, as they were."""
        old = self.links
        with Netlink() as netlink:
            self.links = {link.index: link for link in netlink.links()}
        return {index: old.get(index) for index in old.keys() | self.links.keys()}


def _size(receiver: socket.socket, buffer: int) -> None:
    """More than net.core.rmem_max takes CAP_NET_ADMIN; without it, as much as that allows."""
    try:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    except PermissionError:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
