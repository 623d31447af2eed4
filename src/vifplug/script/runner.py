"""Call a script: one process for each call, whatever it does, and one clear account of it."""

from __future__ import annotations

import errno
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct

from ..config import Config
from ..errors import (
    BackendUnavailable,
    BadReply,
    ConfigError,
    HostError,
    RetryLater,
    ScriptFailed,
    TimedOut,
    VifplugError,
)
from . import capabilities, tracecontext
from .catalogue import Catalogue
from .contract import Info, Request, RequestHost, Verb
from .environment import environment_for, resident_environment
from .marks import Mark, signal_marked
from .not_started import why_not_started
from .replies import LONGEST_REPLY, failure, last_words, parse_reply
from .tracecontext import TraceContext
from .trust import TrustedScript

if TYPE_CHECKING:
    from .process import Ended
    from .resident import Residents

#: seconds before the second attempt; doubled for each further one
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
#: failures that may be others when the script is asked again
_FOR_NOW = (TimedOut, HostError, RetryLater, BackendUnavailable)
_RESERVED = ("VIF_", "VIFPLUG_", "TRACEPARENT")
#: this process or this host has too much open, or too many processes, or no memory
_NOT_ITS_FAULT = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Call(Struct, frozen=True, kw_only=True):
    """One process of a script, from start to end."""

    verb: str
    script: str
    digest: str
    path: str
    attempt: int
    #: seconds since 1970
    started: float
    seconds: float
    exit_status: int | None
    signal: int | None
    #: "done", or the code of the error
    outcome: str
    #: the JSON object that it answered; ``{}`` for no answer; None if it failed
    reply: dict[str, Any] | None
    #: what it printed on standard error, raw but for undecodable bytes: escape it before you show it
    stderr: str
    error: VifplugError | None
    traceparent: str
    #: whether a process was started at all
    ran: bool = True


class Outcome(Struct, frozen=True, kw_only=True):
    """A verb carried out, with all its attempts."""

    calls: list[Call]
    #: the last call's reply; ``{}`` if it failed
    reply: dict[str, Any]
    error: VifplugError | None


class Registry(Protocol):
    """Who remembers the marks of processes that stay up, in case this process is killed."""

    def started(self, mark: Mark) -> None: ...

    def ended(self, mark: Mark) -> None: ...


