"""``vifplug detach``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._guests import connect_option, domain_of, places, scope_options
from ._input import complete_id, find_id, seconds_option
from ._output import complain, duration, emit, say
from ._session import Session


@verb("detach", example="vifplug detach guest 4c1b1b0a")
@click.argument("domain")
@click.argument("vif", metavar="ID", shell_complete=complete_id)
@scope_options
@seconds_option("How long the guest may take to let go of it; 30 unless said otherwise.", "--wait", 30.0)
@click.option("--force", is_flag=True, help="Unplug it then, though the guest holds its device.")
@connect_option
@pass_session
def command(
    session: Session,
    *,
    domain: str,
    vif: str,
    live: bool,
    definition: bool,
    wait: float,
    force: bool,
    uri: str | None,
) -> None:
    """Take a VIF from a libvirt guest, and unplug it.

    It is unplugged when the guest has let go of it, and not before: a guest that is paused, or boots, or hangs keeps
    it, though libvirt says that it was detached. ID may be shortened, or be a device's name.
    """
    vif_id = find_id(session, vif)
    from ..libvirt import detach

    with domain_of(domain, uri) as found:
        detached = detach(
            session.host, found, vif_id, live=live, config=definition, patience=wait, force=force
        )
    if session.json:
        emit(detached)
        return
    if detached.forced:
        complain(f"{vif_id} was unplugged though the guest holds its device, which now leads nowhere")
    taken = places(detached.live, detached.config)
    took = f" in {duration(detached.seconds)}" if detached.live else ""
    then = "unplugged" if detached.unplugged else "not unplugged"
    say(f"{vif_id} {'detached from ' + taken + took + ', ' if taken else ''}{then}")
