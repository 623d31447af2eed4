"""HTTP/1.1 over a Unix socket, as far as a client of vifplugd needs it.

http.client could do it too, but importing it takes 47 ms (it brings the e-mail package and ssl), more
than ten plugs take; vifplugd's answers need no more than a status, a length or chunks, and lines.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from ..errors import DaemonUnreachable
from .connecting import connected

#: bytes of one line, and how many the head of an answer may have
_LONGEST_LINE = 65536
_MOST_LINES = 100


class Broken(DaemonUnreachable):
    """The connection broke off before the answer was whole. ``answered``: whether it had begun."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class Connection:
    """One connection: a request, its whole answer, then the next; used by one thread at a time.

    ``timeout``: seconds to wait for the connection.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        #: whether a whole answer has come over it before
        self.used = False
        self._timeout: float | None = timeout
        self._socket = connected(path, timeout)
        self._buffer = bytearray()
        self._answered = False

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """End what another thread reads from it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself

    def gone(self) -> bool:
        """Whether the daemon has closed it: between answers there is nothing else to read."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def ask(self, request: bytes, timeout: float | None) -> Response:
        """Send a request, and read the head of its answer.

        ``timeout``: seconds to wait for the first and then for each further part of the answer.
        Raises Broken, or DaemonUnreachable when nothing came for so long or what came is no HTTP.
        """
        self._timeout = timeout
        self._answered = False
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(request)
        except TimeoutError:
            raise self._silent() from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered all the same (too large, too many); if not, reading says so
        return Response(self)

    # --- what has been received --------------------------------------------------------------

    def line(self) -> bytes:
        """The next line, without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise self.garbage("a line without end")
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more(size - len(self._buffer))
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def some(self) -> bytes:
        """What there is, when at least something is; nothing at the end."""
        if not self._buffer:
            try:
                self._more()
            except Broken:
                return b""
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    def _more(self, wanted: int = 0) -> None:
        try:
            part = self._socket.recv(max(65536, min(wanted, 1 << 20)))
        except TimeoutError:
            raise self._silent() from None
        except OSError as error:
            raise self._broken(f": {error.strerror}") from None
        if not part:
            raise self._broken()
        self._answered = True
        self._buffer += part

    # --- what may go wrong -------------------------------------------------------------------

    def _broken(self, why: str = "") -> Broken:
        when = "in the middle of its answer" if self._answered else "before it answered"
        return Broken(
            f"vifplugd at {self.path} broke off {when}{why}; what it had begun it finishes, now or when it is"
            " started again: see 'vifplug list'",
            answered=self._answered,
        )

    def _silent(self) -> DaemonUnreachable:
        return DaemonUnreachable(
            f"vifplugd at {self.path} has said nothing for {self._timeout:g} s; what it had begun goes on: see"
            " 'vifplug list', and why in its log (journalctl -u vifplugd)"
        )

    def garbage(self, what: str) -> DaemonUnreachable:
        return DaemonUnreachable(
            f"what answers at {self.path} is not vifplugd: it sent {what}; look with: ss -xlp src {self.path}"
        )


class Response:
    """The answer to one request: its head has been read, its body is read here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status, self.headers = self._head()
        while self.status == 100:
            self.status, self.headers = self._head()
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        length = self.headers.get("content-length", "")
        if length and not (length.isascii() and length.isdecimal()):
            raise connection.garbage(f"a length of {length[:40]!r}")
        self._length = int(length) if length and not self._chunked else None
        self._whole = False

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on its connection: the whole of it is read, and not by its end."""
        ends = self._chunked or self._length is not None
        return self._whole and ends and self.headers.get("connection", "").lower() != "close"

    def body(self) -> bytes:
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """The body, piece by piece as it arrives."""
        connection = self._connection
        if self._chunked:
            while size := self._chunk_size():
                yield connection.exactly(size)
                if connection.line():
                    raise connection.garbage("a chunk longer than it said")
            while connection.line():
                pass  # trailers
        elif self._length is not None:
            yield connection.exactly(self._length)
        else:
            while part := connection.some():
                yield part
        self._whole = connection.used = True

    def lines(self) -> Iterator[bytes]:
        """The body, line by line as it arrives."""
        rest = b""
        for part in self.parts():
            *whole, rest = (rest + part).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def _head(self) -> tuple[int, dict[str, str]]:
        first = self._connection.line()
        words = first.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise self._connection.garbage(repr(first[:40]))
        headers: dict[str, str] = {}
        count = 0
        while line := self._connection.line():
            name, colon, value = line.decode("latin-1").partition(":")
            count += 1
            if not colon or count > _MOST_LINES:
                raise self._connection.garbage(repr(line[:40]))
            headers[name.strip().lower()] = value.strip()
        return int(words[1]), headers

    def _chunk_size(self) -> int:
        text = self._connection.line().partition(b";")[0].strip()
        try:
            return int(text, 16)
        except ValueError:
            raise self._connection.garbage(f"a chunk of {text[:40]!r} bytes") from None