class Runner:
    """Runs trusted scripts, confined, under a deadline. Any number of threads may share one."""

    def __init__(self, config: Config, registry: Registry | None = None) -> None:
        """``registry`` is told of processes that stay up; without one, none does.

        Raises ConfigError for a capability or an environment name that cannot be.
        """
        self._config = config
        self._registry = registry
        self._residents: Residents | None = None
        #: the marks of what runs now and can be undone
        self._running: set[Mark] = set()
        self._leaving = threading.Lock()
        self._interrupted = False
        self._starting = threading.Lock()
        self._catalogue = Catalogue(config)
        self._default = capabilities.bits(capabilities.DEFAULT, "")
        for name, settings in config.script.items():
            capabilities.bits(settings.capabilities, f"script.{name}.capabilities")
            _check_environment(name, settings.environment)

    def call(
        self, script: TrustedScript, request: Request, *, seconds: float, mark: Mark, resident: bool = False
    ) -> Call:
        """Run ``script`` once for ``request``, for at most ``seconds`` (and the grace after them).

        ``resident``: ask a process of it that stays up, which carries a mark of its own.

        Whatever the script does ends in a Call, never in an exception.
        """
        # a verb that is nobody's part is a trace of its own: with its undoing and all its attempts
        span = (tracecontext.current() or TraceContext(trace=mark.call, span=mark.call[:16])).child()
        request = msgspec.structs.replace(request, deadline=seconds, traceparent=str(span))
        started, begun = time.time(), time.monotonic()
        ended: Ended | None = None
        reply: dict[str, Any] | None = None
        error: VifplugError | None = None
        ran = False

        def on_start() -> None:
            nonlocal ran
            ran = True
            if request.verb is not Verb.UNPLUG:
                self._check_interrupted()  # it may have come while the script was about to start

        try:
            if request.verb is not Verb.UNPLUG:
                self._running.add(mark)
                self._check_interrupted()
            script = self._catalogue.find(script.name)  # still trusted, now?
            if resident and self._registry is not None:
                ran = True  # for all we know
                ended = self._ask(self._registry, script, request, seconds)
            else:
                ended = self._run(script, request, seconds, mark, on_start)
            if ended.signal is not None and request.verb is not Verb.UNPLUG:
                self._check_interrupted()
            reply = _understood(request.verb, ended, seconds)
        except VifplugError as caught:
            error = _about(caught, script, request.verb)
        finally:
            with self._leaving:
                self._running.discard(mark)
        return Call(
            verb=request.verb.value,
            script=script.name,
            digest=script.digest,
            path=script.path,
            attempt=request.attempt,
            started=started,
            seconds=time.monotonic() - begun,
            exit_status=ended.exit_status if ended else None,
            signal=ended.signal if ended else None,
            outcome="done" if error is None else error.code,
            reply=reply,
            stderr=_text(ended.stderr) if ended else "",
            error=error,
            traceparent=str(span),
            ran=ran,
        )

    def carry_out(
        self,
        script: TrustedScript,
        request: Request,
        *,
        seconds: float,
        mark: Mark,
        resident: bool = False,
        on_call: Callable[[Call], None] | None = None,
    ) -> Outcome:
        """Call ``script`` until it is done, fails for good, or ``seconds`` are over.

        It is called again when it says retry_later, or backend_unavailable with a retry_after:
        after that many seconds, or after a delay that doubles. ``on_call`` gets each Call as it
        ends.
        """
        until = time.monotonic() + seconds
        calls: list[Call] = []
        while True:
            left = max(until - time.monotonic(), 0.001) if calls else seconds
            attempt = msgspec.structs.replace(request, attempt=len(calls) + 1)
            call = self.call(script, attempt, seconds=left, mark=mark, resident=resident)
            calls.append(call)
            if on_call is not None:
                on_call(call)
            delay = _delay(call.error, len(calls))
            # An attempt that could not end in time would only be killed halfway.
            if delay is None or time.monotonic() + delay + call.seconds >= until:
                return Outcome(calls=calls, reply=call.reply or {}, error=call.error)
            time.sleep(delay)

    def info(self, script: TrustedScript) -> Info | None:
        """What the script says of itself; None if it has no ``info``, or may not be asked for it."""
        return self.learn(script)[0]

    def learn(self, script: TrustedScript) -> tuple[Info | None, bool]:
        """``info``, and whether that is for good: a script that was too slow for once may answer next time."""
        if not script.settings.info:
            return None, True
        seconds = script.settings.deadlines.get("info", self._config.deadlines.info)
        request = Request(verb=Verb.INFO, host=RequestHost.here(), deadline=seconds)
        call = self.call(script, request, seconds=seconds, mark=Mark.new())
        if call.reply is None:
            return None, call.ran and not isinstance(call.error, _FOR_NOW)
        return msgspec.convert(call.reply, Info), True

    def _run(
        self,
        script: TrustedScript,
        request: Request,
        seconds: float,
        mark: Mark,
        on_start: Callable[[], None],
    ) -> Ended:
        from .process import run  # brings ctypes, which a host without scripts never needs

        environment = environment_for(request, operator=script.settings.environment, call=mark.call)
        try:
            return run(
                script.path,
                [script.path, request.verb.value],
                {name.encode(): value.encode() for name, value in environment.items()},
                request.to_json(),
                granted=self._granted(script),
                mark=mark,
                seconds=seconds,
                grace=self._config.deadlines.grace,
                stdout_limit=LONGEST_REPLY,
                stderr_limit=self._config.log.max_bytes,
                on_start=on_start,
            )
        except OSError as error:
            kind = HostError if error.errno in _NOT_ITS_FAULT else ScriptFailed
            raise kind(why_not_started(script.path, environment, error)) from error

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """End what scripts do now, and let them begin nothing within this block but to undo it."""
        self._interrupted = True
        try:
            for mark in list(self._running):
                with self._leaving:  # what undoes it afterwards bears the same mark, and is not to be ended
                    if mark in self._running:
                        signal_marked(mark, signal.SIGKILL, 0)
            yield
        finally:
            self._interrupted = False

    def close(self) -> None:
        """End the processes that stay up."""
        if self._residents is not None:
            self._residents.close()

    def _ask(self, registry: Registry, script: TrustedScript, request: Request, seconds: float) -> Ended:
        from .resident import Kind, Residents

        with self._starting:
            residents = self._residents = self._residents or Residents(registry)
        operator = script.settings.environment
        kind = Kind(script.path, script.digest, tuple(operator.items()), self._granted(script))
        try:
            return residents.call(
                kind,
                request.to_json(),
                seconds=seconds,
                grace=self._config.deadlines.grace,
                stdout_limit=LONGEST_REPLY,
                stderr_limit=self._config.log.max_bytes,
            )
        except OSError as error:
            raise ScriptFailed(
                why_not_started(script.path, resident_environment(operator, ""), error)
            ) from error

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise TimedOut("the call was interrupted")

    def _granted(self, script: TrustedScript) -> int:
        return self._default | capabilities.bits(script.settings.capabilities, script.name)


