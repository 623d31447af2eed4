"""``vifplug conform``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._frame import pass_session, verb
from ._output import complain, duration, emit, say, table, visible
from ._session import Session

if TYPE_CHECKING:
    from ..conformance import Report, Result

_SIGNS = {"ok": ("ok", "green"), "failed": ("FAILED", "red"), "not applicable": ("-", None)}


def _object(_: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any]:
    """A JSON object, or @FILE with one."""
    if value is None:
        return {}
    try:
        found = json.loads(Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}", param=param) from None
    if not isinstance(found, dict):
        raise click.BadParameter(f'{value!r} is not a JSON object, such as {{"bridge": "br0"}}', param=param)
    return found


def _variables(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=param)
    return dict(value.split("=", 1) for value in values)


@verb(
    "conform",
    example='vifplug conform linux-bridge --details \'{"bridge": "br0"}\''
    " --setup 'ip link add br0 type bridge' --setup 'ip link set br0 up'",
)
@click.argument("script", required=False)
@click.option(
    "--path",
    metavar="FILE",
    type=click.Path(),
    help="A script that is not installed yet, in place of SCRIPT.",
)
@click.option(
    "--details",
    metavar="JSON",
    callback=_object,
    help="vif_details that it can plug; @FILE reads them. '{number}' in a text differs for each VIF.",
)
@click.option(
    "--changed-details",
    metavar="JSON",
    callback=_object,
    help="Other details, which plug and update must take as well.",
)
@click.option("--vif-type", metavar="TYPE", help="The first that its info names, else ethernet.")
@click.option(
    "--setup", metavar="CMD", multiple=True, help="Make what it expects on a host: bridges, daemons."
)
@click.option(
    "--watch",
    metavar="CMD",
    multiple=True,
    help="Print what the backend has, to be compared where nothing may be left.",
)
@click.option(
    "--perturb",
    metavar="CMD",
    multiple=True,
    help="Take back some of what plug did, which check must notice.",
)
@click.option(
    "--capability",
    "capabilities",
    metavar="CAP",
    multiple=True,
    help="Grant it beside CAP_NET_ADMIN and CAP_NET_RAW.",
)
@click.option(
    "--environment", metavar="K=V", multiple=True, callback=_variables, help="A variable for its environment."
)
@click.option(
    "--keep",
    metavar="DIR",
    multiple=True,
    help="A directory below /run, /tmp, /var/tmp or /dev/shm that it needs.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="The deadline of each call.",
)
@click.option("--only", metavar="CASE", multiple=True, help="A case or a topic; else all.")
@click.option("--list", "listing", is_flag=True, help="List the cases, with what the contract says.")
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    help="Write the report as JUnit XML too.",
)
@pass_session
def command(
    session: Session, /, *, script: str | None, path: str | None, listing: bool, junit: str | None,
    only: tuple[str, ...], **given: Any,
) -> None:  # fmt: skip
    """Say how well a plug script keeps the contract.

    SCRIPT is a name that this host trusts, or a path. It is run on the real kernel, in namespaces of its own: this host
    is not touched. Ends with 1 when a case failed.
    """
    if listing:
        _list(session)
        return
    if (script is None) == (path is None):
        raise click.UsageError("name one SCRIPT, or --path FILE", click.get_current_context())
    from ..conformance import Subject, conform

    name = script if script is not None else str(Path(path or "").absolute())
    settings: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in given.items()
    }
    subject = Subject(script=name, **settings)
    teller = None if session.json else _Teller(session.verbose)
    report = conform(subject, only=only, on_result=teller)
    session.exit_status = 0 if report.ok else 1
    if junit is not None:
        try:
            Path(junit).write_bytes(report.junit())
        except OSError as error:
            complain(f"{junit} cannot be written: {error.strerror}")
            session.exit_status = 74
    if session.json:
        emit(report)
    else:
        _sum_up(report)


def _list(session: Session) -> None:
    from ..conformance import CASES

    if session.json:
        emit(
            [
                {key: getattr(case, key) for key in ("topic", "name", "title", "sentence", "anchor")}
                for case in CASES.values()
            ]
        )
    else:
        table(
            ("TOPIC", "CASE", "WHAT IT LOOKS AT"),
            [(case.topic, case.name, case.title) for case in CASES.values()],
        )


class _Teller:
    """Says each result as it comes, under its topic."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._topic = ""

    def __call__(self, result: Result) -> None:
        from ..conformance import explained

        if result.topic != self._topic:
            self._topic = result.topic
            say(click.style(result.topic, bold=True))
        sign, colour = _SIGNS[result.verdict]
        line = f"  {click.style(f'{sign:<6}', fg=colour)}  {result.title}"
        if result.verdict == "not applicable":
            line += f"  (not applicable: {visible(result.reason)})"
        if self._verbose:
            line += f"  {duration(result.seconds)}"
        say(line)
        if result.verdict == "failed":
            for text in explained(result).splitlines():
                say(f"    {visible(text)}")


def _sum_up(report: Report) -> None:
    say()
    for note in report.notes:
        say(f"note: {visible(note)}")
    if report.speed:
        say(
            "median, as the host sees it: "
            + ", ".join(f"{verb} {duration(speed.median)}" for verb, speed in report.speed.items())
        )
    verdict = click.style("conforms", fg="green") if report.ok else click.style("does not conform", fg="red")
    say(
        f"{visible(report.script)} {verdict}: {report.counted('ok')} ok, {report.counted('failed')} failed, "
        f"{report.counted('not applicable')} not applicable, in {duration(report.seconds)}"
    )
