"""``vifplug gc``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id
from ._output import complain, emit, say, table
from ._session import Session


@verb("gc", example="vifplug gc     # hourly, say")
@click.option(
    "--forget",
    metavar="ID",
    shell_complete=complete_id,
    help="Write off what this VIF owes to a backend that is gone for good.",
)
@pass_session
def command(session: Session, forget: str | None) -> None:
    """Clear what is owed, lost or too old.

    Tells backends what a reboot took, tries debts again, unplugs what was plugged for a live migration whose guest
    did not come, removes devices that no VIF owns, trims the log, and backs the ledger up. Ends with 1 while
    something is still owed.
    """
    if forget is not None:
        vif_id = find_id(session, forget)
        debts = session.host.forget(vif_id)
        if session.json:
            emit({"id": vif_id, "forgotten": debts})
        else:
            say(f"{vif_id}: {debts} {'debt' if debts == 1 else 'debts'} written off; nothing was undone")
        return
    report = session.host.gc()
    session.exit_status = 1 if report.owing else 0
    if session.daemon is None:  # which does that itself
        _back_up(session)
    if session.json:
        emit(report)
        return
    rows: list[tuple[object, ...]] = [
        (vif_id, "forgotten", "a reboot had taken it") for vif_id in report.forgotten
    ]
    rows += [(vif_id, "paid", "undone at last") for vif_id in report.paid]
    rows += [(vif_id, "given up", "no guest came to it by a live migration") for vif_id in report.given_up]
    rows += [(device, "removed", "a device that no VIF owned") for device in report.devices]
    rows += [(vif_id, "debt", reason) for vif_id, reason in report.owing.items()]
    table(("WHAT", "NOW", "WHY"), rows)
    if report.calls:
        say(f"{report.calls} script calls dropped from the log")
    elif not rows:
        say("nothing to clear")


def _back_up(session: Session) -> None:
    """What was cleared stays so, whether a backup can be made or not."""
    from ..errors import LedgerError

    try:
        session.host.backup()
    except LedgerError as error:
        complain(error.message)
        session.exit_status = 1
