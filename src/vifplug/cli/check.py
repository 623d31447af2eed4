"""``vifplug check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import VifplugError
from ._frame import pass_session, verb
from ._input import complete_id, find_id
from ._output import emit, say, table
from ._session import Session

if TYPE_CHECKING:
    from ..host.results import CheckReport


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
    from ..host.pool import side_by_side

    found = [find_id(session, text) for text in ids]
    host = session.host
    if everything:
        found = [record.id for record in host.list() if record.state != "debt"]
    found = list(dict.fromkeys(found))

    def look(vif_id: str) -> CheckReport | VifplugError:
        try:
            return host.check(vif_id)
        except VifplugError as error:
            return error

    answers = dict(zip(found, side_by_side(look, found, session.loaded.config.workers), strict=True))
    if len(found) == 1 and isinstance(only := answers[found[0]], VifplugError):
        raise only
    _show(session, answers)


def _show(session: Session, answers: dict[str, CheckReport | VifplugError]) -> None:
    well = all(not isinstance(answer, VifplugError) and answer.ok for answer in answers.values())
    session.exit_status = 0 if well else 1
    if session.json:
        emit(
            [
                {"id": vif_id, "error": answer.as_dict()} if isinstance(answer, VifplugError) else answer
                for vif_id, answer in answers.items()
            ]
        )
    elif well:
        table(("ID", "VERDICT"), [(vif_id, "ok") for vif_id in answers])
    else:
        rows = [row for vif_id, answer in answers.items() for row in _rows(vif_id, answer)]
        table(("ID", "VERDICT", "WHAT", "EXPECTED", "FOUND"), rows)
    if not answers:
        say("no VIF is plugged", err=True)


def _rows(vif_id: str, answer: CheckReport | VifplugError) -> list[tuple[object, ...]]:
    if isinstance(answer, VifplugError):
        return [(vif_id, answer.code, "check", "an answer", answer.message)]
    rows: list[tuple[object, ...]] = [
        (vif_id, "drift", drift.what, drift.expected, drift.found) for drift in answer.drift
    ]
    if answer.message is not None:
        rows.append((vif_id, "drift", "script", "an answer", answer.message))
    return rows or [(vif_id, "ok", None, None, None)]
