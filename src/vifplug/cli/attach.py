"""``vifplug attach``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._guests import connect_option, domain_of, places, scope_options
from ._input import read_one, seconds_option
from ._output import emit, say
from ._session import Session


@verb("attach", example="vifplug attach guest binding.json")
@click.argument("domain")
@click.argument("file", metavar="[BINDING]", required=False)
@scope_options
@seconds_option("Deadline of the plug script.")
@connect_option
@pass_session
def command(
    session: Session,
    *,
    domain: str,
    file: str | None,
    live: bool,
    definition: bool,
    seconds: float | None,
    uri: str | None,
) -> None:
    """Plug a VIF and give it to a libvirt guest.

    Both to the guest that runs and to its definition, as far as there are the two; when libvirt refuses, the VIF is
    unplugged again. BINDING is a file as for plug. What is attached already is left as it is.
    """
    vif = read_one(file)
    from ..libvirt import attach

    with domain_of(domain, uri) as found:
        attached = attach(session.host, found, vif, live=live, config=definition, seconds=seconds)
    if session.json:
        emit(attached)
    elif attached.changed:
        say(f"{attached.id} attached to {attached.domain}: {places(attached.live, attached.config)}")
    else:
        say(f"{attached.id} is attached to {attached.domain} just so; nothing to do")
