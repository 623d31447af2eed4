"""One request to the daemon, and its answer or its error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .._version import __version__
from ..errors import DaemonError, DaemonUnreachable, InvalidInput, from_dict
from .pool import Pool
from .transport import Broken, Connection, Response


class Asking:
    """What all requests of a client share; safe to use from many threads."""

    def __init__(
        self, socket: str, timeout: float | None, traceparent: str | Callable[[], str | None] | None
    ) -> None:
        self.socket = socket
        self.timeout = timeout
        self.pool = Pool(socket, timeout)
        self._traceparent = traceparent

    @contextmanager
    def answer(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        accept: str = "application/json",
        seconds: float | None = None,
        repeatable: bool = True,
    ) -> Iterator[Response]:
        """The answer to a request, when it is no error; its connection is kept when all of it was read.

        ``seconds``: what the daemon may take beyond the client's timeout.
        """
        timeout = None if self.timeout is None else self.timeout + (seconds or 0)
        request = self.request(method, target, body, f"Accept: {accept}\r\n")
        connection, response = self._begin(request, timeout, repeatable)
        try:
            self.check(response)
            yield response
        finally:
            if response.reusable:
                self.pool.give_back(connection)
            else:
                connection.close()

    def _begin(self, request: bytes, timeout: float | None, repeatable: bool) -> tuple[Connection, Response]:
        connection = self.pool.take()
        try:
            return connection, connection.ask(request, timeout)
        except Broken as broken:
            connection.close()
            # The daemon closes a connection that was idle for long, and our request may cross that. Nobody
            # knows then whether it was read, but every verb may be asked for twice: the same plug, update or
            # unplug again gives the same answer, and recover and gc find the rest of the work.
            if broken.answered or not connection.used or not repeatable:
                raise
        except BaseException:
            connection.close()
            raise
        connection = self.pool.take(fresh=True)
        try:
            return connection, connection.ask(request, timeout)
        except BaseException:
            connection.close()
            raise

    def request(self, method: str, target: str, body: bytes | None, headers: str) -> bytes:
        if body is not None:
            headers += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if trace := self._trace():
            headers += f"traceparent: {trace}\r\n"
        who = f"Host: vifplugd\r\nUser-Agent: vifplug/{__version__}\r\n"
        return f"{method} {target} HTTP/1.1\r\n{who}{headers}\r\n".encode("latin-1") + (body or b"")

    def _trace(self) -> str | None:
        trace = self._traceparent() if callable(self._traceparent) else self._traceparent
        trace = trace or os.environ.get("TRACEPARENT")
        # its form is the daemon's to judge; here it must only stay within its line
        return trace if trace and trace.isascii() and trace.isprintable() and len(trace) <= 128 else None

    # --- answers -----------------------------------------------------------------------------

    def check(self, response: Response) -> None:
        """Raise the error that a response tells."""
        if response.status < 400:
            return
        body = response.body()
        try:
            told = dict(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            text = body[:200].decode(errors="replace").strip()
            raise DaemonError(
                f"vifplugd at {self.socket} answered with HTTP status {response.status}: {text}"
            ) from None
        wait = response.headers.get("retry-after", "")
        if wait.isdecimal():
            told.setdefault("retry_after", int(wait))
        raise from_dict(told)

    def object(self, body: bytes) -> dict[str, Any]:
        """A JSON object, from a whole answer or a line of it."""
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self.senseless(repr(body[:60]))
        return found

    def senseless(self, what: str) -> DaemonUnreachable:
        return DaemonUnreachable(f"what answers at {self.socket} is not vifplugd: it sent {what}")


def as_json(value: Any) -> bytes:
    """A binding, or anything else, as JSON. Raises InvalidInput for what JSON cannot say."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    try:
        return json.dumps(value, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the input is not JSON: {error}", field="", allowed="what JSON can say") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__module__.startswith("vifplug.model"):
        from ..model import as_binding  # who has a Vif has msgspec, which the client does without

        return as_binding(value)
    raise TypeError(f"{type(value).__name__} is no value that JSON has")