def _understood(verb: Verb, ended: Ended, seconds: float) -> dict[str, Any]:
    """The reply of a process that ended, or the error that its end stands for."""
    stderr = _text(ended.stderr)
    said = f"; it said: {words}" if (words := last_words(stderr)) else ""
    if ended.why == "too much output":
        raise BadReply(
            f"{verb} printed more than {LONGEST_REPLY} bytes on standard output: log to standard error"
        )
    if ended.why == "deadline":
        raise TimedOut(
            f"{verb} was not done after {seconds:g} seconds, so it and all that it started was ended{said}",
            seconds=seconds,
        )
    if ended.why == "lost":
        raise HostError(
            f"nobody knows how {verb} ended: another part of this process reaped the script (it ignores SIGCHLD, or "
            "waits for any child)"
        )
    if ended.why == "no answer":
        sent = (
            f"sent {last_words(_text(ended.stdout))!r}"
            if ended.stdout.strip()
            else "ended, or closed its output,"
        )
        raise BadReply(
            f"{verb}: the resident script {sent} in place of one line such as "
            f'{{"exit": 0, "reply": {{}}}}; it is started anew for the next call{said}'
        )
    if ended.signal is not None:
        raise TimedOut(
            f"{verb} was ended by signal {ended.signal} ({_signal_name(ended.signal)}), which vifplug did not "
            f"send{said}",
            signal=ended.signal,
        )
    if ended.exit_status:
        raise failure(verb, ended.exit_status, ended.stdout, stderr)
    return parse_reply(verb, ended.stdout)


def _delay(error: VifplugError | None, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; None for no further one."""
    if isinstance(error, RetryLater | BackendUnavailable) and "retry_after" in error.context:
        return float(error.context["retry_after"])
    if isinstance(error, RetryLater):
        from random import uniform

        # Not all at the same moment: hundreds of VIFs may wait for one backend.
        return min(_FIRST_DELAY * (1 << min(attempt - 1, 10)), _LONGEST_DELAY) * uniform(0.5, 1.0)  # noqa: S311
    return None


def _about(error: VifplugError, script: TrustedScript, verb: Verb) -> VifplugError:
    """The error, which names script and verb."""
    if "script" not in error.context:
        error.message = f"plug script {script.name}: {error.message}"
        error.args = (error.message,)
    error.context = {"script": script.name, "verb": verb.value, **error.context}
    return error


def _check_environment(name: str, environment: Mapping[str, str]) -> None:
    for key, value in environment.items():
        place = f"script.{name}.environment.{key}"
        if not _VARIABLE.match(key):
            raise ConfigError(f"{place}: {key!r} is not a name for an environment variable", field=place)
        if key.startswith(_RESERVED):
            raise ConfigError(f"{place}: names of this kind are the contract's own", field=place)
        if "\0" in value:
            raise ConfigError(f"{place}: a value cannot have a NUL in it", field=place)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a real-time signal"


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
