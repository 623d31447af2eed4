"""A client of OVSDB (RFC 7047), as much of it as a plug script needs: transactions, and waiting for what they lead to.

ovs-vsctl takes five times as long, most of it for starting and for fetching whole tables.
"""

from __future__ import annotations

import codecs
import time
from _socket import AF_INET, AF_INET6, AF_UNIX, SO_SNDTIMEO, SOCK_STREAM, SOL_SOCKET, timeout
from _socket import socket as Socket  # noqa: N812 (a class; socket itself is slow to import)
from _struct import pack

from plugscript import _DECODER, _to_json, log

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes milliseconds to import
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

    Row = dict[str, Any]
    Watched = tuple[str, list[Any], list[str]]

_CHUNK = 65536


class Unreachable(Exception):
    """Nobody answers at the database's address, or the connection was lost."""


class Lost(Unreachable):
    """It answered, and then went away."""


class Refused(Exception):
    """The database refused what it was asked; ``error`` is its word for why (RFC 7047, 3.1)."""

    def __init__(self, error: str, details: str) -> None:
        super().__init__(f"{error}: {details}" if details else error)
        self.error = error


class TimedOut(Exception):
    """The time for all of it has passed."""


def address(environ: Mapping[str, str]) -> str:
    """Where the host's own OVSDB is: OVS_DB ("unix:PATH" or "tcp:IP:PORT"), else db.sock in OVS_RUNDIR."""
    rundir = environ.get("OVS_RUNDIR") or "/var/run/openvswitch"
    return environ.get("OVS_DB") or f"unix:{rundir}/db.sock"


class Ovsdb:
    """A connection to one database, for at most ``seconds`` from now. Use it within a ``with``.

    Making it raises Unreachable; its methods raise Lost, TimedOut and Refused.
    """

    def __init__(
        self, remote: str, seconds: float, *, dry_run: bool = False, database: str = "Open_vSwitch"
    ) -> None:
        self.remote = remote
        self.seconds = seconds
        self.dry_run = dry_run
        self._deadline = time.monotonic() + seconds
        self._database = database
        self._last_id = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parse = _parser()
        self._text = ""
        self._changed = False
        self._socket = self._connect()

    def __enter__(self) -> Ovsdb:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    # --- what a script asks -------------------------------------------------------------------

    def transact(self, *operations: Row) -> list[Row]:
        """All of it or nothing: the result of each operation, its values made plain."""
        results: list[Row] = self._call("transact", [self._database, *operations])
        for result in results:
            if result and "error" in result:
                raise Refused(result["error"], result.get("details", ""))
        return [
            {"rows": [_plain_row(row) for row in result["rows"]]} if "rows" in result else result
            for result in results
        ]

    def select(self, table: str, where: list[Any], columns: list[str]) -> list[Row]:
        rows: list[Row] = self.transact(select(table, where, columns))[0]["rows"]
        return rows

    def change(self, words: list[str], *operations: Row) -> list[Row]:
        """A transaction that changes something. It is told in the log as a command is; a dry run leaves it at that.

        Returns nothing in a dry run.
        """
        told: Row = {"run": ["OVSDB", *words]}
        if self.dry_run:
            log(f"#vifplug {_to_json({**told, 'dry': True})}")
            return []
        begun, status = time.monotonic(), 1
        try:
            # for "ovsdb-tool show-log"
            comment = {"op": "comment", "comment": f"vifplug: {' '.join(words)}"}
            results = self.transact(*operations, comment)[:-1]
            status = 0
        finally:
            seconds = round(time.monotonic() - begun, 6)
            log(f"#vifplug {_to_json({**told, 'seconds': seconds, 'exit': status})}")
        return results

    def until(self, watched: list[Watched], done: Callable[..., bool], seconds: float | None = None) -> None:
        """Wait until ``done`` is true of the watched rows (one list for each table); the database tells of changes.

        Raises TimedOut, after ``seconds`` or with the connection's time.
        """
        if seconds is not None:
            self._deadline = min(self._deadline, time.monotonic() + seconds)
        tables = {table: [{"columns": columns, "where": where}] for table, where, columns in watched}
        monitor = self._last_id
        self._call("monitor_cond", [self._database, monitor, tables])
        selects = [select(*one) for one in watched]
        while True:
            self._changed = False
            if done(*(result["rows"] for result in self.transact(*selects))):
                break
            while not self._changed:
                self._handle(self._receive())
        self._call("monitor_cancel", [monitor])

    def is_held(self, lock: str) -> bool:
        """Whether anybody holds ``lock``. It is asked for and given back in one breath, so nobody waits for us."""
        asked, given_back = self._next("lock", [lock]), self._next("unlock", [lock])
        self._send(asked, given_back)
        held = not self._answer(asked)["locked"]
        self._answer(given_back)
        return held

    # --- the wire -----------------------------------------------------------------------------

    def _connect(self) -> Socket:
        kind, _, place = self.remote.partition(":")
        host, _, port = place.rpartition(":")
        host = host.strip("[]")
        target: str | tuple[str, int]
        if kind == "unix":
            family, target = AF_UNIX, place
        elif kind == "tcp" and host and port.isdecimal():
            family, target = AF_INET6 if ":" in host else AF_INET, (host, int(port))
        else:
            raise Unreachable(f"OVSDB's address {self.remote!r} is neither unix:PATH nor tcp:IP:PORT")
        connection = Socket(family, SOCK_STREAM)
        try:
            # with settimeout, a socket does not wait where the server's queue is full
            whole, rest = divmod(self._left(), 1)
            connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("@ll", int(whole), int(rest * 1e6)))
            connection.connect(target)
        except OSError as error:
            connection.close()
            reason = error.strerror or error
            if isinstance(error, PermissionError):
                # root without CAP_DAC_OVERRIDE is a user like others
                reason = f"{reason} (where it runs as another user, grant this script CAP_DAC_OVERRIDE)"
            raise Unreachable(f"OVSDB at {self.remote} does not answer: {reason}") from None
        return connection

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimedOut
        return left

    def _next(self, method: str, parameters: list[Any]) -> Row:
        self._last_id += 1
        return {"method": method, "params": parameters, "id": self._last_id}

    def _call(self, method: str, parameters: list[Any]) -> Any:
        request = self._next(method, parameters)
        self._send(request)
        return self._answer(request)

    def _answer(self, request: Row) -> Any:
        while True:
            message = self._receive()
            if "method" in message or message.get("id") != request["id"]:
                self._handle(message)
            elif message.get("error") is None:
                return message["result"]
            else:
                error = message["error"]
                known = isinstance(error, dict)
                raise Refused(*((error["error"], error.get("details", "")) if known else (str(error), "")))

    def _handle(self, message: Row) -> None:
        method = message.get("method")
        if method == "echo":  # are we still there?
            self._send({"result": message["params"], "error": None, "id": message["id"]})
        elif method in ("update", "update2"):
            self._changed = True

    def _send(self, *messages: Row) -> None:
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall("".join(map(_to_json, messages)).encode())
        except OSError as error:
            raise self._lost(error) from None

    def _receive(self) -> Row:
        """The next message; they follow each other with nothing between."""
        while True:
            if self._text:
                try:
                    message, end = self._parse(self._text, 0)
                except (ValueError, StopIteration):  # not all of it is here
                    pass
                else:
                    self._text = self._text[end:].lstrip()
                    return message  # type: ignore[no-any-return]
            try:
                self._socket.settimeout(self._left())
                data = self._socket.recv(_CHUNK)
            except OSError as error:
                raise self._lost(error) from None
            if not data:
                raise Lost(f"OVSDB at {self.remote} closed the connection")
            self._text += self._decode(data)

    def _lost(self, error: OSError) -> Exception:
        if isinstance(error, timeout):
            return TimedOut()
        return Lost(f"the connection to OVSDB at {self.remote} was lost: {error.strerror}")


