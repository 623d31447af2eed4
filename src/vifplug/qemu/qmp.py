"""A client of QEMU's monitor: QMP over a Unix socket, with descriptors handed over beside a command.

Source: QEMU's docs/interop/qmp-spec. One JSON object on each line: a greeting, then answers, in the order of the
commands, and events in between.
"""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..errors import QemuRefused, QemuUnreachable

#: bytes of one line: query-qmp-schema, the longest, has some 200,000
_LONGEST = 16 << 20
#: events kept for who asks for them later
_EVENTS = 1000
_PART = 65536

Event = dict[str, Any]


class Qmp:
    """One QEMU's monitor, from now on ours: QEMU serves one client at a time. For one thread.

    ``path``: the socket (``-qmp unix:PATH,server=on,wait=off``). ``timeout``: seconds that an answer may take.
    Every method raises QemuUnreachable when nobody answers, or what answers is not QMP; from then on what was asked
    for may have been done or not.
    """

    def __init__(self, path: str, *, timeout: float = 30.0) -> None:
        self.path = path
        self._timeout = timeout
        self._rest = b""
        self._events: deque[Event] = deque(maxlen=_EVENTS)
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect()
        except BaseException:
            self._socket.close()
            raise

    def _connect(self) -> None:
        self._socket.settimeout(self._timeout)
        try:
            self._socket.connect(self.path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise QemuUnreachable(
                f"nobody answers at {self.path!r} ({why}): does this QEMU run, and was it started with"
                f" -qmp unix:{self.path},server=on,wait=off?",
                socket=self.path,
            ) from None
        greeting = self._read(time.monotonic() + self._timeout)
        if greeting is None:
            raise QemuUnreachable(
                f"QEMU at {self.path} does not greet: it serves one client at a time, and another one may be connected",
                socket=self.path,
            )
        if "QMP" not in greeting:
            raise self._senseless(greeting)
        self.execute("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, *, fds: Sequence[int] = ()
    ) -> Any:
        """Have a command carried out; what it returns. ``fds`` go along (``getfd`` takes one); they stay open here.

        Raises QemuRefused with QEMU's own words; ``context["qemu_class"]`` is its error class.
        """
        line = json.dumps({"execute": command} | ({"arguments": arguments} if arguments else {})) + "\n"
        self._send(line.encode(), fds)
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self._read(deadline)
            if answer is None:
                raise QemuUnreachable(
                    f"QEMU at {self.path} has not answered {command} within {self._timeout:g} s",
                    socket=self.path,
                )
            if "event" in answer:
                self._events.append(answer)
            elif "return" in answer:
                return answer["return"]
            elif isinstance(error := answer.get("error"), dict):
                raise QemuRefused(
                    f"QEMU would not do {command}: {error.get('desc', 'it does not say why')}",
                    command=command,
                    qemu_class=error.get("class"),
                )
            else:
                raise self._senseless(answer)

    def wait(self, matches: Callable[[Event], bool], seconds: float) -> Event | None:
        """The first event that matches, of those not looked at yet, or None when none comes in time. Those before it
        are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            while self._events:
                if matches(event := self._events.popleft()):
                    return event
            message = self._read(deadline)
            if message is None:
                return None
            if "event" not in message:
                raise self._senseless(message)
            self._events.append(message)

    # --- lines --------------------------------------------------------------------------------

    def _send(self, line: bytes, fds: Sequence[int]) -> None:
        self._socket.settimeout(self._timeout)
        try:
            sent = socket.send_fds(self._socket, [line], list(fds)) if fds else 0
            self._socket.sendall(line[sent:])
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from None

    def _read(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None when none comes in time."""
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST:
                raise self._senseless(f"a line longer than {_LONGEST} bytes")
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                part = self._socket.recv(_PART)
            except TimeoutError:
                return None
            except OSError as error:
                raise self._broken(error.strerror or str(error)) from None
            if not part:
                raise self._broken("it hung up")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        with suppress(ValueError, RecursionError):
            message = json.loads(line)
            if isinstance(message, dict):
                return message
        raise self._senseless(line[:100])

    def _broken(self, why: str) -> QemuUnreachable:
        return QemuUnreachable(
            f"the connection to QEMU at {self.path} broke off: {why}; QEMU may have ended", socket=self.path
        )

    def _senseless(self, said: object) -> QemuUnreachable:
        return QemuUnreachable(
            f"what answers at {self.path} does not speak QMP: it said {str(said)[:200]!r}", socket=self.path
        )
