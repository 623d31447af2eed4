"""``vifplug show``."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import click
import msgspec

from ._frame import pass_session, verb
from ._input import complete_id, find_id
from ._output import ago, coloured, duration, emit, pairs, say, stamp, visible
from ._session import Session
from ._tree import ran
from .list import standing

if TYPE_CHECKING:
    from ..host.results import CallRecord, Record


@verb("show", example="vifplug show 4c1b1b0a --log")
@click.argument("vif", metavar="ID", shell_complete=complete_id)
@click.option(
    "--log", is_flag=True, help="What each call of its script printed, how long it took, how it ended."
)
@pass_session
def command(session: Session, vif: str, log: bool) -> None:
    """Show one VIF, or its script calls.

    The calls are kept after unplug too, as long as the log is.
    """
    vif_id = find_id(session, vif)
    if log:
        calls = session.host.calls(vif_id)
        if session.json:
            emit(calls)
        elif not calls:
            say(f"no script call is on record for {vif_id}", err=True)
        else:
            for call in calls:
                _show_call(call)
        return
    record = session.host.show(vif_id)
    if session.json:
        emit(record)
    else:
        _show_record(record)


def _show_record(record: Record) -> None:
    vif, error = record.vif, record.error
    script = record.script
    pairs(
        [
            ("id", record.id),
            ("state", standing(record)),
            ("generation", record.generation),
            ("type", vif.type),
            ("device", vif.devname + ("" if record.device else " (not made by vifplug)")),
            ("address", vif.address),
            ("mtu", vif.mtu),
            ("queues", vif.queues if vif.queues > 1 else None),
            ("instance", vif.instance.name or vif.instance.id),
            ("network", vif.network.label or vif.network.id),
            ("script", f"{script.name} ({script.path}, {script.digest})" if script else "none"),
            ("details", msgspec.json.encode(vif.details).decode() if vif.details else None),
            ("owner", _user(record.owner)),
            ("created", f"{stamp(record.created)} ({ago(record.created)})"),
            ("changed", f"{stamp(record.changed)} ({ago(record.changed)})"),
            ("attempts", record.attempts or None),
            ("error", f"{error.get('code')}: {error.get('message')}" if error else None),
        ]
    )


def _user(uid: int | None) -> str:
    """Name and number of a user."""
    if uid is None:
        return "not known"
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)


def _show_call(call: CallRecord) -> None:
    from ..script.trace import lines

    if call.signal is not None:
        end = f"signal {call.signal}"
    else:
        end = "never started" if call.exit_status is None else f"exit {call.exit_status}"
    attempt = f", attempt {call.attempt}" if call.attempt > 1 else ""
    say(
        f"{stamp(call.started)}  {click.style(call.verb, bold=True)}  {call.script}"
        f"  {coloured(call.outcome)} ({end}) in {duration(call.seconds)},"
        f" generation {call.generation}{attempt}"
    )
    if call.message:
        say(f"    error: {visible(call.message)}")
    if call.reply:
        say(f"    reply: {visible(msgspec.json.encode(call.reply).decode())}")
    for line in lines(call.stderr):
        say(f"    | {visible(line)}" if isinstance(line, str) else f"    $ {ran(line)}")
