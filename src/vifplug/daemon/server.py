"""HTTP/1.1 over a Unix socket: a thread for each connection, every read and write bounded.

The protocol is h11's; what a request means is ``app``'s. A caller without a role is answered before a
byte of what it sends is read.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

import h11
from msgspec import Struct

from ..config import Daemon
from .peers import Peer, Role, Roles

log = logging.getLogger("vifplug.server")

#: bytes of a request's line and headers
_HEAD = 16 * 1024
#: seconds that a request may take to arrive, an answer to be taken, a kept connection to be idle
_ARRIVE, _TAKE, _IDLE = 30.0, 30.0, 300.0
_CHUNK = 64 * 1024
#: bytes of all bodies at once, but for those of a chunk or less
_BODIES = 256 << 20
#: seconds for which what a refused caller still sends is read, so that it comes to read the refusal
_LINGER = 2.0
#: connections that only admins may use, however many others come
_RESERVED = 16
#: connections kept that were turned away
_TURNED_AWAY = 64
#: of the connections, those that any one user may have: 1 in 2
_SHARE = 2


class Head(Struct, frozen=True):
    """A request without its body."""

    method: str
    target: str
    headers: dict[str, str]


class Reply(Struct, frozen=True):
    """An answer: whole, or as an iterator of parts that ends by itself."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes | Iterator[bytes]
    #: called once the answer has left, or its caller has
    ended: Callable[[], None] = lambda: None


