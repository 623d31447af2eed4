"""What a script answered: its exit status, its standard output, and the error they stand for."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from ..errors import (
    BackendUnavailable,
    BadDetails,
    BadReply,
    RetryLater,
    ScriptError,
    ScriptFailed,
    VerbNotSupported,
)
from ..model.learn import learn
from .contract import Info, Verb

#: a script's standard output may be this long
LONGEST_REPLY = 1024 * 1024
#: characters of a script's own message that go into ours
LONGEST_MESSAGE = 1000
#: lines at the end of stderr that speak for a script that gave no message
LAST_LINES = 5
#: how a line on stderr begins that says which command a script ran (docs/writing-a-script.md)
TRACE = "#vifplug "

#: exit statuses of sysexits.h that the contract gives a meaning; any other is ``failed``
EXITS: dict[int, type[ScriptError]] = {
    64: VerbNotSupported,
    65: BadDetails,
    69: BackendUnavailable,
    75: RetryLater,
}
_KINDS: tuple[type[ScriptError], ...] = (*EXITS.values(), ScriptFailed)
CODES = {kind.code: kind for kind in _KINDS}


class Drift(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is no longer as it was plugged."""

    what: Annotated[str, Meta(min_length=1, max_length=LONGEST_MESSAGE)]
    expected: Any = None
    found: Any = None


class _FieldsReply(Struct, forbid_unknown_fields=True):
    vif: dict[str, Any] = field(default_factory=dict)


class _EmptyReply(Struct, forbid_unknown_fields=True):
    pass


class _CheckReply(Struct, forbid_unknown_fields=True):
    ok: bool
    drift: list[Drift] = field(default_factory=list)


#: what a script may answer to each verb, when it ends with status 0
REPLIES: dict[Verb, type[Struct]] = {
    Verb.PLUG: _FieldsReply,
    Verb.UPDATE: _FieldsReply,
    Verb.UNPLUG: _EmptyReply,
    Verb.ACTIVATE: _EmptyReply,
    Verb.CHECK: _CheckReply,
    Verb.INFO: Info,
}
learn(*REPLIES.values())


def parse_reply(verb: str, stdout: bytes) -> dict[str, Any]:
    """The reply of a call that ended with status 0, as the script wrote it; nothing is ``{}``.

    ``plug`` and ``update``: ``{"vif": {…}}``; ``check``: ``{"ok": …, "drift": […]}`` (nothing means
    ok). Which fields of ``vif`` a type lets a script answer is checked where the reply is folded in
    (vifplug.model). Raises BadReply, which says what is wrong.
    """
    if not stdout.strip(b" \t\r\n"):
        if verb == Verb.INFO:
            raise BadReply("answered nothing to info")
        return {"ok": True} if verb == Verb.CHECK else {}
    try:
        reply = msgspec.json.decode(stdout)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReply(
            f"printed something that is not one JSON object ({_plain(error)}): {excerpt(stdout)}; "
            "log lines belong on standard error"
        ) from error
    if not isinstance(reply, dict):
        raise BadReply(f"printed JSON that is not an object: {excerpt(stdout)}")
    try:
        shaped = msgspec.convert(reply, REPLIES[Verb(verb)])
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadReply(f"answered {verb} with {excerpt(stdout)}: {_plain(error)}") from error
    if isinstance(shaped, _CheckReply) and shaped.ok == bool(shaped.drift):
        raise BadReply(
            f"answered check with {excerpt(stdout)}: ok must be true without drift, or false with what drifted"
        )
    return reply


def failure(verb: str, status: int, stdout: bytes, stderr: str) -> ScriptError:
    """The error that a non-zero exit stands for: the reply's code and message, else the status'."""
    said = _said(stdout)
    code, message, retry_after = said.get("code"), said.get("message"), said.get("retry_after")
    kind = EXITS.get(status, ScriptFailed) if not isinstance(code, str) else CODES.get(code, ScriptFailed)
    context: dict[str, Any] = {"exit_status": status}
    if isinstance(code, str) and code not in CODES:
        context["script_code"] = printable(code, 128)
    if (seconds := _seconds(retry_after)) is not None:
        context["retry_after"] = seconds
    if isinstance(message, str) and message.strip():
        words = printable(message.strip(), LONGEST_MESSAGE)
    elif kind is VerbNotSupported:
        words = f"it does not know the verb {verb}"
    else:
        words = last_words(stderr) or "it said nothing on standard error"
    return kind(f"{verb} ended with exit status {status}: {words}", **context)


def _said(stdout: bytes) -> dict[str, Any]:
    """The ``error`` object of a failed call, or nothing: a failing script owes us no JSON."""
    try:
        reply = msgspec.json.decode(stdout)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    error = reply.get("error") if isinstance(reply, dict) else None
    return error if isinstance(error, dict) else {}


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def last_words(stderr: str) -> str:
    """The last lines of ``stderr`` that are for people, on one line and safe to print."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith(TRACE)]
    return " | ".join(printable(line, LONGEST_MESSAGE // LAST_LINES) for line in lines[-LAST_LINES:])


def excerpt(data: bytes) -> str:
    """The beginning of what a script printed, quoted and safe to print."""
    text = data[:200].decode(errors="replace")
    return f'"{printable(text.strip(), 120)}"'


def printable(text: str, longest: int) -> str:
    """``text`` without control or formatting characters (they are escaped), at most ``longest`` long."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(error: Exception) -> str:
    return printable(str(error), 200)
