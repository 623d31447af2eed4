"""Write a plug script for vifplug in Python: one file, nothing but the standard library.

::

    #!/usr/bin/python3 -IS
    import plugscript
    from plugscript import run

    script = plugscript.Script(
        "blue", version="1", vif_types=["ethernet"],
        details={"bridge": {"type": "string", "description": "the bridge to join"}},
        required=["bridge"],
    )

    @script.verb
    def plug(request):
        run("ip", "link", "set", "dev", request.vif.devname, "master", request.vif.details["bridge"])

    @script.verb
    def unplug(request):
        run("ip", "link", "set", "dev", request.vif.devname, "nomaster", missing_ok=["Cannot find device"])

    script.main()

The contract that this speaks is docs/contract.md; docs/writing-a-script.md tells an author the rest.

An interpreter starts for each call, so what a module costs to import is what a guest waits for: only
what every call needs is imported at the top, and neither ``json`` nor ``signal`` nor ``subprocess`` is.
"""

from __future__ import annotations

import io
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn, TypeVar

    Verb = TypeVar("Verb", bound=Callable[["Request"], object])
else:
    import _signal as signal  # the same functions and numbers; signal itself brings enum, 3 ms

__all__ = [
    "BackendUnavailable",
    "BadDetails",
    "Done",
    "Drift",
    "Error",
    "Failed",
    "Request",
    "RetryLater",
    "Script",
    "VerbNotSupported",
    "ask",
    "device_exists",
    "log",
    "run",
]

PROTOCOL = 1
VERBS = ("plug", "unplug", "check", "update", "activate")
#: bytes that the host reads of a reply, less what a resident script puts around it
LONGEST_REPLY = 1024 * 1024 - 64
#: characters that the host passes on
LONGEST_MESSAGE = 1000
#: seconds, where the request does not say
DEADLINE = 30.0


# --- what can go wrong ---------------------------------------------------------------------------


class Error(Exception):
    """Base of what a verb raises to tell the host how it failed; the message reaches the caller."""

    code = "failed"
    status = 1

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: seconds after which the host may try again
        self.after = after

    def as_dict(self) -> dict[str, Any]:
        """The ``error`` object of the contract."""
        # no lone surrogates, as file names that are not UTF-8 have
        message = self.message[:LONGEST_MESSAGE].encode(errors="backslashreplace").decode()
        error: dict[str, Any] = {"code": self.code, "message": message}
        if self.after is not None:
            error["retry_after"] = self.after
        return error


class Failed(Error):
    """It did not work, and there is nothing better to say."""


class VerbNotSupported(Error):
    """This script does not have that verb. Nothing was done."""

    code = "verb_not_supported"
    status = 64


class BadDetails(Error):
    """The binding asks for something that cannot be."""

    code = "bad_details"
    status = 65


class BackendUnavailable(Error):
    """The network's own service is not there. With ``after`` (seconds) the host tries again."""

    code = "backend_unavailable"
    status = 69


class RetryLater(Error):
    """Not now: the host tries again, ``after`` so many seconds, as long as its deadline lasts."""

    code = "retry_later"
    status = 75


class _Ended(BaseException):
    """SIGTERM came: the deadline is over. Not an Exception, so that no author catches it unawares."""


# --- what a verb is told -------------------------------------------------------------------------


def _take(given: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
    """The value of ``key``, None if it is missing or null. Raises Failed if it is of another kind."""
    value = given.get(key)
    if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    name = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}
    raise Failed(f"the request's {place}{key} is {value!r:.80}, not {name.get(kind, kind.__name__)}")


def _objects(given: Mapping[str, Any], key: str, place: str) -> list[dict[str, Any]]:
    objects = _take(given, key, list, place) or []
    return [_take({key: each}, key, dict, place) or {} for each in objects]


def _texts(given: Mapping[str, Any], key: str, place: str) -> list[str]:
    return [_take({key: each}, key, str, place) or "" for each in _take(given, key, list, place) or []]