class Refused(Exception):
    """A request that is not taken, be it all there or not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class App:
    """What the server asks: how large a body may be, and what the answer is. Neither raises."""

    def limit(self, role: Role, head: Head) -> int:
        """Bytes that the body of this request may have."""
        raise NotImplementedError

    def answer(self, peer: Peer, role: Role, head: Head, body: bytes, gone: Callable[[], bool]) -> Reply:
        """``gone`` tells whether the caller has hung up."""
        raise NotImplementedError

    def refuse(self, peer: Peer, code: str, message: str) -> Reply:
        """The answer to what never became a request."""
        raise NotImplementedError


class Server:
    """Serves one listening socket."""

    def __init__(self, listener: socket.socket, app: App, settings: Daemon) -> None:
        self._listener = listener
        self._app = app
        self._roles = Roles(settings)
        self._most = settings.connections
        self._guard = threading.Lock()
        self._connections: dict[socket.socket, _Connection] = {}
        self._of_user: Counter[int] = Counter()
        self._turned_away: deque[socket.socket] = deque()
        #: bytes of larger bodies that are at hand
        self.bodies = 0
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._accept, name="vifplugd-accept", daemon=True)

    def start(self) -> None:
        self._listener.settimeout(None)
        self._thread.start()

    def connections(self) -> int:
        return len(self._connections)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, seconds: float) -> None:
        """Take no more connections, end those that are idle, and let the others finish within ``seconds``."""
        os.eventfd_write(self._stop, 1)
        self._thread.join(seconds)
        self._listener.close()
        until = time.monotonic() + seconds
        with self._guard:
            open_now = list(self._connections.values())
        for connection in open_now:
            connection.end_when_idle()
        for connection in open_now:
            connection.thread.join(max(0.0, until - time.monotonic()))

    def _accept(self) -> None:
        """Until told to stop: whoever waits at the listener then is the next daemon's, if it was handed to us."""
        waiting = select.poll()
        for fd in (self._stop, self._listener.fileno()):
            waiting.register(fd, select.POLLIN)
        while all(fd != self._stop for fd, _ in waiting.poll()):
            try:
                sock, _ = self._listener.accept()
            except OSError as error:  # no more descriptors, say: those who are connected go on
                log.warning("no connection could be accepted: %s", error.strerror)
                self._let_go(0)
                time.sleep(0.05)
                continue
            self._take(sock)
        self._let_go(0)
        os.close(self._stop)

    def _take(self, sock: socket.socket) -> None:
        try:
            peer = Peer.of(sock)
        except OSError as error:  # gone already
            log.debug("nobody knows who called: %s", error)
            sock.close()
            return
        role = self._roles.of(peer)
        if role is Role.NOBODY:
            self._turn_away(sock, peer, "not_allowed", _who_may(peer))
            return
        with self._guard:
            most = self._most if role is Role.ADMIN else self._most - min(_RESERVED, self._most // 2)
            full = len(self._connections) >= most
            share = self._of_user[peer.uid] >= max(1, self._most // _SHARE) and role is not Role.ADMIN
            if not (full or share):
                connection = _Connection(self, sock, peer, role)
                self._connections[sock] = connection
                self._of_user[peer.uid] += 1
        if full or share:
            whose = "" if full else f" of user {peer.uid}"
            message = f"vifplugd has as many connections{whose} as it takes (daemon.connections): come back"
            self._turn_away(sock, peer, "too_busy", message)
            return
        try:
            connection.thread.start()
        except RuntimeError as error:  # can't start new thread
            self._forget(sock, peer)
            self._turn_away(sock, peer, "too_busy", f"vifplugd cannot take more connections: {error}")

    def _turn_away(self, sock: socket.socket, peer: Peer, code: str, message: str) -> None:
        """Answer before anything is read. The connection is kept for a while: who is still sending when it closes
        would hear of a broken pipe, and not why."""
        sock.settimeout(0)
        try:
            _write_whole(sock, h11.Connection(h11.SERVER), self._app.refuse(peer, code, message))
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            log.debug("a caller that was turned away did not listen: %s", error)
        self._turned_away.append(sock)
        self._let_go(_TURNED_AWAY)

    def _let_go(self, kept: int) -> None:
        """Close the connections that were turned away, but for so many of the last."""
        while len(self._turned_away) > kept:
            self._turned_away.popleft().close()

    def _hold(self, size: int) -> None:
        """Count so many more bytes of bodies, or fewer. Raises Refused when there is no room for them."""
        with self._guard:
            if size > 0 and self.bodies + size > _BODIES:
                raise Refused(
                    "too_busy", "vifplugd has as many bytes of requests at hand as it takes: come back"
                )
            self.bodies += size

    def _forget(self, sock: socket.socket, peer: Peer) -> None:
        with self._guard:
            self._connections.pop(sock, None)
            self._of_user[peer.uid] -= 1
            if not self._of_user[peer.uid]:
                del self._of_user[peer.uid]


class _Connection:
    """One caller's connection, and the thread that serves it."""

    def __init__(self, server: Server, sock: socket.socket, peer: Peer, role: Role) -> None:
        self._server = server
        self._sock = sock
        self._peer = peer
        self._role = role
        self._idle = True
        self._ending = False
        #: when the request that arrives now has to be here; None between two
        self._until: float | None = None
        #: bytes of its body that the server has counted
        self._held = 0
        self._guard = threading.Lock()
        self.thread = threading.Thread(target=self._serve, name=f"vifplugd-{peer.pid}", daemon=True)

    def end_when_idle(self) -> None:
        with self._guard:
            self._ending = True
            if self._idle:  # a request that has arrived already is still read, and answered
                self._hang_up(socket.SHUT_RD)

    def gone(self) -> bool:
        """Whether the caller has hung up; one that only says no more has not."""
        poll = select.poll()
        poll.register(self._sock, 0)
        return bool(poll.poll(0))  # POLLHUP is told unasked

    def _serve(self) -> None:
        try:
            with self._sock:
                self._converse()
        except OSError as error:
            log.debug("connection of pid %d broke: %s", self._peer.pid, error)
        finally:
            self._let_go()
            self._server._forget(self._sock, self._peer)

    def _converse(self) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        while True:
            try:
                asked = self._receive(http)
            except Refused as error:
                self._refuse(http, error.code, str(error))
                return
            except h11.RemoteProtocolError as error:
                self._refuse(http, "invalid_input", f"this is not HTTP/1.1 as it should be: {error}")
                return
            except TimeoutError:
                if not self._idle:
                    self._refuse(http, "timed_out", f"the request did not arrive within {_ARRIVE:g} s")
                return
            if asked is None:
                return
            head, body = asked
            reply = self._server._app.answer(self._peer, self._role, head, body, self.gone)
            del asked, body
            self._let_go()
            if self._ending:
                reply.headers.append(("connection", "close"))
            try:
                self._send(http, head, reply)
            finally:
                reply.ended()
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            with self._guard:
                self._idle = True
                if self._ending:
                    return
            http.start_next_cycle()

    def _receive(self, http: h11.Connection) -> tuple[Head, bytes] | None:
        """The next request with its body; None when the caller has gone."""
        self._until = None
        if http.trailing_data[0].strip():  # it came in one piece with the one before
            self._begun()
        head: Head | None = None
        limit = size = received = 0
        parts: list[bytes] = []
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if not self._more(http):
                    return None
            elif isinstance(event, h11.Request):
                self._begun()
                head = _head(event)
                limit = self._server._app.limit(self._role, head)
                size = int(head.headers.get("content-length", 0))
                if size <= limit and http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    self._sock.sendall(http.send(go_on) or b"")
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                received += len(event.data)
                size = max(size, received)
                if _CHUNK < received <= limit:
                    self._server._hold(received - self._held)
                    self._held = received
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None  # noqa: S101  # h11 gives a request before its end
                return head, b"".join(parts)
            else:  # h11.ConnectionClosed, h11.PAUSED
                return None
            if head is not None and size > limit:
                message = f"{head.method} {head.target[:100]} takes a body of at most {limit} bytes"
                raise Refused("too_large", message)

    def _more(self, http: h11.Connection) -> bool:
        """Wait for more of the request, or for its beginning; False when the caller went between two requests."""
        self._sock.settimeout(_IDLE if self._until is None else max(0.001, self._until - time.monotonic()))
        data = self._sock.recv(_CHUNK)
        if not data and self._until is None:
            return False
        self._begun()
        http.receive_data(data)
        return True

    def _begun(self) -> None:
        """A request begins to arrive: from now on the rest of it has to come."""
        if self._until is None:
            self._until = time.monotonic() + _ARRIVE
            with self._guard:
                self._idle = False

    def _let_go(self) -> None:
        self._server._hold(-self._held)
        self._held = 0

    def _send(self, http: h11.Connection, head: Head, reply: Reply) -> None:
        self._sock.settimeout(_TAKE)
        if isinstance(reply.content, bytes):
            _write_whole(self._sock, http, reply, bodiless=head.method == "HEAD")
            return
        start = h11.Response(status_code=reply.status, headers=reply.headers)
        self._sock.sendall(http.send(start) or b"")
        for part in () if head.method == "HEAD" else reply.content:
            self._sock.sendall(http.send(h11.Data(data=part)) or b"")
        self._sock.sendall(http.send(h11.EndOfMessage()) or b"")

    def _refuse(self, http: h11.Connection, code: str, message: str) -> None:
        if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self._sock.settimeout(_TAKE)
        _write_whole(self._sock, http, self._server._app.refuse(self._peer, code, message))
        self._hang_up(socket.SHUT_WR)
        until = time.monotonic() + _LINGER
        while (left := until - time.monotonic()) > 0:
            self._sock.settimeout(left)
            if not self._sock.recv(_CHUNK):
                return

    def _hang_up(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError as error:  # the caller came first
            log.debug("pid %d had hung up: %s", self._peer.pid, error)


def _write_whole(sock: socket.socket, http: h11.Connection, reply: Reply, *, bodiless: bool = False) -> None:
    """A whole answer with one system call; that to HEAD has no body."""
    assert isinstance(reply.content, bytes)  # noqa: S101
    headers = [*reply.headers, ("content-length", str(len(reply.content)))]
    data = http.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    if not bodiless:
        data += http.send(h11.Data(data=reply.content)) or b""
    data += http.send(h11.EndOfMessage()) or b""
    sock.sendall(data)


def _head(request: h11.Request) -> Head:
    headers = {name.decode("ascii", "replace"): value.decode("latin-1") for name, value in request.headers}
    return Head(request.method.decode("ascii", "replace"), request.target.decode("latin-1"), headers)


def _who_may(peer: Peer) -> str:
    return (
        f"user {peer.uid} has no role at vifplugd: join the group vifplug, or ask the operator to name you in"
        " daemon.readers, daemon.pluggers or daemon.admins of /etc/vifplug/vifplug.toml"
    )
