"""``vifplug domain``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import click

from ._frame import Stopped, pass_session, verb
from ._guests import connect_option, domain_of
from ._input import read_many, seconds_option
from ._output import emit, say, table
from ._session import Session

if TYPE_CHECKING:
    from ..libvirt.connection import Domain

#: seconds between two looks at whether a signal came
_LOOK = 0.5


@verb("domain", example="vifplug domain guest bindings.json --start")
@click.argument("domain", required=False)
@click.argument("file", metavar="[BINDINGS]", required=False)
@click.option(
    "--ready/--not-ready",
    default=None,
    help="Keep its VIFs plugged while it is off, so that anybody may start it.",
)
@click.option("--start", "begin", is_flag=True, help="Plug its VIFs, and start it.")
@click.option("--watch", is_flag=True, help="Mind the VIFs of all guests until interrupted.")
@seconds_option("With --watch: how often to look though nothing was heard.", "--every", 60.0)
@connect_option
@pass_session
def command(
    session: Session,
    *,
    domain: str | None,
    file: str | None,
    ready: bool | None,
    begin: bool,
    watch: bool,
    every: float,
    uri: str | None,
) -> None:
    """Put VIFs into a libvirt domain's definition.

    All that BINDINGS holds, a file as for plug --all, and no other VIFs; interfaces that are not vifplug's stay as
    they are. Without BINDINGS it shows what the definition has. With --watch it runs as a service, which unplugs
    the VIFs of each guest that ends, however it ends.
    """
    if watch:
        if domain is not None or begin or ready is not None:
            raise click.UsageError("--watch minds all domains: name none, and leave --start and --ready out")
        _watch(session, uri, every)
        return
    if domain is None:
        raise click.UsageError("name a DOMAIN, or mind all with --watch", click.get_current_context())
    if file is None and ready is not None:
        raise click.UsageError("--ready and --not-ready go with BINDINGS", click.get_current_context())
    vifs = read_many(file) if file is not None else None
    from ..libvirt import define, start

    answer: object = None
    with domain_of(domain, uri) as found:
        if vifs is not None:
            defined = define(session.host, found, vifs, ready=ready)
            answer = defined
            if not session.json:
                table(("ID", "NOW"), [(vif_id, fate) for vif_id, fate in defined.vifs.items()])
        if begin:
            started = start(session.host, found)
            answer = started
            if not session.json:
                say(f"{started.domain} {'started' if started.changed else 'runs already; nothing to do'}")
        if answer is None:
            _show(session, found)
        elif session.json:
            emit(answer)


def _show(session: Session, domain: Domain) -> None:
    from ..libvirt import vifs_of

    records = {record.id: record for record in session.host.list()}
    rows = []
    for kept in vifs_of(domain):
        vif = kept.vif()
        state = records[kept.id].state if kept.id in records else "not plugged"
        rows.append((kept.id, vif.devname, vif.type, vif.address, state, "ready" if kept.ready else None))
    if session.json:
        names = ("id", "devname", "type", "address", "state", "ready")
        emit([dict(zip(names, (*row[:5], row[5] is not None), strict=True)) for row in rows])
    elif rows:
        table(("ID", "DEVICE", "TYPE", "ADDRESS", "STATE", "OFF"), rows)
    else:
        say(f"domain {domain.name()} has no VIF of vifplug's", err=True)


def _watch(session: Session, uri: str | None, every: float) -> None:
    from ..daemon import logs
    from ..libvirt import Watcher
    from ..libvirt.connection import keep_quiet

    keep_quiet()
    logs.setup("json" if session.json else "text")
    watcher = Watcher(session.host, uri, interval=every)
    with ThreadPoolExecutor(1, "vifplug-watcher") as pool:
        watching = pool.submit(watcher.run)
        try:
            # Not without a timeout: the kernel gives a signal to whichever thread it likes, and then this one
            # sleeps on, though it is the one that has to see it.
            while not wait([watching], timeout=_LOOK).done:
                pass
            watching.result()
        except Stopped:  # the way to end it
            session.exit_status = 0
        finally:
            watcher.stop()