class Vif:
    """The guest's interface."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        #: the VIF's id, which is the Neutron port's: a UUID in lower case
        self.id: str = _take(given, "id", str, "vif.") or ""
        self.type: str = _take(given, "type", str, "vif.") or ""
        #: the guest's MAC address; None where libvirt chooses it
        self.address: str | None = _take(given, "address", str, "vif.")
        #: the host's device
        self.devname: str = _take(given, "devname", str, "vif.") or ""
        #: bytes
        self.mtu: int | None = _take(given, "mtu", int, "vif.")
        self.queues: int = _take(given, "queues", int, "vif.") or 1
        #: as libvirt counts: ``{"inbound": {"average": KiB/s, …}, "outbound": …}``
        self.bandwidth: dict[str, Any] | None = _take(given, "bandwidth", dict, "vif.")
        #: what Neutron calls binding:vnic_type
        self.vnic_type: str | None = _take(given, "vnic_type", str, "vif.")
        #: what Neutron calls binding:profile
        self.profile: dict[str, Any] = _take(given, "profile", dict, "vif.") or {}
        #: the binding's details. Each one that the script declares is there: as the binding has it, else
        #: its default, else None
        self.details: dict[str, Any] = _take(given, "details", dict, "vif.") or {}


class Route:
    """A route of a subnet."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        place = "network.subnets.routes."
        self.destination: str = _take(given, "destination", str, place) or ""
        self.nexthop: str = _take(given, "nexthop", str, place) or ""


class Subnet:
    """One of the network's subnets, with the guest's addresses in it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        place = "network.subnets."
        self.id: str | None = _take(given, "id", str, place)
        self.cidr: str | None = _take(given, "cidr", str, place)
        self.gateway: str | None = _take(given, "gateway", str, place)
        self.addresses: list[str] = _texts(given, "addresses", place)
        self.routes: list[Route] = [Route(each) for each in _objects(given, "routes", place)]
        self.dns: list[str] = _texts(given, "dns", place)


class Network:
    """The network, as far as the caller of the host knows it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.id: str | None = _take(given, "id", str, "network.")
        self.label: str | None = _take(given, "label", str, "network.")
        self.bridge: str | None = _take(given, "bridge", str, "network.")
        self.mtu: int | None = _take(given, "mtu", int, "network.")
        self.project_id: str | None = _take(given, "project_id", str, "network.")
        self.subnets: list[Subnet] = [Subnet(each) for each in _objects(given, "subnets", "network.")]


class Instance:
    """The guest, as far as the caller of the host knows it."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.id: str | None = _take(given, "id", str, "instance.")
        self.name: str | None = _take(given, "name", str, "instance.")
        self.project_id: str | None = _take(given, "project_id", str, "instance.")


class Host:
    """The host. What a script remembers in RAM, it remembers for one ``boot_id``."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.name: str = _take(given, "name", str, "host.") or ""
        self.boot_id: str = _take(given, "boot_id", str, "host.") or ""


class Migration:
    """Where a live migration is: ``role`` source or destination; ``phase`` prepare, running, done or failed."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.role: str | None = _take(given, "role", str, "migration.")
        self.phase: str | None = _take(given, "phase", str, "migration.")


class Request:
    """What the host asks. Raises Failed where something is of the wrong kind."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        deadline = _take(given, "deadline", float, "")
        self.verb: str = _take(given, "verb", str, "") or ""
        self.vif = Vif(_take(given, "vif", dict, "") or {})
        self.network = Network(_take(given, "network", dict, "") or {})
        self.instance = Instance(_take(given, "instance", dict, "") or {})
        self.host = Host(_take(given, "host", dict, "") or {})
        #: goes up by one each time this VIF is plugged anew
        self.generation: int = _take(given, "generation", int, "") or 0
        #: 1; one more each time the host tries again within one deadline
        self.attempt: int = _take(given, "attempt", int, "") or 1
        #: seconds that there were when the request came
        self.deadline: float = DEADLINE if deadline is None else float(deadline)
        self._until = time.monotonic() + self.deadline
        migration = _take(given, "migration", dict, "")
        self.migration: Migration | None = None if migration is None else Migration(migration)
        #: what ``plug`` or ``update`` returned when it last succeeded; empty if that was nothing
        self.previous: dict[str, Any] = (
            _take(_take(given, "previous", dict, "") or {}, "vif", dict, "previous.") or {}
        )
        #: for ``update``: dotted names of what differs from what was plugged
        self.changes: list[str] = _texts(given, "changes", "")
        #: whether ``run`` only says what it would do
        self.dry_run: bool = bool(_take(given, "dry_run", bool, ""))

    def remaining(self) -> float:
        """Seconds left before the host ends this call."""
        return max(self._until - time.monotonic(), 0.0)

    def wait_for(self, condition: Callable[[], object], what: str, *, every: float = 0.05) -> None:
        """Ask ``condition`` every so many seconds until it says yes.

        Raises BackendUnavailable ("waited 29 s for …") shortly before the deadline. In a dry run
        nothing is waited for.
        """
        if self.dry_run:
            return
        begun = time.monotonic()
        margin = min(0.1 * self.remaining(), 0.5)
        while not condition():
            if self.remaining() - every < margin:
                raise BackendUnavailable(f"waited {time.monotonic() - begun:.1f} s for {what}")
            time.sleep(every)


