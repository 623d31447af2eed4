"""``vifplug recover``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ._frame import pass_session, verb
from ._output import ago, complain, emit, pairs, say, stamp, table
from ._session import Session

if TYPE_CHECKING:
    from ..host.results import Rebuilt, Recovered


@verb("recover", example="vifplug recover     # at boot, and after a crash of the caller")
@click.option(
    "--rebuild",
    is_flag=True,
    help="First set a damaged ledger aside and make another, from its backup, the kernel and the scripts.",
)
@pass_session
def command(session: Session, rebuild: bool) -> None:
    """Finish what a process that died left behind.

    What another process is at work on is left to it. Ends with 1 when something could not be finished, or not
    all could be restored.
    """
    if rebuild:
        _rebuild(session)
        return
    recovered = session.host.recover()
    _judge(session, recovered)
    if session.json:
        emit(recovered)
    else:
        _show_recovered(recovered)


def _rebuild(session: Session) -> None:
    """Never through vifplugd: its ledger is the damaged one. It takes up the new one when it starts again."""
    from ..host import Host
    from ..host.rebuild import rebuild

    config = session.loaded.config
    rebuilt = rebuild(config)
    if rebuilt.not_restored or any(vif.note for vif in rebuilt.vifs):
        session.exit_status = 1
    if not session.json:
        _show_rebuilt(rebuilt)
    with Host(config) as host:
        recovered = host.recover()
    _judge(session, recovered)
    if session.json:
        emit({"rebuilt": rebuilt, "recovered": recovered})
    else:
        _show_recovered(recovered)


def _judge(session: Session, recovered: Sequence[Recovered]) -> None:
    if any(entry.now not in ("plugged", "unplugged", "busy") for entry in recovered):
        session.exit_status = 1


def _show_recovered(recovered: Sequence[Recovered]) -> None:
    if not recovered:
        say("nothing was left in the middle")
    rows = [(entry.id, entry.was, entry.now, entry.message) for entry in recovered]
    table(("ID", "WAS", "NOW", "WHY"), rows)


def _show_rebuilt(rebuilt: Rebuilt) -> None:
    if rebuilt.damage is None:
        say("the ledger is whole: it was left in place")
    else:
        made = rebuilt.backup_made
        pairs(
            [
                ("damage", rebuilt.damage),
                ("set aside", rebuilt.set_aside),
                (
                    "backup",
                    f"{rebuilt.backup}, of {stamp(made)} ({ago(made)})"
                    if made is not None
                    else "none was used",
                ),
                ("ledger", rebuilt.ledger),
                ("generation", rebuilt.generation),
                ("script calls", rebuilt.calls),
                ("processes ended", rebuilt.ended or None),
            ]
        )
    rows = [(vif.id, vif.source, vif.state, vif.generation, vif.device, vif.script) for vif in rebuilt.vifs]
    table(("ID", "FROM", "STATE", "GEN", "DEVICE", "SCRIPT"), rows)
    for vif in rebuilt.vifs:
        if vif.note:
            complain(f"{vif.id}: {vif.note}")
    for line in rebuilt.not_restored:
        complain(f"not restored: {line}")
