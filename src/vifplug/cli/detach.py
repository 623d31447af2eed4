"""``vifplug detach``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._guests import connect_option, domain_of, places, qmp_option, scope_options
from ._input import complete_id, find_id, seconds_option
from ._output import complain, duration, emit, say
from ._session import Session


@verb("detach", example="vifplug detach guest 4c1b1b0a")
@click.argument("domain", metavar="[DOMAIN]")
@click.argument("vif", metavar="ID", required=False, shell_complete=complete_id)
@scope_options
@seconds_option("How long the guest may take to let go of it; 30 unless said otherwise.", "--wait", 30.0)
@click.option("--force", is_flag=True, help="Unplug it then, though the guest holds its device.")
@connect_option
@qmp_option
@pass_session
def command(
    session: Session,
    *,
    domain: str,
    vif: str | None,
    live: bool,
    definition: bool,
    wait: float,
    force: bool,
    uri: str | None,
    qmp: str | None,
) -> None:
    """Take a VIF from a guest, and unplug it.

    It is unplugged when the guest has let go of it, and not before: a guest that is paused, or boots, or hangs keeps
    it, though libvirt says that it was detached. ID may be shortened, or be a device's name. With --qmp, from a QEMU
    without libvirt; then ID alone is named.
    """
    context = click.get_current_context()
    if qmp is not None:
        if vif is not None or live or definition or uri is not None:
            raise click.UsageError(
                "--qmp goes with ID alone: no DOMAIN, --live, --definition or --connect", context
            )
        _detach_from_qemu(session, qmp, find_id(session, domain), wait, force)
        return
    if vif is None:
        raise click.UsageError("name a DOMAIN and an ID, or a QEMU with --qmp and an ID", context)
    vif_id = find_id(session, vif)
    from ..libvirt import detach

    with domain_of(domain, uri) as found:
        detached = detach(
            session.host, found, vif_id, live=live, config=definition, patience=wait, force=force
        )
    if session.json:
        emit(detached)
        return
    _tell_forced(vif_id, detached.forced)
    taken = places(detached.live, detached.config)
    took = f" in {duration(detached.seconds)}" if detached.live else ""
    then = "unplugged" if detached.unplugged else "not unplugged"
    say(f"{vif_id} {'detached from ' + taken + took + ', ' if taken else ''}{then}")


def _detach_from_qemu(session: Session, socket: str, vif_id: str, wait: float, force: bool) -> None:
    from ..qemu import Qmp, detach

    with Qmp(socket) as qmp:
        detached = detach(session.host, qmp, vif_id, patience=wait, force=force)
    if session.json:
        emit(detached)
        return
    _tell_forced(vif_id, detached.forced)
    say(f"{vif_id} detached from QEMU in {duration(detached.seconds)}, unplugged")


def _tell_forced(vif_id: str, forced: bool) -> None:
    if forced:
        complain(f"{vif_id} was unplugged though the guest holds its device, which now leads nowhere")