class Drift:
    """One thing that is no longer as it was plugged. ``check`` returns a list of them, or yields them."""

    def __init__(self, what: str, expected: object = None, found: object = None) -> None:
        self.what = what
        self.expected = expected
        self.found = found


# --- running commands ----------------------------------------------------------------------------


class Done:
    """A command that ended: its exit status (minus the signal's number, if that ended it) and what it printed."""

    def __init__(self, status: int, stdout: str = "", stderr: str = "") -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    def __bool__(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0


class _Mode:
    """What ``run`` has to know of the call."""

    dry_run = os.environ.get("VIFPLUG_DRY_RUN") == "1"


def run(
    *command: object,
    check: bool = True,
    input: str | None = None,  # noqa: A002 (as in subprocess.run)
    missing_ok: Iterable[str] = (),
    exists_ok: Iterable[str] = (),
) -> Done:
    """Run a command that changes something; in a dry run, only say so.

    Raises Failed with the command's last words if it fails and ``check`` is true, unless these words
    contain one of the texts in ``missing_ok`` (what it should remove is gone already) or ``exists_ok``
    (what it should make is there). Raises BackendUnavailable if there is no such command.
    """
    words = [str(word) for word in command]
    if _Mode.dry_run:
        _trace({"run": words, "dry": True})
        return Done(0)
    return _checked(words, _run(words, input, {}), check, (*missing_ok, *exists_ok))


def ask(*command: object, check: bool = True, input: str | None = None) -> Done:  # noqa: A002
    """Run a command that changes nothing, in a dry run too. Raises as ``run`` does."""
    words = [str(word) for word in command]
    return _checked(words, _run(words, input, {"ask": True}), check, ())


def log(*words: object) -> None:
    """One line for people, kept with the call."""
    _log((" ".join(map(str, words)) + "\n").encode(errors="backslashreplace"))


def device_exists(name: str) -> bool:
    """Whether there is a network device of that name here."""
    from _socket import if_nametoindex  # socket itself is slow to import

    try:
        if_nametoindex(name)
    except OSError:
        return False
    return True


def _checked(words: list[str], done: Done, check: bool, fine: Sequence[str]) -> Done:
    if done.status and check:
        said = done.stderr.strip() or done.stdout.strip()
        if not any(text in said for text in fine):
            how = f"exit status {done.status}" if done.status > 0 else f"signal {-done.status}"
            last = " | ".join(line.strip() for line in said.splitlines()[-5:] if line.strip())
            raise Failed(f"{_shown(words)} ended with {how}" + (f": {last}" if last else ""))
    return done


def _shown(words: list[str]) -> str:
    """The command as one would type it, near enough."""
    return " ".join(word if word and word.isprintable() and " " not in word else repr(word) for word in words)


def _run(words: list[str], given: str | None, marks: dict[str, Any]) -> Done:
    begun = time.monotonic()
    status, out, err = None, b"", b""
    try:
        status, out, err = _spawn(words, given)
    finally:  # also when SIGTERM comes: the log then says which command took so long
        if err and not err.endswith(b"\n"):
            _log(b"\n")
        seconds = round(time.monotonic() - begun, 6)
        _trace({"run": words, **marks, "seconds": seconds, "exit": status})
    return Done(status, out.decode(errors="replace"), err.decode(errors="replace"))


def _spawn(words: list[str], given: str | None) -> tuple[int, bytes, bytes]:
    """Exit status, standard output and standard error, which goes to the log as it comes.

    It ends with the command: a daemon that the command leaves behind with our pipes is not waited for.
    """
    import select

    ours: list[int] = []
    try:
        if given is None:
            source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        else:
            source = os.memfd_create("input")
            _write(source, given.encode(errors="surrogateescape"))
            os.lseek(source, 0, os.SEEK_SET)
        ours.append(source)
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        ours += [out, out_end, err, err_end]
        try:
            pid = os.posix_spawnp(
                words[0],
                words,
                {**os.environ, "LC_ALL": "C.UTF-8"},  # whoever looks into its words expects them in English
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, out_end, 1),
                    (os.POSIX_SPAWN_DUP2, err_end, 2),
                ],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores, and a child would inherit
            )
        except (OSError, ValueError) as error:
            raise _not_started(words, error) from error
        for end in (out_end, err_end):
            ours.remove(end)
            os.close(end)
        ended = os.pidfd_open(pid)
        ours.append(ended)
        heard: dict[int, list[bytes]] = {out: [], err: []}
        poll = select.poll()
        for descriptor in (out, err, ended):
            poll.register(descriptor, select.POLLIN)
        for descriptor in heard:
            os.set_blocking(descriptor, False)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            for descriptor, parts in heard.items():
                if descriptor in ready and not _hear(descriptor, parts, echo=descriptor == err):
                    poll.unregister(descriptor)
            if ended in ready:
                break
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), b"".join(heard[out]), b"".join(heard[err])
    finally:
        for descriptor in ours:
            os.close(descriptor)


