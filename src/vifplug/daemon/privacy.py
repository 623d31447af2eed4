"""What a VIF's owner and admins alone see: what it was bound with, and the words of scripts, which may quote that."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ..errors import ScriptError, VifplugError
from ..host.results import CallRecord, CheckReport, Drift, Plugged, Record, Step, Unplugged
from .events import Event

_HIDDEN = "told to the VIF's owner and to admins"
#: what of an event's data may be in the words of scripts and backends
_WORDS = ("error", "message", "drift", "rebuilt")


def of_record(record: Record) -> Record:
    hidden = {
        name: replace(vif, details={})
        for name in ("vif", "request", "next_request")
        if (vif := getattr(record, name)) is not None
    }
    return replace(record, **hidden, error=record.error and _code_alone(record.error))


def of_call(call: CallRecord) -> CallRecord:
    return replace(call, stderr="", reply=None, message=None)


def of_plugged(plugged: Plugged) -> Plugged:
    return replace(plugged, vif=replace(plugged.vif, details={}))


def of_unplugged(unplugged: Unplugged) -> Unplugged:
    return replace(unplugged, notes=[_HIDDEN for _ in unplugged.notes])


def of_unplugged_or_not(answer: Unplugged | VifplugError) -> Unplugged | VifplugError:
    return of_error(answer) if isinstance(answer, VifplugError) else of_unplugged(answer)


def of_step(step: Step) -> Step:
    return replace(step, text=_HIDDEN) if step.phase == "failed" else step


def of_check(report: CheckReport) -> CheckReport:
    drift = [Drift(what=one.what, expected=None, found=None) for one in report.drift]
    return replace(report, drift=drift, message=report.message and _HIDDEN)


def of_error(error: VifplugError) -> VifplugError:
    """The same error without a script's words; one that no script had a part in as it is."""
    if not isinstance(error, ScriptError):
        return error
    context = {name: error.context[name] for name in ("vif_id", "retry_after") if name in error.context}
    return type(error)(_HIDDEN, **context)


def of_event(event: Event) -> Event:
    if event.data.keys().isdisjoint(_WORDS):
        return event
    data = {name: value for name, value in event.data.items() if name not in _WORDS}
    if isinstance(error := event.data.get("error"), dict):
        data["error"] = _code_alone(error)
    if isinstance(drift := event.data.get("drift"), list):
        data["drift"] = [{"what": one["what"]} for one in drift]
    return replace(event, data=data)


def _code_alone(error: dict[str, Any]) -> dict[str, Any]:
    return {"code": error.get("code", "failed"), "message": _HIDDEN}
