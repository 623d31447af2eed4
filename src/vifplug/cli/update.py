"""``vifplug update``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._frame import pass_session, verb
from ._guests import connect_option, domain_of, places, qmp_option, scope_options
from ._input import read_one, seconds_option
from ._output import complain, emit, say
from ._session import Session
from .plug import show_plugged

if TYPE_CHECKING:
    from ..model import Vif


@verb("update", example="vifplug update binding-with-new-mtu.json")
@click.argument("file")
@seconds_option("Deadline of the plug script.")
@click.option("--domain", metavar="DOMAIN", help="Show it to the guest and definition of this domain too.")
@scope_options
@connect_option
@qmp_option
@pass_session
def command(
    session: Session,
    *,
    file: str,
    seconds: float | None,
    domain: str | None,
    live: bool,
    definition: bool,
    uri: str | None,
    qmp: str | None,
) -> None:
    """Bring a plugged VIF to a changed binding.

    Its guest keeps it; prints the guest's XML, which may differ. What cannot be changed on a live VIF
    is refused, with its name, and nothing is changed. With --domain, libvirt changes what it can in the running
    guest, link state and bandwidth, and the domain's definition; with --qmp, QEMU its link state.
    """
    if (domain is None or qmp is not None) and (live or definition or uri is not None):
        raise click.UsageError(
            "--live, --definition and --connect go with --domain, and --qmp with none of them",
            click.get_current_context(),
        )
    if domain is not None and qmp is not None:
        raise click.UsageError("name a --domain or a QEMU with --qmp, not both", click.get_current_context())
    vif = read_one(file)
    if domain is not None:
        _update_domain(session, domain, vif, live=live, definition=definition, uri=uri, seconds=seconds)
    elif qmp is not None:
        _update_qemu(session, qmp, vif, seconds)
    else:
        show_plugged(session, session.host.update(vif, seconds=seconds), "updated")


def _update_domain(
    session: Session,
    domain: str,
    vif: Vif,
    *,
    live: bool,
    definition: bool,
    uri: str | None,
    seconds: float | None,
) -> None:
    from ..libvirt import update

    with domain_of(domain, uri) as found:
        updated = update(session.host, found, vif, live=live, config=definition, seconds=seconds)
    if session.json:
        emit(updated)
        return
    for note in updated.notes:
        complain(note)
    if updated.changed:
        say(f"{updated.id} updated in {updated.domain}: {places(updated.live, updated.config)}")
    else:
        say(f"{updated.id} is just so in {updated.domain}; nothing to do")


def _update_qemu(session: Session, socket: str, vif: Vif, seconds: float | None) -> None:
    from ..qemu import Qmp, update

    with Qmp(socket) as qmp:
        updated = update(session.host, qmp, vif, seconds=seconds)
    if session.json:
        emit(updated)
    else:
        say(f"{updated.id} updated in QEMU" if updated.changed else f"{updated.id} is just so; nothing to do")
