"""``vifplug doctor``."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import click

from ..errors import ConfigError
from ._frame import pass_session, verb
from ._output import coloured, duration, emit, say, table, visible
from ._session import Session

if TYPE_CHECKING:
    from ..doctor import Finding, Place, Report


@verb("doctor", example="vifplug doctor --only kernel")
@click.option("--only", metavar="NAME", multiple=True, help="A check or a family of checks; else all.")
@click.option("--list", "listing", is_flag=True, help="List the checks.")
@pass_session
def command(session: Session, *, only: tuple[str, ...], listing: bool) -> None:
    """Say what ails this host.

    Looks at the kernel and its settings, the state directory, plug scripts, firewalls, libvirt, Open vSwitch and
    what was left behind, and says what to do. Nothing is changed. Ends with 1 when there is a problem; -v shows
    what is well, too.
    """
    if listing:
        _list(session)
        return
    from ..doctor import examine

    report = examine(_place(session), only)
    session.exit_status = 0 if report.ok else 1
    if session.json:
        emit({"ok": report.ok, "seconds": report.seconds, "findings": report.findings})
    else:
        _tell(report, everything=session.verbose)


def _place(session: Session) -> Place:
    """This host. A configuration that is wrong is a finding like others, and the defaults hold then."""
    from ..config import Config
    from ..doctor import Place

    try:
        return Place(session.loaded.config)
    except ConfigError as error:
        return Place(Config(), config_error=error)


def _list(session: Session) -> None:
    from ..doctor.examine import chosen

    checks = chosen(())
    if session.json:
        emit([{"family": check.family, "name": check.name, "title": check.title} for check in checks])
    else:
        table(("FAMILY", "CHECK", "WHAT IT LOOKS AT"), [(one.family, one.name, one.title) for one in checks])


def _tell(report: Report, *, everything: bool) -> None:
    from ..doctor.check import FAMILIES, Level

    for family, found in groupby(report.findings, lambda finding: finding.family):
        seen = [finding for finding in found if finding.seen]
        well = sum(finding.level is Level.OK for finding in seen)
        loud = [finding for finding in seen if everything or finding.level is not Level.OK]
        if seen:
            summary = coloured("ok") if well == len(seen) else f"{well} ok"
            say(
                click.style(FAMILIES[family], bold=True) + (f"  {summary}" if well and not everything else "")
            )
        for finding in loud:
            _tell_one(finding)
    _tell_unseen([finding for finding in report.findings if not finding.seen])
    counts = [_counted(report.counted(level), level) for level in reversed(Level) if report.counted(level)]
    say(f"\n{', '.join(counts) or 'nothing to look at'}, in {duration(report.seconds)}")


def _tell_unseen(findings: list[Finding]) -> None:
    """What could not be looked at, each reason once, and each remedy once."""
    if not findings:
        return
    say(click.style("Not seen", bold=True))
    findings = sorted(findings, key=lambda finding: (finding.do, finding.found))
    for remedy, alike in groupby(findings, lambda finding: finding.do):
        for found, those in groupby(alike, lambda finding: finding.found):
            names = ", ".join(finding.check for finding in those)
            say(f"  {names}: {visible(found)}")
        say(f"           → {visible(remedy)}")


def _counted(count: int, level: str) -> str:
    return f"{count} {level}{'s' if count > 1 and level != 'ok' else ''}"


def _tell_one(finding: Finding) -> None:
    level = finding.level.value
    say(f"  {coloured(level)}{' ' * (8 - len(level))} {visible(finding.found)}")
    if finding.why:
        say(f"           {visible(finding.why)}")
    if finding.do:
        say(f"           → {visible(finding.do)}")
