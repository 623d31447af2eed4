"""``vifplug migrate``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import click

from ..errors import NoSuchDomain
from ._frame import pass_session, verb
from ._guests import close, connect_option
from ._input import read_many, seconds_option
from ._output import complain, duration, emit, say
from ._session import Session

if TYPE_CHECKING:
    from ..host import Host
    from ..libvirt import Migrated, Phase
    from ..libvirt.connection import Connection, Domain

_SAID = {
    "asked": "the destination can take it",
    "plugged": "its VIFs are plugged there, and wait; it moves",
    "moved": "it runs at the destination",
    "activated": "its VIFs are the destination's",
    "done": "nothing of it is left here",
}


@verb("migrate", example="vifplug migrate guest qemu+ssh://host2/system --there /run/vifplug/host2.sock")
@click.argument("domain")
@click.argument("destination", metavar="URI")
@click.argument("file", metavar="[BINDINGS]", required=False)
@click.option(
    "--there",
    required=True,
    metavar="SOCKET",
    help="The destination's vifplugd: its socket, brought here with ssh -L, say.",
)
@click.option(
    "--peer-to-peer",
    is_flag=True,
    help="The libvirtd here speaks to that at URI: it goes on without us, should we die.",
)
@click.option("--data", metavar="URI", help="Where the guest's memory goes, tcp:10.0.0.2, say.")
@click.option("--bandwidth", type=click.IntRange(1), metavar="MIB", help="MiB a second for it, at most.")
@click.option("--allow-older", is_flag=True, help="A vifplug or a script of an older version there will do.")
@seconds_option("Cancel it when it takes longer.", "--cancel-after")
@connect_option
@pass_session
def command(
    session: Session,
    *,
    domain: str,
    destination: str,
    file: str | None,
    there: str,
    peer_to_peer: bool,
    data: str | None,
    bandwidth: int | None,
    allow_older: bool,
    cancel_after: float | None,
    uri: str | None,
) -> None:
    """Move a running libvirt guest to another host, and its VIFs with it.

    The destination is asked and plugged first; when the guest has moved, its VIFs are activated there and unplugged
    here. A migration that fails, or is interrupted, leaves the guest here and the destination as it was. BINDINGS
    is a file as for plug --all, with those of its VIFs that are bound otherwise at the destination. For a guest that
    is at the destination already it does what is left to do.
    """
    given = read_many(file) if file is not None else []
    from ..libvirt.connection import binding, connect, keep_quiet

    keep_quiet()
    with ExitStack() as resources:
        source, target = connect(uri), connect(destination)
        for connection in (source, target):
            resources.callback(close, connection)
        from ..libvirt import finish, migrate
        from ..remote import RemoteHost

        remote = RemoteHost(there, timeout=None)
        resources.callback(remote.close)
        other = cast("Host", remote)  # the same methods, parameters and results
        found, has_moved = _find(source, target, domain)
        if has_moved:
            _show(session, finish(session.host, source, other, found), destination)
            return
        library = binding()
        moved = migrate(
            session.host, found, other, target,
            bindings=given,
            uri=data,
            peer_to_peer=destination if peer_to_peer else None,
            parameters={library.VIR_MIGRATE_PARAM_BANDWIDTH: bandwidth} if bandwidth else None,
            seconds=cancel_after,
            allow_older=allow_older,
            on_phase=lambda phase: _tell(session, phase),
        )  # fmt: skip
    _show(session, moved, destination)


def _find(source: Connection, target: Connection, name: str) -> tuple[Domain, bool]:
    """The domain that runs, and whether that is at the destination. Raises NoSuchDomain of the source."""
    from ..libvirt.connection import find_domain, translated

    def running(connection: Connection) -> Any:
        with translated("tell the domain's state"):
            found = find_domain(connection, name)
            return found if found.isActive() else None

    try:
        here = running(source)
    except NoSuchDomain:
        here = None
    if here is None:
        try:
            if (arrived := running(target)) is not None:
                return arrived, True
        except NoSuchDomain:
            pass
    return here or find_domain(source, name), False


def _tell(session: Session, phase: Phase) -> None:
    if session.verbose:
        say(_SAID[phase], err=True)


def _show(session: Session, moved: Migrated, destination: str) -> None:
    session.exit_status = 1 if moved.notes else 0
    for told in moved.notes:
        complain(told)
    if session.json:
        emit(moved)
        return
    vifs = f"its {len(moved.vifs)} VIFs" if len(moved.vifs) != 1 else "its VIF"
    say(f"{moved.domain} runs at {destination}, with {vifs}; moved in {duration(moved.seconds)}")
