"""``vifplug check``."""

from __future__ import annotations

from typing import Any

import click

from ..errors import VifplugError
from ._frame import pass_session, verb
from ._input import complete_id, find_id
from ._output import complain, emit, say, table
from ._session import Session


@verb("check", example="vifplug check --all")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete_id)
@click.option("--all", "everything", is_flag=True, help="Check every VIF that is plugged.")
@pass_session
def command(session: Session, ids: tuple[str, ...], everything: bool) -> None:
    """Say whether VIFs are still as they were plugged.

    The kernel is looked at and the plug script is asked. Ends with 1 when one has drifted.
    """
    if bool(ids) == everything:
        raise click.UsageError("name one ID or more, or --all", click.get_current_context())
    host = session.host
    found = (
        [record.id for record in host.list() if record.state != "debt"]
        if everything
        else [find_id(session, text) for text in ids]
    )
    answers: list[Any] = []
    rows: list[tuple[object, ...]] = []
    for vif_id in dict.fromkeys(found):
        try:
            report = host.check(vif_id)
        except VifplugError as error:
            if len(ids) == 1:
                raise
            session.exit_status = 1
            complain(error.message)
            answers.append({"id": vif_id, "error": error.as_dict()})
            continue
        answers.append(report)
        rows += _rows(report)
        if not report.ok:
            session.exit_status = 1
    if session.json:
        emit(answers)
    elif rows:
        table(("ID", "VERDICT", "WHAT", "EXPECTED", "FOUND"), rows)
    elif everything and not answers:
        say("no VIF is plugged")


def _rows(report: Any) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (report.id, "drift", drift.what, drift.expected, drift.found) for drift in report.drift
    ]
    if report.message is not None:
        rows.append((report.id, "drift", "script", "an answer", report.message))
    return rows or [(report.id, "ok", None, None, None)]