def _hear(descriptor: int, heard: list[bytes], *, echo: bool) -> bool:
    """Read what is there now; False at the end of file."""
    while True:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        heard.append(data)
        if echo:
            _log(data)


def _not_started(words: list[str], error: OSError | ValueError) -> Error:
    if isinstance(error, FileNotFoundError):
        return BackendUnavailable(f"the command {words[0]} is not there: is it installed on this host?")
    return Failed(f"{_shown(words)} could not be started: {error}")


def _trace(facts: dict[str, Any]) -> None:
    """The line that the host shows for ``--trace`` and ``--dry-run``."""
    _log(f"#vifplug {_to_json(facts)}\n".encode())


def _log(data: bytes) -> None:
    try:
        _write(2, data)
    except OSError:
        return  # a host that died reads no log; what was begun is ended all the same


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


# --- JSON ----------------------------------------------------------------------------------------


def _from_json(text: str) -> Any:
    """Raises ValueError, which says where."""
    # json.loads is made of this, and 5 ms of import; it is asked only to say what is wrong.
    try:
        from _json import make_scanner

        value, end = make_scanner(_DECODER)(text := text.strip(" \t\r\n"), 0)
        if end == len(text):
            return value
    except (ImportError, StopIteration, SystemError, ValueError):
        pass
    from json import loads

    return loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _Decoder:
    """What the scanner asks its decoder for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_no_constant)


_DECODER: Any = _Decoder


def _no_json(value: object) -> NoReturn:
    raise TypeError(f"{value!r:.80} is not JSON")


def _to_json(value: object) -> str:
    """One line, in ASCII. Raises TypeError or ValueError for what JSON cannot say."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        from json import dumps

        return dumps(value, allow_nan=False)
    encoder = make_encoder({}, _no_json, encode_basestring_ascii, None, ": ", ", ", False, False, False)
    return "".join(encoder(value, 0))


# --- details -------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
#: the words of JSON Schema that are checked, and those that are only told
_CHECKED = ("type", "enum", "pattern", "minimum", "maximum", "items")
_TOLD = ("description", "default", "title", "examples", "deprecated")
_ONLY_FOR = {
    "pattern": ("string",),
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "items": ("array",),
}


def _check_schema(name: str, schema: Mapping[str, Any]) -> None:
    """Raises ValueError for a declaration that would promise more than is checked."""
    kind = schema.get("type")
    if kind not in _KINDS:
        raise ValueError(f"detail {name}: its type is one of {', '.join(_KINDS)}, not {kind!r}")
    for word in schema:
        if word not in _CHECKED + _TOLD:
            known = ", ".join(_CHECKED + _TOLD)
            raise ValueError(f"detail {name}: {word!r} would not be checked; what can be said is {known}")
        if kind not in _ONLY_FOR.get(word, _KINDS):
            raise ValueError(f"detail {name}: {word!r} says nothing about a {kind}")
    if "items" in schema:
        _check_schema(f"{name}.items", schema["items"])


