"""``vifplug probe``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id, seconds_option
from ._output import complain, emit, pairs, table
from ._session import Session


@verb("probe", example="vifplug probe 4c1b1b0a 10.0.0.1 --address 10.0.0.5/24")
@click.argument("vif", metavar="ID", shell_complete=complete_id)
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option(
    "--address", metavar="IP/PREFIX", multiple=True, help="The guest's address, where the binding has none."
)
@click.option("--dhcp", is_flag=True, help="Ask for a lease too, and give it back.")
@seconds_option("Seconds for each question.", "--timeout", 5.0)
@pass_session
def command(
    session: Session,
    *,
    vif: str,
    targets: tuple[str, ...],
    address: tuple[str, ...],
    dhcp: bool,
    timeout: float,
) -> None:
    """Ask through a VIF, as its guest would.

    Opens the plugged tap and says whether ARP and ping (and DHCP) work through it. Without a TARGET,
    its gateways are asked. The guest must not be running. Ends with 1 when a question was not answered.
    """
    from ..probe import probe_vif

    record = session.host.show(find_id(session, vif))
    report = probe_vif(record.vif, targets, addresses=address, dhcp=dhcp, timeout=timeout)
    session.exit_status = 0 if report.ok else 1
    if session.json:
        emit(report)
        return
    rows = [(found.what, "ok" if found.ok else "failed", found.text) for found in report.findings]
    table(("ASKED", "VERDICT", "ANSWER"), rows)
    if report.seen:
        pairs([("other frames", ", ".join(f"{count} {kind}" for kind, count in report.seen.items()))])
    if report.error is not None:
        complain(str(report.error["message"]))
