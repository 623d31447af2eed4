"""``vifplug graph``."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, InvalidInput, VifplugError
from ._frame import pass_session, verb
from ._input import complete_id, find_id
from ._output import coloured, emit, say, visible
from ._session import Session

if TYPE_CHECKING:
    from ..host import Host
    from ..plumbing import Fault, Graph
    from ..plumbing.outline import Line


@verb("graph", example="vifplug graph --output plumbing.svg")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete_id)
@click.option("--svg", "as_svg", is_flag=True, help="Draw it: SVG on standard output.")
@click.option("-o", "--output", metavar="FILE", help="Draw it into this file.")
@click.option("--no-check", is_flag=True, help="Do not ask plug scripts whether their VIFs have drifted.")
@pass_session
def command(session: Session, ids: tuple[str, ...], as_svg: bool, output: str | None, no_check: bool) -> None:
    """Draw this host's plumbing.

    Guests, VIFs, devices, bridges and switches, and what leads out of this host, from the kernel and the ledger; what
    is down, gone or not as it was plugged is marked. With IDs, only what their frames pass.
    """
    if session.json and as_svg:
        raise click.UsageError(
            "--json and --svg both want standard output: give one of them, or --output FILE"
        )
    from ..plumbing import look, survey, svg

    host, why = _host(session)
    found = [f"vif:{find_id(session, text)}" for text in ids]
    graph = survey(look(session.loaded.config, host, ask=not no_check, why=why))
    for vif_id in found:
        if vif_id not in graph.nodes:
            session.host.show(vif_id.removeprefix("vif:"))  # which says that there is none
    if found:
        graph = graph.of(found)
    title = f"Plumbing of {platform.node() or 'this host'}"
    if output is not None:
        _write(output, svg(graph, title))
    if session.json:
        emit(_document(graph))
    elif as_svg:
        say(svg(graph, title).rstrip())
    elif output is None:
        _tell(graph)


def _host(session: Session) -> tuple[Host | None, str]:
    """Who knows of VIFs here; None and why not, where that cannot be had."""
    try:
        if session.daemon is None and not Path(session.loaded.config.state_dir).exists():
            return (
                None,
                f"no VIF is on record: there is no {session.loaded.config.state_dir}",
            )  # and none is made
        host = session.host
    except ConfigError:
        raise
    except VifplugError as error:
        return None, f"VIFs on record are not shown: {error.message}"
    return host, ""


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "that is no file's name"
        raise InvalidInput(f"{path!r} cannot be written: {reason}", field="output", value=path) from None


def _document(graph: Graph) -> dict[str, Any]:
    from msgspec.structs import asdict

    return {
        "nodes": [{**asdict(node), "state": node.state} for node in graph.nodes.values()],
        "edges": [{**asdict(edge), "state": edge.state} for edge in graph.edges],
        "notes": graph.notes,
    }


def _tell(graph: Graph) -> None:
    from ..plumbing.outline import outline
    from ..plumbing.svg import summary

    for line in outline(graph):
        _tell_line(line, "", "")
    for note in graph.notes:
        say(visible(note), err=True)
    say(f"\n{summary(graph)}" if graph.nodes else "there is nothing to draw: no VIF, no tap, no bridge")


def _tell_line(line: Line, lead: str, below: str) -> None:
    mark = "" if line.state == "ok" else f"  [{coloured(line.state.value)}]"
    text = f"  {visible(line.text)}" if line.text else ""
    say(f"{lead}{line.what} {click.style(visible(line.name), bold=True)}{text}{mark}")
    for fault in line.faults:
        tell_fault(fault, below + ("│   " if line.under else "    "))
    for place, under in enumerate(line.under, 1):
        last = place == len(line.under)
        _tell_line(under, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


def tell_fault(fault: Fault, indent: str) -> None:
    """What is wrong, and what to do about it."""
    say(f"{indent}{coloured_text(visible(fault.text), fault.state.value)}")
    say(f"{indent}→ {visible(fault.do)}")


def coloured_text(text: str, state: str) -> str:
    """In the colour of a state."""
    return click.style(text, fg="yellow" if state in ("drift", "idle") else "red")
