"""``vifplug trace``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._frame import pass_session, verb
from ._input import complete_id, find_id, seconds_option
from ._output import coloured, emit, say, visible
from ._session import Session

if TYPE_CHECKING:
    from ..plumbing import Trace
    from ..plumbing.walk import Hop


@verb("trace", example="vifplug trace 4c1b1b0a 10.0.0.1")
@click.argument("vif", metavar="ID", shell_complete=complete_id)
@click.argument("target", metavar="[TARGET]", required=False)
@click.option(
    "--address", metavar="IP/PREFIX", multiple=True, help="The guest's address, where the binding has none."
)
@click.option("--no-probe", is_flag=True, help="Send no frame: look at settings and states alone.")
@seconds_option("Seconds for each question.", "--timeout", 3.0)
@pass_session
def command(
    session: Session,
    *,
    vif: str,
    target: str | None,
    address: tuple[str, ...],
    no_probe: bool,
    timeout: float,
) -> None:
    """Follow a VIF's frames, hop by hop, and say where they end.

    A frame is sent to TARGET (or the binding's gateway) and watched at every device on its way: as the guest, or, where
    one runs, by the guest, which is pinged in TARGET's name. Ends with 1 when something is wrong on the way.
    """
    from ..plumbing import trace

    vif_id = find_id(session, vif)
    found = trace(
        session.loaded.config,
        session.host,
        vif_id,
        target,
        addresses=address,
        timeout=timeout,
        probe=not no_probe,
    )
    session.exit_status = 0 if found.ok else 1
    if session.json:
        emit(found)
    else:
        _tell(found)


def _tell(found: Trace) -> None:
    from .graph import coloured_text

    hops = found.hops
    widths = max(len(hop.what) for hop in hops), max(len(visible(hop.name)) for hop in hops)
    for place, hop in enumerate(hops):
        _tell_hop(hop, widths, ends=place == found.ends_at and not found.ok, beyond=place > found.ends_at)
    say()
    if found.ok:
        say(f"{coloured('ok')}: {visible(found.text)}")
    else:
        end = hops[found.ends_at]
        say(coloured_text(f"ends at {end.what} {visible(end.name)}: {visible(found.text)}", "down"))
        say(f"→ {visible(found.do)}")
    say(f"probe: {visible(found.probe_text)}")
    for other in found.others:
        say(f"another way out: {visible(other)}")
    for also in found.also:
        say(f"also: {visible(also)}")
    for note in found.notes:
        say(visible(note), err=True)


def _tell_hop(hop: Hop, widths: tuple[int, int], *, ends: bool, beyond: bool) -> None:
    sign = click.style("✗", fg="red") if ends else "·" if beyond else click.style("✓", fg="green")
    name = visible(hop.name)
    seen = [f"{hop.out} out" if hop.out else "", f"{hop.back} back" if hop.back else ""]
    if hop.out == 0 and not hop.back:
        seen = ["not seen"]
    if hop.dropped:
        seen.append(f"{sum(hop.dropped.values())} dropped")
    state = "" if hop.state == "ok" else f"[{coloured(hop.state.value)}]"
    words = "  ".join(filter(None, [visible(hop.text), state, ", ".join(filter(None, seen))]))
    say(f"{sign} {hop.what:<{widths[0]}}  {name:<{widths[1]}}  {words}".rstrip())