def _parser() -> Callable[[str, int], tuple[Any, int]]:
    """Gives the value at a place in a text and where it ends; ValueError or StopIteration if it is not all there."""
    try:
        from _json import make_scanner
    except ImportError:
        from json import JSONDecoder

        return JSONDecoder().raw_decode
    parse: Callable[[str, int], tuple[Any, int]] = make_scanner(_DECODER)
    return parse


# --- operations and values (RFC 7047, 5.1 and 5.2) -----------------------------------------------


def select(table: str, where: list[Any], columns: list[str]) -> Row:
    return {"op": "select", "table": table, "where": where, "columns": columns}


def insert(table: str, row: Row, name: str) -> Row:
    """``name`` stands for the new row within the transaction: ``["named-uuid", name]``."""
    return {"op": "insert", "table": table, "row": row, "uuid-name": name}


def update(table: str, where: list[Any], row: Row) -> Row:
    return {"op": "update", "table": table, "where": where, "row": row}


def mutate(table: str, where: list[Any], *mutations: list[Any]) -> Row:
    return {"op": "mutate", "table": table, "where": where, "mutations": list(mutations)}


def to_map(values: Mapping[str, str]) -> list[Any]:
    return ["map", [[key, value] for key, value in values.items()]]


def to_set(values: list[Any]) -> list[Any]:
    return ["set", list(values)]


def optional(value: Any) -> Any:
    """A column that may be empty: None empties it."""
    return to_set([]) if value is None else value


def _plain_row(row: Row) -> Row:
    return {column: _plain(value) for column, value in row.items()}


def _plain(value: Any) -> Any:
    """A map as dict, a set of none or many as list (one alone stands for itself), a uuid as it came."""
    if isinstance(value, list):
        kind, content = value
        if kind == "map":
            return {key: _plain(item) for key, item in content}
        if kind == "set":
            return [_plain(item) for item in content]
    return value


def several(value: Any) -> list[Any]:
    """The members of a set, however many: OVSDB writes a set of one as that one."""
    lone = not isinstance(value, list) or value[:1] == ["uuid"]
    return [value] if lone else value


def one(value: Any) -> Any:
    """The value of a column that may be empty, or None."""
    return None if value == [] else value