def _wrongs(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the value; what comes first makes the rest moot."""
    kind = schema["type"]
    if not _is_a(kind, value):
        yield f"must be {'an' if kind[0] in 'aio' else 'a'} {kind}"
    if "enum" in schema and value not in schema["enum"]:
        yield "must be one of " + ", ".join(_to_json(each) for each in schema["enum"])
    if "minimum" in schema and value < schema["minimum"]:
        yield f"must be at least {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield f"must be at most {schema['maximum']}"
    if "pattern" in schema:
        import re

        if not re.search(schema["pattern"], value):
            yield f"must match {schema['pattern']}"
    if "items" in schema:
        for number, item in enumerate(value, 1):
            for wrong in _wrongs(item, schema["items"]):
                yield f"{wrong} (item {number})"


def _is_a(kind: str, value: object) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


# --- the script ----------------------------------------------------------------------------------


class Script:
    """A plug script: what it says of itself, and its verbs."""

    def __init__(
        self,
        name: str,
        *,
        version: str = "0",
        vif_types: Sequence[str] = (),
        locks: Sequence[str] = (),
        update_fields: Sequence[str] = (),
        details: Mapping[str, Mapping[str, Any]] | None = None,
        required: Sequence[str] = (),
        resident: bool = False,
    ) -> None:
        """``details`` is a JSON Schema for each detail that the script reads, ``required`` names those
        without which it cannot plug; ``resident`` lets the host keep one process for many calls. The
        others are as in the contract's ``info``. Raises ValueError for a declaration that cannot be.
        """
        self.name = name
        self.version = version
        self.vif_types = list(vif_types)
        self.locks = list(locks)
        self.update_fields = list(update_fields)
        self.details = dict(details or {})
        self.required = list(required)
        self.resident = resident
        self._verbs: dict[str, Callable[[Request], object]] = {}
        for detail, schema in self.details.items():
            _check_schema(detail, schema)
        for detail in self.required:
            if detail not in self.details:
                raise ValueError(f"required detail {detail} is not among details")

    def verb(self, function: Verb) -> Verb:
        """Make the function what the script does for the verb of its name."""
        name: str = getattr(function, "__name__", "")
        if name not in VERBS:
            raise ValueError(f"{name!r} is not a verb; verbs are {', '.join(VERBS)}")
        self._verbs[name] = function
        return function

    def info(self) -> dict[str, Any]:
        """The reply to ``info``."""
        schema: dict[str, Any] = {"type": "object", "properties": self.details}
        if self.required:
            schema["required"] = self.required
        return {
            "name": self.name,
            "version": self.version,
            "protocols": [PROTOCOL],
            "verbs": [verb for verb in VERBS if verb in self._verbs],
            "vif_types": self.vif_types,
            "details_schema": schema,
            "locks": self.locks,
            "update_fields": self.update_fields,
            "resident": self.resident,
            "dry_run": True,
        }

    def main(self, arguments: Sequence[str] | None = None) -> NoReturn:
        """Do what the host asks, and end the process with the contract's exit status."""
        arguments = sys.argv[1:] if arguments is None else arguments
        sys.exit(_Process(self).main(list(arguments)))


class _Process:
    """A script's process: its standard input and output are the host's, and nobody else's."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.name = script.name

    def main(self, arguments: list[str]) -> int:
        """The exit status."""
        signal.signal(signal.SIGTERM, _end)
        try:
            for verb in ("plug", "unplug"):
                if verb not in self.script._verbs:
                    raise Failed(f"there is no function {verb}, which every plug script has")
            if arguments in ([], ["-h"], ["--help"]):
                _write(1, self.help().encode())
                return 0 if arguments else VerbNotSupported.status
            self.keep_the_hosts_pipes()
            return self.serve() if arguments == ["serve"] else self.once(" ".join(arguments))
        except (_Ended, KeyboardInterrupt) as ended:
            number = signal.SIGTERM if isinstance(ended, _Ended) else signal.SIGINT
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return 128 + number
        except BrokenPipeError:
            return 1  # the host is gone
        except (Error, OSError) as error:
            log(f"{self.name}: {error}")
            return 1

    def keep_the_hosts_pipes(self) -> None:
        """What the author prints, and what commands of his print, is for the log: only we write replies."""
        self.requests = os.dup(0)
        self.replies = os.dup(1)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        sys.stdout = sys.stderr = io.TextIOWrapper(
            _Log(), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def once(self, verb: str) -> int:
        """One call: the verb in argv, the request on standard input."""
        status, kind, text = self.answer(verb, self.read)
        sys.stderr.flush()
        if kind == "error":
            _write(self.replies, f'{{"error": {text}}}\n'.encode())
        elif text != "{}":
            _write(self.replies, f"{text}\n".encode())
        return status

    def serve(self) -> int:
        """Resident: a request on each line, and an answer to each, until standard input ends."""
        with os.fdopen(self.requests, "rb") as requests:
            for line in requests:
                if line.strip():
                    os.chdir("/")
                    os.umask(0o022)
                    status, kind, text = self.answer(None, _Line(line).read)
                    sys.stderr.flush()
                    _write(self.replies, f'{{"exit": {status}, "{kind}": {text}}}\n'.encode())
        return 0

    def answer(self, verb: str | None, read: Callable[[], dict[str, Any]]) -> tuple[int, str, str]:
        """Exit status, "reply" or "error", and that as JSON; whatever the author's function does."""
        error: Error
        try:
            text = _to_json(self.carry_out(verb, read))
            if len(text) <= LONGEST_REPLY:
                return 0, "reply", text
            error = Failed(f"the reply would be {len(text)} bytes long, and the host reads {LONGEST_REPLY}")
        except Error as raised:
            error = raised
        except SystemExit as left:
            if left.code is None or isinstance(left.code, int):
                return (left.code or 0) & 255, "reply", "{}"
            error = Failed(str(left.code))
        except Exception as raised:
            error = _unexpected(raised)
        log(f"{self.name}: {error.message}")
        return error.status, "error", _to_json(error.as_dict())

    def carry_out(self, verb: str | None, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The reply. Without ``verb`` it is the request that says which it is."""
        given = None
        if verb is None:
            given = read()
            verb = str(given.get("verb"))
            os.environ["TRACEPARENT"] = str(given.get("traceparent") or "")  # for the commands that it runs
        if verb == "info":
            return self.script.info()
        function = self.function(verb)
        request = Request(read() if given is None else given)
        request.verb = verb
        request.dry_run = request.dry_run or os.environ.get("VIFPLUG_DRY_RUN") == "1"
        _Mode.dry_run = request.dry_run
        self.look_at_details(verb, request.vif.details)
        return _shaped(verb, function(request))

    def read(self) -> dict[str, Any]:
        """The request on standard input; where that is empty, the one in the environment."""
        data = b"" if os.isatty(self.requests) else _read(self.requests)
        return _parsed(data) if data.strip() else _from_environment(self.script)

    def function(self, verb: str) -> Callable[[Request], object]:
        """What the author wrote for the verb. Raises VerbNotSupported."""
        if function := self.script._verbs.get(verb):
            return function
        known = ", ".join(["info", *self.script.info()["verbs"]])
        raise VerbNotSupported(f"unknown verb {verb!r}: {known} are known")

    def look_at_details(self, verb: str, details: dict[str, Any]) -> None:
        """Refuse what does not fit, before a plug or an update has done anything.

        Other verbs must work for what an older script plugged, and ``unplug`` for what was refused:
        there a detail that does not fit counts as missing.
        """
        strict = verb in ("plug", "update")
        for name, schema in self.script.details.items():
            value = details.get(name)
            wrong = None if value is None else next(_wrongs(value, schema), None)
            if wrong:
                wrong = f"vif_details.{name} {wrong}, not {_to_json(value):.100}"
                if strict:
                    raise BadDetails(wrong)
                log(f"{self.name}: {wrong}: it counts as missing")
                value = None
            if value is None and strict and name in self.script.required:
                about = schema.get("description")
                raise BadDetails(f"vif_details.{name} is missing" + (f" ({about})" if about else ""))
            if value is None and "default" in schema:
                value = _from_json(_to_json(schema["default"]))  # a copy: the author may change it
            details[name] = value

    def help(self) -> str:
        """For somebody who calls the script by hand."""
        script, me = self.script, sys.argv[0]
        lines = [
            f"{script.name} {script.version}, a plug script for vifplug",
            "",
            f"usage: {me} VERB < request.json",
            f"   or: VIF_ID=… VIF_DEVNAME=… VIF_DETAILS_…=… {me} VERB < /dev/null",
            f"VERB is one of {', '.join(['info', *script.info()['verbs']])}.",
            "VIFPLUG_DRY_RUN=1 says what would be done.",
        ]
        if script.details:
            lines.append("Details:")
        for name, schema in script.details.items():
            facts = [schema["type"]]
            if name in script.required:
                facts.append("required")
            if "default" in schema:
                facts.append(f"default {_to_json(schema['default'])}")
            lines.append(f"  {name} ({', '.join(facts)})  {schema.get('description', '')}".rstrip())
        return "\n".join(lines) + "\n"


class _Log(io.RawIOBase):
    """Standard error for what the author prints: a host that died is no reason to stop halfway."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, data: Any) -> int:
        _log(bytes(data))
        return len(data)


class _Line:
    """A request that is there already."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> dict[str, Any]:
        return _parsed(self.data)


def _end(_number: int, _frame: object) -> NoReturn:
    raise _Ended


def _unexpected(error: Exception) -> Error:
    """For what the author did not mean to raise: one line for the caller, the traceback for the log."""
    import traceback

    log(traceback.format_exc().rstrip())
    frames = traceback.extract_tb(error.__traceback__)
    # the last line of the script itself says more than where in a library it ended
    frame = ([frame for frame in frames if frame.filename == sys.argv[0]] or frames)[-1]
    where = f"{frame.filename.rpartition('/')[2]}, line {frame.lineno}"
    return Failed(f"{type(error).__name__}: {error} ({where})")


def _read(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        given = _from_json(data.decode())
    except (ValueError, RecursionError) as error:
        raise Failed(f"the request is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise Failed("the request is not a JSON object")
    return given


def _shaped(verb: str, answer: object) -> dict[str, Any]:
    """The reply for what the author's function returned."""
    if verb == "check":
        if answer is None:
            return {"ok": True}
        if isinstance(answer, (str, bytes, dict)) or not hasattr(answer, "__iter__"):
            raise TypeError(f"check returned {answer!r:.80}: it returns a list of Drift")
        drift = list(answer)
        for each in drift:
            if not isinstance(each, Drift):
                raise TypeError(f"check returned {each!r:.80} among its Drift")
        found = [{"what": each.what, "expected": each.expected, "found": each.found} for each in drift]
        return {"ok": False, "drift": found} if found else {"ok": True}
    if answer is None:
        return {}
    if verb not in ("plug", "update"):
        raise TypeError(f"{verb} returned {answer!r:.80}: it returns nothing")
    if not isinstance(answer, dict):
        raise TypeError(
            f"{verb} returned {answer!r:.80}: it returns nothing, or a dict of what vif may hold in the reply"
        )
    return {"vif": answer} if answer else {}


def _from_environment(script: Script) -> dict[str, Any]:
    """A request out of VIF_…, for who tries a script by hand. Raises Failed without VIF_ID."""
    said = os.environ.get
    if not said("VIF_ID"):
        raise Failed("no request: standard input is empty, and VIF_ID is not set either")
    details: dict[str, Any] = {}
    for name, value in os.environ.items():
        if name.startswith("VIF_DETAILS_"):
            details[name[len("VIF_DETAILS_") :].lower()] = value
    for name, schema in script.details.items():
        upper = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name.upper())
        value = details.pop(upper.lower(), None)
        if value or (value is not None and schema["type"] == "string"):
            details[name] = _typed(value, schema["type"])
    return {
        "vif": {
            "id": said("VIF_ID"),
            "type": said("VIF_TYPE") or (script.vif_types or ["ethernet"])[0],
            "address": said("VIF_ADDRESS") or None,
            "devname": said("VIF_DEVNAME") or f"tap{said('VIF_ID', '')[:11]}",
            "mtu": _typed(said("VIF_MTU") or "null", "integer"),
            "details": details,
        },
        "network": {
            "id": said("VIF_NETWORK_ID") or None,
            "label": said("VIF_NETWORK_LABEL") or None,
            "bridge": said("VIF_NETWORK_BRIDGE") or None,
            "subnets": [{"addresses": [address]} for address in said("VIF_FIXED_IPS", "").split()],
        },
        "instance": {
            "id": said("VIF_INSTANCE_ID") or None,
            "name": said("VIF_INSTANCE_NAME") or None,
            "project_id": said("VIF_PROJECT_ID") or None,
        },
        "deadline": _typed(said("VIFPLUG_DEADLINE") or "null", "number"),
    }


def _typed(text: str, kind: str) -> Any:
    """The environment's text as what it was in the binding; as text where it cannot have been that."""
    if kind == "string":
        return text
    try:
        return _from_json(text)
    except ValueError:
        return text
