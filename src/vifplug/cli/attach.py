"""``vifplug attach``."""

from __future__ import annotations

import click

from ._frame import pass_session, verb
from ._guests import connect_option, domain_of, places, qmp_option, scope_options
from ._input import read_one, seconds_option
from ._output import emit, say
from ._session import Session


@verb("attach", example="vifplug attach guest binding.json")
@click.argument("domain", required=False)
@click.argument("file", metavar="[BINDING]", required=False)
@scope_options
@seconds_option("Deadline of the plug script.")
@connect_option
@qmp_option
@click.option(
    "--by-name", is_flag=True, help="With --qmp: have QEMU open the tap itself, which takes privilege."
)
@click.option("--bus", metavar="ID", help="With --qmp: the bus that gets the device, say a q35's root port.")
@pass_session
def command(
    session: Session,
    *,
    domain: str | None,
    file: str | None,
    live: bool,
    definition: bool,
    seconds: float | None,
    uri: str | None,
    qmp: str | None,
    by_name: bool,
    bus: str | None,
) -> None:
    """Plug a VIF and give it to a guest.

    To a libvirt DOMAIN: both to the guest that runs and to its definition, as far as there are the two. With --qmp,
    to a QEMU without libvirt; then BINDING alone is named. When it is refused, the VIF is unplugged again. BINDING is
    a file as for plug. What is attached already is left as it is.
    """
    if qmp is not None:
        if file is not None or live or definition or uri is not None:
            raise click.UsageError(
                "--qmp goes with BINDING alone: no DOMAIN, --live, --definition or --connect",
                click.get_current_context(),
            )
        _attach_to_qemu(session, qmp, domain, by_name=by_name, bus=bus, seconds=seconds)
        return
    if domain is None or by_name or bus is not None:
        raise click.UsageError(
            "name a DOMAIN, or a QEMU with --qmp; --by-name and --bus go with --qmp",
            click.get_current_context(),
        )
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


def _attach_to_qemu(
    session: Session, socket: str, file: str | None, *, by_name: bool, bus: str | None, seconds: float | None
) -> None:
    vif = read_one(file)
    from ..qemu import Qmp, attach

    with Qmp(socket) as qmp:
        attached = attach(session.host, qmp, vif, by_name=by_name, bus=bus, seconds=seconds)
    if session.json:
        emit(attached)
    elif attached.changed:
        say(f"{attached.id} attached to QEMU as {attached.device}")
    else:
        say(f"{attached.id} is attached to QEMU just so; nothing to do")
